"""``fusekit``: the commands together, and what a user sees when one of them ends badly."""

import sys
from typing import Annotated, Final

import typer

import fusekit
from fusekit.cli import models
from fusekit.cli.bench_loader import bench
from fusekit.cli.build_mixture import build
from fusekit.cli.clean import clean
from fusekit.cli.cluster import cluster
from fusekit.cli.datasets import datasets
from fusekit.cli.decontaminate import decontaminate
from fusekit.cli.dedup import dedup
from fusekit.cli.demo import demo
from fusekit.cli.embed import embed
from fusekit.cli.evaluate import evaluate
from fusekit.cli.export import export
from fusekit.cli.filter import filter_
from fusekit.cli.forget import forget
from fusekit.cli.info import info
from fusekit.cli.ingest import ingest
from fusekit.cli.overlap import overlap
from fusekit.cli.report import report
from fusekit.cli.review import review
from fusekit.cli.sql import sql
from fusekit.cli.stats import stats
from fusekit.cli.verify import verify
from fusekit.errors import FusekitError

INTERRUPTED: Final = 130

# Plain help: it starts twice as fast as the boxed one and reads the same in a pipe.
app = typer.Typer(
    name="fusekit",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
app.command("ingest")(ingest)
app.command("embed")(embed)
app.command("filter")(filter_)
app.command("overlap")(overlap)
app.command("decontaminate")(decontaminate)
app.command("clean")(clean)
app.command("dedup")(dedup)
app.command("cluster")(cluster)
app.command("review")(review)
app.command("build-mixture")(build)
app.command("bench-loader")(bench)
app.command("evaluate")(evaluate)
app.command("export")(export)
app.command("forget")(forget)
app.command("sql")(sql)
app.command("datasets")(datasets)
app.command("info")(info)
app.command("stats")(stats)
app.command("report")(report)
app.command("verify")(verify)
app.add_typer(models.app, name="models")
app.command("demo")(demo)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"fusekit {fusekit.__version__}")
        raise typer.Exit


@app.callback()
def fusekit_(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Turn many face-recognition datasets into one training mixture.

    ingest makes aligned crops in WebDataset tars with Parquet manifests, embed and filter
    take known people out of an unlabeled crawl, build-mixture joins datasets by a recipe,
    and fusekit.MixtureLoader feeds a trainer with exact, resumable batches.

    \b
    Example:
      fusekit ingest vggface2 --from raw/VGG-Face2
    """


def run() -> None:
    """Run the command that the arguments name, and leave with its exit code.

    0: done; 1: a fusekit error, or a check failed; 2: usage; 130: interrupted. Anything
    unexpected keeps its traceback.
    """
    try:
        app()
    except FusekitError as error:
        for note in getattr(error, "__notes__", ()):
            sys.stderr.write(f"{note}\n")
        sys.stderr.write(f"fusekit: {error}\n")
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            sys.stderr.write("fusekit: interrupted; run the same command again to go on\n")
        raise
