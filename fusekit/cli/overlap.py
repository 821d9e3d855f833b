"""``fusekit overlap``: which identities are the same person."""

from typing import Annotated, Any

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import Aliases, AsJson, Embedder, Store
from fusekit.cli.progress import progress
from fusekit.cli.sheet import ContactSheet, write_sheet
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table


def overlap(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET...",
            help="Datasets with identities; one alone is compared with itself.",
            autocompletion=complete_stored,
        ),
    ],
    *,
    false_match: Annotated[
        float,
        typer.Option(
            "--false-match",
            metavar="RATE",
            help="Share of the pairs of strangers that may be called the same.",
        ),
    ] = 1e-6,
    aliases: Aliases = None,
    embedder: Embedder = None,
    contact_sheet: ContactSheet = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Find identities that are the same person.

    The result is a finding: pairs of identities with their evidence, and a decision on each.
    Nothing is changed: build-mixture joins them where a recipe says labels: merge.

    \b
    Example:
      fusekit overlap vggface2 ms1m --store faces
    """
    from fusekit.curate.aliases import read_aliases
    from fusekit.curate.overlap import find_overlap

    known = read_aliases(aliases) if aliases else None
    with progress() as report:
        result = find_overlap(
            datasets, embedder=embedder, false_match=false_match, aliases=known, store=store,
            report=report,
        )  # fmt: skip
    write_sheet(contact_sheet, "overlap", result, store)
    show_overlap(result.as_json(), as_json=as_json)


def show_overlap(about: dict[str, Any], *, as_json: bool) -> None:
    """Show the pairs that are the same or unsure, then what decided."""
    for warning in about["warnings"]:
        remark(f"warning: {warning}")
    if as_json:
        show_json(about)
        return
    rows = [
        [
            _person(pair["a"], pair["name_a"]), _person(pair["b"], pair["name_b"]),
            round(pair["score"], 3), f"{pair['votes']}/{pair['compared']}", pair["name_match"],
            pair["decision"],
        ]
        for pair in about["pairs"]
        if pair["decision"] != "different"
    ]  # fmt: skip
    show_table(("identity", "identity", "score", "votes", "name", "decision"), rows)
    show_line()
    show_table(
        ("compared", "pairs", "same above", "unsure above", "recall by score", "same", "unsure"),
        [
            [
                f"{each['a']}, {each['b']}", each["pairs"], each["thresholds"]["same"],
                each["thresholds"]["unsure"],
                None if each["recall"] is None else f"{each['recall']:.0%}",
                each["counts"]["same"], each["counts"]["unsure"],
            ]
            for each in about["compared"]
        ],
    )  # fmt: skip
    show_line()
    show_pairs(
        {"people joined": about["people"], "of identities": about["identities"],
         "finding": about["finding"]}
    )  # fmt: skip


def _person(who: dict[str, str], name: str | None) -> str:
    known = who["identity"] if name in (None, who["identity"]) else f"{who['identity']} ({name})"
    return f"{who['dataset']} {known}"
