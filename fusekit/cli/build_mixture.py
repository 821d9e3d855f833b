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

    It holds labels, classes and the index that fusekit.MixtureLoader reads. A dry run shows the
    rows before and after each of the recipe's rules, in the order in which the rules act.

    \b
    Example:
      fusekit build-mixture recipes/ten.yaml --store faces --dry-run
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
    if result.state == "dry run":
        show_steps(result)
        show_line()
    for note in result.remarks if result.state == "dry run" else result.notes:
        show_line(note)


def show_steps(result: "MixtureSummary") -> None:
    """Show what each rule cost each dataset; a dataset without rules has one row."""
    columns = ("dataset", "rule", "rows in", "taken", "rows out", "identities")
    rows: list[tuple[object, ...]] = []
    for source in result.sources:
        steps = [(s.rule, s.rows_in, s.taken, s.rows_out, s.identities) for s in source.steps]
        classes = source.classes if source.kind == "labeled" else None
        none = [("no rule", source.samples, 0, source.rows, classes)]
        rows += [(source.dataset, *step) for step in steps or none]
    show_table(columns, rows)
    unfiltered = [source.dataset for source in result.sources if not source.is_filtered]
    if unfiltered:
        show_line()
        show_line(f"not filtered by max_activation: {', '.join(unfiltered)}")
