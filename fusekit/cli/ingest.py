"""``fusekit ingest``: raw data to aligned crops in shards, with manifests and rejects."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fusekit.cli.complete import complete_card
from fusekit.cli.options import AsJson, Store, Workers
from fusekit.cli.progress import progress
from fusekit.cli.show import remark, show_json, show_line, show_table


def ingest(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A card's name (fusekit datasets --all) or a card's path.",
            autocompletion=complete_card,
        ),
    ],
    *,
    raw: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="RAW", help="Where the raw data lies; without: raw/DATASET."
        ),
    ] = None,
    store: Store = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name in the store.")
    ] = None,
    workers: Workers = None,
    fmt: Annotated[
        Literal["jpg", "png", "raw"] | None,
        typer.Option("--format", help="How crops are stored; without: jpg, or as they came."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            metavar="MODEL",
            help="retinaface-mnet025 (without), insightface/PACK or a .onnx file.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done and write nothing.")
    ] = False,
    as_json: AsJson = False,
    form: Annotated[
        str | None, typer.Option("--form", metavar="FORM", help="Read it as this form of the card.")
    ] = None,
    faces: Annotated[
        Literal["best", "all"] | None,
        typer.Option("--faces", help="One face of a picture, or each; without: as the card says."),
    ] = None,
    index: Annotated[
        int | None,
        typer.Option("--index", metavar="K", min=0, help="Dataset index; without: as the card."),
    ] = None,
    lists: Annotated[
        list[Path] | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="Keep only what this clean list names; several: what any names.",
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option("--exclude", metavar="FILE", help="Leave out what this list names."),
    ] = None,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Identities are the labels of --list.")
    ] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Finished 112x112 crops: keep them bit for bit.")
    ] = False,
    landmarks: Annotated[
        Literal["detect", "given"],
        typer.Option("--landmarks", help="Detect each face, or place it by the source's points."),
    ] = "detect",
    order: Annotated[
        Literal["random", "source"] | None,
        typer.Option(
            "--order", help="Units are random samples, or runs of the source; without: what suits."
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="NAME=VALUE", help="An option of the form's reader, as in cards."
        ),
    ] = None,
    unit_size: Annotated[
        int, typer.Option("--unit-size", metavar="N", help="Items in a unit, so in a shard.")
    ] = 8192,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", metavar="S", min=0, max=1, help="Least detector score; without: 0.6."
        ),
    ] = None,
) -> None:
    """Turn raw data into shards and manifests.

    Every item is kept or rejected with a reason. A run that was stopped goes on when the same
    command is given again.

    \b
    Example:
      fusekit ingest vggface2 --from raw/VGG-Face2 --store faces --workers 4
      fusekit ingest unlabeled --as crawl --from raw/crawl --store faces
      fusekit ingest ms1m --from raw/MS-Celeb-1M --list MS-Celeb-1M_clean_list.txt
    """
    from fusekit.cards.options import parse_options
    from fusekit.ingest.dataset import ingest_dataset

    with progress() as report:
        result = ingest_dataset(
            dataset, raw=raw, store=store, name=name, workers=workers,
            fmt=fmt, detector=detector, dry_run=dry_run, form=form,
            faces=faces, index=index, unit_size=unit_size,
            min_score=min_score, aligned=aligned, landmarks=landmarks, order=order,
            lists=lists or (), exclude=exclude or (), relabel=relabel,
            options=parse_options(options or ()), report=report,
        )  # fmt: skip
    show_ingest(result.as_json(), as_json=as_json)


def show_ingest(result: dict[str, Any], *, as_json: bool) -> None:
    """Show what an ingest gave: its counts, and why items were rejected."""
    if as_json:
        show_json(result)
        return
    counts = ("kept", "rejected", "samples") if not result["dry_run"] else ("units",)
    columns = ("dataset", "form", "items", *counts, "identities", "seconds")
    show_table(columns, [[result.get(column) for column in columns]])
    if any(figure["published"] is not None for figure in result["figures"].values()):
        show_line()
        figures = result["figures"].items()  # a pack of pairs has no identities, as published
        rows = [(name, *f.values()) for name, f in figures if f["here"] or f["published"]]
        show_table(("", "here", "published", "difference"), rows)
    if result["protocol"]:
        show_line()
        show_table(("protocol", "rows"), list(result["protocol"].items()))
    if result["rejects"]:
        show_line()
        show_table(("rejected because", "items"), _by_count(result["rejects"]))
    for what, count in sorted(result.get("ignored", {}).items()):
        remark(f"passed over as no item: {count:,} {what}")
    for text in result["remarks"]:
        remark(text)


def _by_count(rejects: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(rejects.items(), key=lambda entry: (-entry[1], entry[0]))
