"""Pairs of classes that do not push each other away: people known or thought to be the same.

Where an overlap finding says which people two datasets share, it is enough to mask these pairs;
the softmax may then run over all classes (``crossing_p=1``) instead of one dataset's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusekit.errors import LossError

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.losses.class_sets import I64


class DoNotRepel:
    """For each class, the classes that are left out of the softmax of its rows.

    Args:
        pairs: Two classes a row, in either order, ``(P, 2)``: those that an overlap finding
            calls same or unsure. It is not transitive: give each pair that is meant.
        num_classes: How many classes there are.

    Raises:
        LossError: Its shape is another, or a class is out of range or paired with itself.

    Example:
        >>> DoNotRepel([(0, 3), (3, 1)], 4).of(np.array([3, 2, 0]))
        (array([0, 0, 2]), array([0, 1, 3]))
    """

    def __init__(self, pairs: npt.ArrayLike, num_classes: int) -> None:
        found = np.asarray(pairs)
        if found.size == 0:
            found = np.zeros((0, 2), np.int64)
        if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu":
            raise LossError(
                "do_not_repel", f"has the shape {found.shape}", "integers of the shape (P, 2)"
            )
        wrong = (found < 0).any(1) | (found >= num_classes).any(1) | (found[:, 0] == found[:, 1])
        if wrong.any():
            a, b = found[int(wrong.argmax())].tolist()
            raise LossError(
                "do_not_repel", f"has the pair ({a}, {b})",
                f"two different classes of 0 to {num_classes - 1}",
            )  # fmt: skip
        both = np.unique(np.concatenate([found, found[:, ::-1]]).astype(np.int64), axis=0)
        self._others: I64 = both[:, 1]
        self._starts: I64 = np.searchsorted(both[:, 0], np.arange(num_classes + 1))
        self._num_classes = num_classes

    def of(self, labels: I64) -> tuple[I64, I64]:
        """Give the masked classes of each row.

        Args:
            labels: Class of each row, ``(B,)``.

        Returns:
            Rows ascending, and a class for each, both ``(M,)``.
        """
        first, counts = self._starts[labels], self._starts[labels + 1] - self._starts[labels]
        row = np.repeat(np.arange(len(labels)), counts)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, self._others[first[row] + nth]

    def allows(self, labels: I64, row: I64, classes: I64) -> npt.NDArray[np.bool_]:
        """Tell which classes may enter the softmax of rows.

        Args:
            labels: Class of each row, ``(B,)``.
            row: Places in ``labels``, ``(M,)``.
            classes: A class for each, ``(M,)``.
        """
        masked_row, masked = self.of(labels)
        n = self._num_classes
        return ~np.isin(row * n + classes, masked_row * n + masked)
