"""``fusekit embed``: an embedding for every crop of a dataset."""

from typing import Annotated

import typer

from fusekit.cli.options import AsJson, Store, Stored, Workers
from fusekit.cli.progress import progress
from fusekit.cli.show import show_json, show_table


def embed(
    dataset: Stored,
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="MODEL", help="A model's name, insightface/PACK or a .onnx file."
        ),
    ] = "dlib-resnet-v1",
    store: Store = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Embed every crop of a dataset.

    Each model gets crops by its own input contract; a run that was stopped goes on.

    \b
    Example:
      fusekit embed crawl --store faces
      fusekit embed vggface2 --model models/r50.onnx --store faces
    """
    from fusekit.curate.embed import embed_dataset

    with progress() as report:
        result = embed_dataset(dataset, model=model, store=store, workers=workers, report=report)
    about = result.as_json()
    if as_json:
        show_json(about)
    else:
        show_table(list(about), [list(about.values())])
