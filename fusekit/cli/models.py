"""``fusekit models``: which models there are, and fetching one."""

from dataclasses import asdict
from typing import Annotated

import typer

from fusekit.cli.options import AsJson
from fusekit.cli.progress import progress
from fusekit.cli.show import show_json, show_line, show_table

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the models, or fetch one.

    \b
    Example:
      fusekit models list
      fusekit models get retinaface-mnet025
    """
    if context.invoked_subcommand is None:
        list_(as_json=as_json)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the models, and which are here.

    \b
    Example:
      fusekit models list --json
    """
    from fusekit.models.registry import list_models

    rows = [asdict(status) | {"path": str(status.path)} for status in list_models()]
    if as_json:
        show_json(rows)
        return
    columns = ("name", "task", "provider", "present", "licence", "sha256")
    short = [row | {"sha256": (row["sha256"] or "-")[:16]} for row in rows]
    show_table(columns, [[row[column] for column in columns] for row in short])


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name.")],
) -> None:
    """Fetch a model into the cache, check its sha256 and print its path.

    \b
    Example:
      fusekit models get retinaface-mnet025
    """
    from fusekit.models.registry import get_model

    with progress() as report:
        path = get_model(name, report)
    show_line(str(path))
