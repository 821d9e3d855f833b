"""What a trainer gets at each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    import torch

    Array: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.int64] | torch.Tensor


class Part(NamedTuple):
    """The rows of one labeled dataset in a batch that is grouped by datasets.

    Attributes:
        dataset_index: Its source index in the mixture.
        start: Place of its first row in the batch.
        stop: One past its last.
    """

    dataset_index: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Batch:
    """One device batch; the first ``n_labeled`` rows are labeled, the rest are not.

    Attributes:
        images: Crops, RGB, uint8, ``(B, 3, 112, 112)`` or ``(B, 112, 112, 3)``.
        labels: Class of each row, int64, ``(B,)``; -1 for unlabeled rows.
        dataset_index: Source index of each row in the mixture, int64, ``(B,)``.
        n_labeled: How many rows are labeled.
        step: The step of the order that this batch is.
        rows: Rows of the mixture's index that were read, int64 numpy array, ``(B,)``.
        seeds: A number for each row, uint64 numpy array, ``(B,)``, that depends on seed and
            position alone: a transform that draws from it is the same after a resume and on
            every world size.
        parts: With ``grouping="sub_batches"`` or ``"one_dataset"``, the slice of each labeled
            dataset that has rows here; else empty.
    """

    images: Array
    labels: Array
    dataset_index: Array
    n_labeled: int
    step: int
    rows: npt.NDArray[np.int64]
    seeds: npt.NDArray[np.uint64]
    parts: tuple[Part, ...]
    _key: Callable[[int], str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> list[str]:
        """The samples' keys, looked up when asked for."""
        return [self._key(int(row)) for row in self.rows]
