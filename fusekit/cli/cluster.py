"""``fusekit cluster``: pseudo-identities for a crawl."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fusekit.cli.options import AsJson, Embedder, Store, Stored
from fusekit.cli.progress import progress
from fusekit.cli.sheet import ContactSheet, write_sheet
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from fusekit.curate.clusters import ClustersResult


def cluster(
    dataset: Stored,
    *,
    method: Annotated[
        Literal["whispers", "infomap", "hdbscan"],
        typer.Option("--method", help="The last two need the extra 'cluster'."),
    ] = "whispers",
    false_match: Annotated[
        float | None,
        typer.Option(
            "--false-match",
            metavar="RATE",
            help="Share of strangers connected by mistake; 0.1 over the samples without.",
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            metavar="identity|FILE.csv",
            help="Compare with the dataset's identities, or those of a file.",
        ),
    ] = None,
    embedder: Embedder = None,
    contact_sheet: ContactSheet = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Group the samples of a crawl by person.

    The result is a finding: a pseudo-identity for each sample. --truth prints how well the
    groups agree with what is known.

    \b
    Example:
      fusekit cluster crawl --store faces
      fusekit cluster crawl --truth people.csv --store faces
    """
    from fusekit.curate.clusters import cluster_dataset

    with progress() as report:
        result = cluster_dataset(
            dataset, method=method, false_match=false_match, truth=truth, embedder=embedder,
            store=store, report=report,
        )  # fmt: skip
    write_sheet(contact_sheet, "clusters", result, store)
    show_clusters(result, as_json=as_json)


def show_clusters(result: "ClustersResult", *, as_json: bool) -> None:
    """Show how many groups there are, and how well they agree with the truth."""
    for warning in result.warnings:
        remark(f"warning: {warning}")
    about = result.as_json()
    if as_json:
        show_json(about)
        return
    del about["warnings"], about["scores"]
    show_pairs({**about, "largest": list(result.sizes[:10])})
    if (scores := result.scores) is None:
        return
    show_line()
    show_pairs({
        "truth": f"{scores.samples:,} samples of {scores.people:,} people "
        f"in {scores.clusters:,} clusters"
    })  # fmt: skip
    show_line()
    rows: list[tuple[str, float, float, float]] = [
        ("pairwise", scores.pairwise_precision, scores.pairwise_recall, scores.pairwise_f),
        ("B-cubed", scores.bcubed_precision, scores.bcubed_recall, scores.bcubed_f),
    ]
    show_table(
        ("measure", "precision", "recall", "F"),
        [[name, round(p, 4), round(r, 4), round(f, 4)] for name, p, r, f in rows],
    )
