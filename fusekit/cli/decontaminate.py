"""``fusekit decontaminate``: which training people are in evaluation sets."""

from typing import TYPE_CHECKING, Annotated

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import Aliases, AsJson, Embedder, Store
from fusekit.cli.progress import progress
from fusekit.cli.sheet import ContactSheet, write_sheet
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.curate.contamination import ContaminationResult, Found

_SHOWN = 60  # people; the lists of large datasets have thousands


def decontaminate(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="TRAIN",
            help="Labeled datasets; evaluation sets among them belong to --against.",
            autocompletion=complete_stored,
        ),
    ],
    *,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="EVALUATION",
            help="An evaluation set; or several.",
            autocompletion=complete_stored,
        ),
    ] = None,
    false_match: Annotated[
        float,
        typer.Option(
            "--false-match", metavar="RATE", help="Share of strangers that may pass as one person."
        ),
    ] = 1e-6,
    aliases: Aliases = None,
    embedder: Embedder = None,
    contact_sheet: ContactSheet = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Find training identities that are in evaluation sets.

    By name, by embedding and by published lists. The result is a finding. Nothing is
    deleted: build-mixture leaves the people out where a recipe says exclude: evaluation.

    \b
    Example:
      fusekit decontaminate vggface2 ms1m --against lfw --store faces
    """
    from fusekit.curate.aliases import read_aliases
    from fusekit.curate.decontaminate import find_contamination, sort_out

    known = read_aliases(aliases) if aliases else None
    training, evaluation = sort_out(datasets, against or (), store)
    with progress() as report:
        result = find_contamination(
            training, against=evaluation, embedder=embedder, false_match=false_match,
            aliases=known, store=store, report=report,
        )  # fmt: skip
    write_sheet(contact_sheet, "contamination", result, store)
    show_contamination(result, as_json=as_json)


def show_contamination(result: "ContaminationResult", *, as_json: bool) -> None:
    """Show who was found, who is left to a person, and how it was searched."""
    for warning in result.warnings:
        remark(f"warning: {warning}")
    if as_json:
        show_json(result.as_json())
        return
    _show_people("in evaluation sets", result.identities)
    _show_people("unsure, for a person to decide", result.unsure)
    columns = ("dataset", "evaluation", "people", "unsure", "same from", "unsure from", "by chance")
    rows = [
        [s.dataset, s.evaluation, s.people, s.unsure_people, s.same, s.unsure, _short(s.by_chance)]
        for s in result.searched
    ]
    show_table(columns, rows)
    show_line()
    show_pairs({"finding": result.finding, "identities": len(result.identities)})
    if result.unsure:
        remark(f"{len(result.unsure)} unsure: fusekit review {result.finding[:12]} shows them")


def _show_people(heading: str, people: "Sequence[Found]") -> None:
    if not people:
        return
    show_line(f"{heading}:")
    columns = ("dataset", "identity", "name", "evaluation", "person", "score", "reason")
    rows = [
        (f.dataset, f.identity, f.name, f.evaluation, f.person, _short(f.score), f.reason)
        for f in people[:_SHOWN]
    ]
    show_table(columns, rows)
    if len(people) > _SHOWN:
        show_line(f"and {len(people) - _SHOWN:,} more; --json has all of them")
    show_line()


def _short(number: float | None) -> float | None:
    return None if number is None else round(number, 2)
