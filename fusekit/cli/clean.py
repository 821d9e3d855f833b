"""``fusekit clean``: which samples are not the person whose label they carry."""

from typing import TYPE_CHECKING, Annotated

import typer

from fusekit.cli.options import AsJson, Embedder, Store, Stored
from fusekit.cli.progress import progress
from fusekit.cli.sheet import ContactSheet, write_sheet
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from fusekit.curate.label_noise import LabelNoiseResult

_WORST = 20


def clean(
    dataset: Stored,
    *,
    false_match: Annotated[
        float,
        typer.Option(
            "--false-match",
            metavar="RATE",
            help="Share of strangers that may pass; a smaller one flags more.",
        ),
    ] = 0.01,
    embedder: Embedder = None,
    contact_sheet: ContactSheet = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Find wrong labels: outliers, two people in one, samples of others.

    The result is a finding. Nothing is deleted: build-mixture leaves the samples out
    where a recipe says clean.

    \b
    Example:
      fusekit clean vggface2 --store faces
    """
    from fusekit.curate.label_noise import find_label_noise

    with progress() as report:
        result = find_label_noise(
            dataset, embedder=embedder, false_match=false_match, store=store, report=report
        )
    write_sheet(contact_sheet, "label-noise", result, store)
    show_clean(result, as_json=as_json)


def show_clean(result: "LabelNoiseResult", *, as_json: bool) -> None:
    """Show what cleaning proposes: counts, then the identities with the most noise."""
    for warning in result.warnings:
        remark(f"warning: {warning}")
    if as_json:
        show_json(result.as_json())
        return
    show_pairs({
        "dataset": result.dataset, "samples": result.samples, "identities": result.identities,
        "outliers": result.outliers,
        "split": f"{result.split_samples:,} of {len(result.split):,} identities",
        "mislabeled": result.mislabeled, "dropped": result.dropped, "unsure": result.unsure,
        "finding": result.finding,
    })  # fmt: skip
    if not result.noisy:
        return
    show_line()
    columns = ("identity", "name", "samples", "outliers", "split", "mislabeled", "dropped")
    show_table(
        columns, [[getattr(each, name) for name in columns] for each in result.noisy[:_WORST]]
    )
    if len(result.noisy) > _WORST:
        show_line(f"and {len(result.noisy) - _WORST:,} identities more")
