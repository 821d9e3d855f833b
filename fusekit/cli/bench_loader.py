"""``fusekit bench-loader``: how fast a mixture is loaded here, and what bounds it."""

from typing import Annotated, Literal

import typer

from fusekit.cli.complete import complete_known
from fusekit.cli.options import AsJson, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import show_json, show_line, show_table


def bench(
    mixture: Annotated[
        str,
        typer.Argument(metavar="MIXTURE", help="A mixture.", autocompletion=complete_known),
    ],
    *,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Of a device; the recipe's without it."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", help="Without it: one a core, up to 8.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", help="How long to measure.")
    ] = 10.0,
    layout: Annotated[
        Literal["chw", "hwc"], typer.Option("--layout", help="Of the images.")
    ] = "chw",
    cache: Annotated[
        Literal["shards", "decoded", "none"], typer.Option("--cache", help="What is kept.")
    ] = "shards",
    process: Annotated[
        bool, typer.Option("--process", help="Make batches in a process of its own.")
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Measure a mixture's loader, its limits, and the gain still possible.

    The ceiling is the same loop over batches that are made already; the decode limit decodes
    the same bytes from memory in as many threads and does nothing else.

    \b
    Example:
      fusekit bench-loader ten --batch-size 8 --seconds 1 --store faces
    """
    from fusekit.report.bench_loader import bench_loader

    with progress() as report:
        result = bench_loader(
            mixture, store, batch_size=batch_size, threads=threads, seconds=seconds,
            layout=layout, cache=None if cache == "shards" else cache, process=process,
            report=report,
        )  # fmt: skip
    if as_json:
        show_json(result.as_json())
        return
    show_line(result.heading())
    show_line()
    show_table(*result.table())
    show_line()
    show_line(result.verdict)
