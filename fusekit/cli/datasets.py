"""``fusekit datasets``: what is in the store, or every dataset that fusekit knows."""

from typing import Annotated

import typer

from fusekit.cli.options import AsJson, Store
from fusekit.cli.show import remark, show_json, show_table


def datasets(
    *,
    known: Annotated[
        bool, typer.Option("--all", help="Every card of fusekit, ingested or not.")
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """List the datasets of a store, or all known.

    Known are those that fusekit has a card for.

    \b
    Example:
      fusekit datasets --store faces
      fusekit datasets --all
    """
    from fusekit.report.datasets import list_datasets, list_known

    rows = [row.as_json() for row in (list_known() if known else list_datasets(store))]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(list(rows[0]), [list(row.values()) for row in rows])
    else:
        remark("no dataset is finished here; fusekit ingest DATASET --from RAW makes one")
