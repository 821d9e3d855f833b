"""``fusekit filter``: which unlabeled samples show a known person."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import AsJson, Store, Stored
from fusekit.cli.progress import progress
from fusekit.cli.sheet import ContactSheet, write_sheet
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table
from fusekit.errors import UsageError

_SHOWN_APART: Final = ("warnings", "scale", "held_out", "histogram", "truth")


def filter_(
    dataset: Stored,
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MORE",
            help="More datasets of --against, written behind its first.",
            autocompletion=complete_stored,
        ),
    ] = None,
    *,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="DATASET",
            help="A labeled dataset whose people are known; or several.",
            autocompletion=complete_stored,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HEAD", help="A trained head: name or .safetensors/.npz."),
    ] = None,
    max_activation: Annotated[
        float, typer.Option("--max-activation", metavar="A", help="Out is what lies above it.")
    ] = 0.9,
    rule: Annotated[
        Literal["two-part", "activation"],
        typer.Option("--rule", help="two-part also asks for a cosine, where no head is given."),
    ] = "two-part",
    model: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            "--model",
            metavar="MODEL",
            help="Whose embeddings to compare; without: those that stand.",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "bf16"],
        typer.Option("--precision", help="Of the products; bf16 needs torch, and is checked."),
    ] = "float32",
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="CSV", help="Judge the result by a file: columns key, known."
        ),
    ] = None,
    contact_sheet: ContactSheet = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Find unlabeled samples of known people.

    The result is a finding. Nothing is deleted: build-mixture leaves them out where a
    recipe says max_activation.

    \b
    Example:
      fusekit filter crawl --against vggface2 --against ms1m --store faces
    """
    from fusekit.curate.activations import filter_unlabeled

    if more and not against:
        raise UsageError(
            more[0], "is one dataset too many", "--against before those of known people"
        )
    with progress() as report:
        result = filter_unlabeled(
            dataset, against=(*(against or ()), *(more or ())), head=head,
            max_activation=max_activation, rule=rule, model=model, precision=precision,
            truth=truth, store=store, report=report,
        )  # fmt: skip
    write_sheet(contact_sheet, "activation", result, store)
    show_filter(result.as_json(), as_json=as_json)


def show_filter(about: dict[str, Any], *, as_json: bool) -> None:
    """Show what a filter proposes, and what it was compared with."""
    for warning in about["warnings"]:
        remark(f"warning: {warning}")
    if as_json:
        show_json(about)
        return
    told = (about.get("truth") or {}).items()
    pairs = {name: value for name, value in about.items() if name not in _SHOWN_APART}
    show_pairs(pairs | {f"truth: {name.replace('_', ' ')}": value for name, value in told})
    show_line()
    held_out = about.get("held_out") or {}
    if held_out:
        head = ("compared with", "scale", "held-out: known dropped", "strangers kept")
        show_table(
            head,
            [
                [name, round(scale, 1), *map(percent, held_out[name].values())]
                for name, scale in about["scale"].items()
            ],
        )
    else:
        scales = [[name, round(scale, 1)] for name, scale in about["scale"].items()]
        show_table(("compared with", "scale"), scales)
    if about.get("histogram"):
        show_histogram(about["histogram"])


def show_histogram(histogram: list[dict[str, Any]]) -> None:
    """Show the cumulative table of activations, in percent, a line a nearest dataset."""
    show_line()
    edges = [f"<{edge.removeprefix('0')}" for edge in histogram[0]["below"]]
    lines = [[h["dataset"] or "all", h["samples"], *map(_short, shares(h))] for h in histogram]
    show_table(("nearest, %", "samples", *edges, ">=.9"), lines)


def shares(line: dict[str, Any]) -> list[float]:
    """Give the shares of one line of the table, those under each tenth and the rest."""
    return [*line["below"].values(), line["rest"]]


def _short(share: float) -> float:
    """Give percents in four signs at most: twelve columns stand in a terminal's 80."""
    tenths = round(100 * share, 1)
    return 100 if tenths == 100 else tenths


def percent(share: float) -> str:
    """Spell a share."""
    return f"{share:.1%}"
