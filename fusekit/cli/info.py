"""``fusekit info``: all that is recorded of one dataset or mixture."""

from typing import Annotated

import typer

from fusekit.cli.complete import complete_known
from fusekit.cli.options import AsJson, Store
from fusekit.cli.show import show_json, show_line, show_pairs, show_table


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A dataset or a mixture.", autocompletion=complete_known
        ),
    ],
    *,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Describe a dataset or a mixture.

    \b
    Example:
      fusekit info vggface2 --store faces
    """
    from fusekit.report.info import info as describe

    about = describe(name, store)
    if as_json:
        show_json(about.as_json())
        return
    show_pairs(about.facts)
    for table in about.tables:
        show_line()
        show_table(table.columns, table.rows)
