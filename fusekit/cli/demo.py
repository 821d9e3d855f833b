"""``fusekit demo``: the whole road on a few real photographs."""

from typing import Annotated

import typer

from fusekit.cli.progress import progress
from fusekit.cli.show import show_line


def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where to work; made when it is not there.")
    ] = "fusekit-demo",
) -> None:
    """Run the whole road on real photographs.

    Two labeled datasets and an unlabeled one are made of photographs that come with
    fusekit's dependencies, then ingested, filtered, mixed and read as batches.

    \b
    Example:
      fusekit demo
    """
    from fusekit.demo.run import run_demo

    run_demo(folder, say=show_line, progress=progress)
