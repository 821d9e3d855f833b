"""Which classes each dataset of a mixture has, and which rows of a head's weights they are.

Class ``c`` of a head over W ranks is row ``c // W`` of rank ``c % W``: so a dataset's range of
classes is a range of rows on every rank, and of the same length but for one.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from fusekit.errors import LossError

if TYPE_CHECKING:
    from collections.abc import Sequence

I64: TypeAlias = npt.NDArray[np.int64]
Classes: TypeAlias = range | I64  # ascending, each once

_NONE, _SEVERAL = -1, -2


class ClassSets:
    """The classes of K datasets.

    Args:
        class_ranges: First class and one past the last of each dataset, ``(K, 2)``, as
            :attr:`fusekit.Mixture.class_ranges`; None where labels are merged.
        dataset_classes: Instead, the classes of each dataset, K arrays, as
            :meth:`fusekit.Mixture.dataset_classes`.

    Attributes:
        sets: The classes of each dataset, ascending.
        num_classes: One past the highest class.

    Raises:
        LossError: Both or neither are given, a dataset has no class, or a class is negative.

    Example:
        >>> ClassSets([(0, 3), (3, 5)]).sets
        (range(0, 3), range(3, 5))
    """

    def __init__(
        self,
        class_ranges: npt.ArrayLike | None = None,
        dataset_classes: Sequence[npt.ArrayLike] | None = None,
    ) -> None:
        if (class_ranges is None) == (dataset_classes is None):
            raise LossError(
                "class_ranges", "and dataset_classes: one of the two says whose classes are whose"
            )
        self.sets: tuple[Classes, ...] = (
            _ranges(class_ranges) if dataset_classes is None else _lists(dataset_classes)
        )
        self.num_classes = 1 + max(int(classes[-1]) for classes in self.sets)
        self._owner = np.full(self.num_classes, _NONE, np.int32)
        for k, classes in enumerate(self.sets):
            at: I64 = np.asarray(classes, np.int64)
            self._owner[at] = np.where(self._owner[at] == _NONE, k, _SEVERAL)

    def datasets_of(self, labels: torch.Tensor, given: torch.Tensor | None = None) -> I64:
        """Give each row's dataset, having checked that the row may have its label.

        Args:
            labels: Class of each row, integers ``(B,)``.
            given: Dataset of each row, integers ``(B,)``; None takes it from the labels.

        Returns:
            ``(B,)``.

        Raises:
            LossError: A label is negative, above the classes, of no dataset, of another dataset
                than the given one, or of several where none is given.
        """
        found = integers("labels", labels)
        if (bad := _first((found < 0) | (found >= self.num_classes))) is not None:
            unlabeled = "unlabeled rows have no class: give the head embeddings[:batch.n_labeled]"
            raise LossError(
                "labels", f"row {bad} has the label {found[bad]}", f"0 to {self.num_classes - 1}",
                unlabeled if found[bad] == -1 else None,
            )  # fmt: skip
        owner = self._owner[found].astype(np.int64)
        if (bad := _first(owner == _NONE)) is not None:
            raise LossError(
                "labels", f"row {bad} has the class {found[bad]}, which is absent: "
                "no dataset has it",
            )  # fmt: skip
        if given is not None:
            return self._checked(found, integers("dataset_index", given))
        if (bad := _first(owner == _SEVERAL)) is not None:
            raise LossError(
                "labels", f"row {bad} has the class {found[bad]}, which several datasets have",
                None, "give dataset_index, as the batch has it",
            )  # fmt: skip
        return owner

    @cached_property
    def joint(self) -> ClassSets:
        """All classes as those of one dataset."""
        return ClassSets([(0, self.num_classes)])

    def outside(self, dataset: int, number: I64) -> I64:
        """Give classes that a dataset does not have, by their number among these.

        Args:
            dataset: A dataset.
            number: From 0 to below ``num_classes`` less its classes, any shape.

        Example:
            >>> ClassSets([(0, 3), (3, 5), (5, 6)]).outside(1, np.arange(4)).tolist()
            [0, 1, 2, 5]
        """
        own = self.sets[dataset]
        if isinstance(own, range):
            return number + len(own) * (number >= own.start)
        before = own - np.arange(len(own))  # how many classes of others stand before each
        return number + np.searchsorted(before, number, side="right")

    def local_rows(self, dataset: int, rank: int = 0, world_size: int = 1) -> Classes:
        """Give the rows of a rank's weights that hold a dataset's classes.

        Example:
            >>> ClassSets([(0, 3), (3, 6)]).local_rows(1, rank=1, world_size=2)
            range(1, 3)
        """
        own = self.sets[dataset]
        if isinstance(own, range):
            first, end = (-(-(c - rank) // world_size) for c in (own.start, own.stop))
            return range(first, end)
        rows: I64 = own[own % world_size == rank] // world_size
        return rows

    def _checked(self, labels: I64, given: I64) -> I64:
        if given.shape != labels.shape:
            raise LossError(
                "dataset_index", f"has the shape {given.shape}", f"the labels' {labels.shape}"
            )
        if (bad := _first((given < 0) | (given >= len(self.sets)))) is not None:
            raise LossError(
                "dataset_index", f"row {bad} is of dataset {given[bad]}",
                f"0 to {len(self.sets) - 1}",
            )  # fmt: skip
        for k in np.unique(given).tolist():
            outside = (given == k) & (places(self.sets[k], labels) < 0)
            if (bad := _first(outside)) is not None:
                raise LossError(
                    "labels",
                    f"row {bad} has the class {labels[bad]}, which its dataset {k} does not have",
                )
        return given


def places(classes: Classes, wanted: I64) -> I64:
    """Give the place of each wanted class in ascending classes, -1 where it isn't there.

    Example:
        >>> places(range(3, 6), np.array([4, 6])).tolist()
        [1, -1]
    """
    if isinstance(classes, range):
        inside = (wanted >= classes.start) & (wanted < classes.stop)
        return np.where(inside, wanted - classes.start, -1)
    if not len(classes):
        return np.full(wanted.shape, -1, np.int64)
    at = np.searchsorted(classes, wanted).clip(max=len(classes) - 1)
    return np.where(classes[at] == wanted, at, -1)


def gather_rows(
    weight: torch.Tensor, wanted: Sequence[Classes]
) -> tuple[torch.Tensor, list[slice]]:
    """Give a matrix in which each set of rows is a slice, and no two slices overlap.

    Args:
        weight: ``(C, D)``.
        wanted: Sets of rows.

    Returns:
        ``weight`` itself where the sets are disjoint ranges, else a copy of the rows, ``(n, D)``;
        and the slice of each set.
    """
    if all(isinstance(each, range) for each in wanted):
        bounds = [(each.start, each.stop) for each in wanted if isinstance(each, range)]
        ends = [end for bound in sorted(bounds) for end in bound]
        if ends == sorted(ends):
            return weight, [slice(*bound) for bound in bounds]
    numbers = [np.asarray(each, np.int64) for each in wanted]
    ends = np.cumsum([0, *(len(each) for each in numbers)]).tolist()
    index = torch.from_numpy(np.concatenate(numbers)).to(weight.device)
    slices = [slice(a, b) for a, b in pairwise(ends)]
    return weight.index_select(0, index), slices


def integers(where: str, values: torch.Tensor) -> I64:
    """Give a vector of integers as int64 numpy, wherever it lies.

    Raises:
        LossError: It is no vector of integers.
    """
    if values.ndim != 1 or values.is_floating_point() or values.dtype == torch.bool:
        raise LossError(
            where, f"are {str(values.dtype).removeprefix('torch.')} of the shape "
            f"{tuple(values.shape)}", "integers of the shape (B,)",
        )  # fmt: skip
    found: I64 = values.detach().cpu().numpy().astype(np.int64)
    return found


def _ranges(class_ranges: npt.ArrayLike | None) -> tuple[range, ...]:
    found = np.asarray(class_ranges)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found) or found.dtype.kind not in "iu":
        raise LossError(
            "class_ranges", f"have the shape {found.shape}", "integers of the shape (K, 2)"
        )
    for k, (first, end) in enumerate(found.tolist()):
        if not 0 <= first < end:
            raise LossError(
                "class_ranges", f"dataset {k} has the range ({first}, {end})",
                "a first class of 0 or more, and one past the last",
            )  # fmt: skip
    return tuple(range(first, end) for first, end in found.tolist())


def _lists(dataset_classes: Sequence[npt.ArrayLike] | None) -> tuple[I64, ...]:
    found = tuple(np.asarray(each) for each in dataset_classes or ())
    for k, classes in enumerate(found):
        fits = classes.ndim == 1 and len(classes) and classes.dtype.kind in "iu"
        if not fits or classes[0] < 0 or (np.diff(classes.astype(np.int64)) <= 0).any():
            raise LossError(
                "dataset_classes", f"those of dataset {k} are no list of classes",
                "ascending integers of 0 or more, each once", "Mixture.dataset_classes gives them",
            )  # fmt: skip
    if not found:
        raise LossError("dataset_classes", "has no dataset")
    return tuple(classes.astype(np.int64) for classes in found)


def _first(wrong: npt.NDArray[np.bool_]) -> int | None:
    return int(wrong.argmax()) if wrong.any() else None
