"""``fusekit build-mixture``: a recipe and ingested datasets to a training mixture."""

from typing import TYPE_CHECKING, Annotated

import typer

from fusekit.cli.options import AsJson, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from fusekit.mixture.summary import MixtureSummary


def build(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's path, or one of fusekit's by name.")
    ],
    *,
    store: Store = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a mixture of this name.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be built and write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build a training mixture by a recipe.

    It holds labels, classes and the index that fusekit.MixtureLoader reads.

    \b
    Example:
      fusekit build-mixture recipes/ten.yaml --store faces
    """
    from fusekit.mixture.build import build_mixture

    with progress() as report:
        result = build_mixture(
            recipe, store=store, overwrite=overwrite, dry_run=dry_run, report=report
        )
    if as_json:
        show_json(result.as_json())
    else:
        show_mixture(result)


def show_mixture(result: "MixtureSummary") -> None:
    """Show what a mixture holds, each dataset's labels, and what the recipe's rules took."""
    names = ("mixture", "state", "labeled", "unlabeled", "classes")
    show_pairs({name: getattr(result, name) for name in names})
    show_line()
    columns = ("dataset", "dataset_index", "kind", "rows", "first label", "end")
    show_table(
        columns,
        [
            (s.dataset, s.dataset_index, s.kind, s.rows, *(s.labels or (None, None)))
            for s in result.sources
        ],
    )
    show_line()
    for note in result.notes:
        show_line(note)
