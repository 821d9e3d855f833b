"""The options that several commands share, spelt once."""

from typing import Annotated, TypeAlias

import typer

from fusekit.cli.complete import complete_stored

Store: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        envvar="FUSEKIT_STORE",
        help="Where ingested data lives; ./fusekit-store without it.",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on stdout.")
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=0, help="Processes; 0: this one, without it: one a core."
    ),
]
Stored: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="A dataset of the store.", autocompletion=complete_stored
    ),
]
Embedder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="MODEL",
        help="Whose embeddings to compare; without: those that stand.",
    ),
]
Aliases: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--aliases", metavar="FILE.csv", help="Other names of people: columns alias and name."
    ),
]
