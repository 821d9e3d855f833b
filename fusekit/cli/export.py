"""``fusekit export``: mixtures and evaluation sets in the formats that other trainers read."""

from typing import Annotated, Any, Literal

import typer

from fusekit.cli.complete import complete_known
from fusekit.cli.options import AsJson, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import remark, show_json, show_pairs, size


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A mixture; for bin an evaluation set.",
            autocompletion=complete_known,
        ),
    ],
    *,
    fmt: Annotated[
        Literal["recordio", "folders", "parquet", "lmdb", "webdataset", "bin"],
        typer.Option("--format", help="Of the files; bin: a verification pack."),
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="A new or empty folder; for bin a file.")
    ],
    part: Annotated[
        Literal["labeled", "unlabeled"], typer.Option("--part", help="Which samples of a mixture.")
    ] = "labeled",
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAME", help="Pairs of bin; without: the usual ones."),
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out pairs of bin without both images.")
    ] = False,
    store: Store = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be written and write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a mixture, or an evaluation set's pairs, for other trainers.

    Images are bit for bit those of the store. recordio is what InsightFace's arcface_torch
    trains on; parquet is what Hugging Face's datasets opens as images.

    \b
    Example:
      fusekit export ten --format recordio --out ten-rec --store faces
      fusekit export lfw --format bin --out lfw.bin --store faces
    """
    from fusekit.export.mixture import export_mixture
    from fusekit.export.pairs import export_pairs

    with progress() as report:
        if fmt == "bin":
            result = export_pairs(
                name, out, protocol=protocol, skip_missing=skip_missing, store=store,
                dry_run=dry_run, report=report,
            ).as_json()  # fmt: skip
        else:
            result = export_mixture(
                name, out, fmt, part=part, store=store, dry_run=dry_run, report=report
            ).as_json()
    if as_json:
        show_json(result)
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    remarks = result.pop("remarks")
    show_pairs(result | {"bytes": size(result["bytes"])})
    for text in remarks:
        remark(text)
