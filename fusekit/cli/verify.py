"""``fusekit verify``: is everything in the store what it was when it was written?"""

from typing import Annotated

import typer

from fusekit.cli.complete import complete_known
from fusekit.cli.options import AsJson, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import show_json, show_line


def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A dataset or mixture; all without it.",
            autocompletion=complete_known,
        ),
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave the shards unread; check the tables alone.")
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a store.

    Prints one line for each fault, and ends with exit code 1 if there is one.

    \b
    Example:
      fusekit verify --store faces
      fusekit verify vggface2 --quick --store faces
    """
    from fusekit.report.verify import verify_store

    with progress() as report:
        result = verify_store(store, name, deep=not quick, report=report)
    if as_json:
        show_json(result.as_json())
    else:
        for line in result.lines():
            show_line(line)
    raise typer.Exit(1 if result.problems else 0)
