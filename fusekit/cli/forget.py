"""``fusekit forget``: erase a person or a withdrawn picture."""

import sys
from typing import Annotated, Any

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import AsJson, Embedder, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import remark, show_json, show_line, show_table


def forget(
    *,
    identity: Annotated[
        str | None,
        typer.Option("--identity", metavar="NAME", help="A person, by identity or display name."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="PATH", help="An item, as manifests name it.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="A sample's key; its whole picture.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="DATASET",
            help="Where to look for it.",
            autocompletion=complete_stored,
        ),
    ] = None,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere",
            help="In all datasets; a person also where findings say it is the same one.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be erased and erase nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Don't ask; nobody is asked with --json or in a pipe.")
    ] = False,
    embedder: Embedder = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person or a picture from the store, for good.

    Crops are overwritten in their shards, and their rows are blanked in every table. No row
    moves, so mixtures, orders and running trainings hold. Later ingests leave the same
    items out. Without a name an interrupted erasure is gone on with.

    \b
    Example:
      fusekit forget --identity n000002 --dataset vggface2 --dry-run --store faces
      fusekit forget --identity n000002 --dataset vggface2 --yes --store faces
    """
    from fusekit.curate.forget import forget as erase

    asks = not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
    with progress() as report:
        result = erase(
            identity=identity, source=source, key=key, dataset=dataset, everywhere=everywhere,
            embedder=embedder, dry_run=dry_run, store=store, confirm=_ask if asks else None,
            report=report,
        )  # fmt: skip
    show_forgotten(result.as_json(), as_json=as_json)
    raise typer.Exit(0 if result.proved or result.dry_run else 1)


def _ask(result: Any) -> bool:  # noqa: ANN401 - a ForgetResult, whose module is heavy
    _show_datasets(result.as_json())
    return typer.confirm("Erase this for good?", err=True)


def show_forgotten(about: dict[str, Any], *, as_json: bool) -> None:
    """Show what was erased, or would be."""
    if about["went_on"]:
        remark("an erasure that was interrupted was gone on with")
    if about["left"]:
        shown = ", ".join(about["left"][:5])
        remark(f"not all is gone: {shown} still holds some of it")
    if as_json:
        show_json(about)
        return
    _show_datasets(about)
    if about["mixtures"]:
        show_line(f"mixtures with such rows: {', '.join(about['mixtures'])}")
    if about["dry_run"]:
        show_line("nothing was erased")
    elif about["proved"]:
        show_line("proved: no file of the store holds any of it")


def _show_datasets(about: dict[str, Any]) -> None:
    counts = ("items", "samples", "shards", "copies")
    rows = [
        [row["dataset"], _people(row), *(row[name] for name in counts)] for row in about["datasets"]
    ]
    show_table(("dataset", "whole identities", *counts), rows)


def _people(row: dict[str, Any]) -> list[str]:
    pairs = zip(row["identities"], row["names"], strict=True)
    return [f"{text} ({name})" if name else text for text, name in pairs]
