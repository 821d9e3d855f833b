"""``fusekit report``: all that is known of a store, in one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from fusekit.cli.complete import complete_known
from fusekit.cli.options import AsJson, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import show_json, show_pairs, size


def report(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A dataset or a mixture; without: the whole store.",
            autocompletion=complete_known,
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The file to write, .html.")
    ] = Path("report.html"),
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show crops; without: names only.")
    ] = True,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Write a report as one HTML file that needs no network.

    Identities and images, looks that a dataset alone has, people in common, findings with
    their crops, rejects and provenance.

    \b
    Example:
      fusekit report --out report.html --store faces
    """
    from fusekit.report.page import write_report

    with progress() as told:
        written = write_report(name, store, out=out, pictures=images, report=told)
    if as_json:
        show_json(written.as_json())
    else:
        show_pairs({
            "report": written.path, "size": size(written.size),
            "datasets": len(written.material.datasets),
            "findings": len(written.material.findings), "sha256": written.sha256,
        })  # fmt: skip
