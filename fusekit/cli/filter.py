"""``fusekit filter``: which unlabeled samples show a known person."""

from typing import Annotated, Any, Literal

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import AsJson, Store, Stored
from fusekit.cli.progress import progress
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table
from fusekit.errors import UsageError


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
        str | None, typer.Option("--model", metavar="MODEL", help="Whose embeddings to compare.")
    ] = None,
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
            max_activation=max_activation, rule=rule, model=model, store=store, report=report,
        )  # fmt: skip
    show_filter(result.as_json(), as_json=as_json)


def show_filter(about: dict[str, Any], *, as_json: bool) -> None:
    """Show what a filter proposes, and what it was compared with."""
    for warning in about["warnings"]:
        remark(f"warning: {warning}")
    if as_json:
        show_json(about)
        return
    show_pairs({name: value for name, value in about.items() if name not in ("warnings", "scale")})
    show_line()
    show_table(("compared with", "scale"), [[n, round(s, 1)] for n, s in about["scale"].items()])
