"""The trainer's own change to finished batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import LoaderError
from fusekit.loader.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable


def run_transform(transform: Callable[[Batch], Batch], batch: Batch) -> Batch:
    """Give what a transform makes of a batch.

    Args:
        transform: Called once.
        batch: It may change the arrays in place: they are this batch's own.

    Raises:
        LoaderError: It gave no batch.
        Exception: Whatever it raises, with a note that names the step.
    """
    try:
        made = transform(batch)
    except Exception as error:
        error.add_note(f"while transforming the batch of step {batch.step}")
        raise
    if not isinstance(made, Batch):
        raise LoaderError(
            "transform", f"gave {type(made).__name__} for the batch of step {batch.step}",
            "a Batch", "return the batch, or dataclasses.replace(batch, images=…)",
        )  # fmt: skip
    return made
