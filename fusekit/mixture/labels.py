"""Number the classes of a mixture: a range for each labeled dataset, or one label a person."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from fusekit.errors import MixtureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.mixture.select import Selection

_MAX_LABELS: Final = 2**31 - 1
_PAIR: Final = 2  # datasets whose merged labels can still be two ranges


@dataclass(frozen=True)
class Labels:
    """The labels of a mixture's labeled datasets.

    Attributes:
        count: How many there are.
        of_person: For each dataset the label of each person, int32: its identities by their
            index, then those who were split off; -1: no image is left.
        images: Rows of each label, int64 ``(count,)``.
        ranges: First label and one past the last of each dataset; None where a dataset's labels
            are no range: where those of three and more are merged.
    """

    count: int
    of_person: tuple[npt.NDArray[np.int32], ...]
    images: npt.NDArray[np.int64]
    ranges: tuple[tuple[int, int], ...] | None

    def of_source(self, source: int) -> npt.NDArray[np.int32]:
        """Give the labels of a dataset, ascending."""
        labels = self.of_person[source]
        return np.unique(labels[labels >= 0])


def number_labels(selections: Sequence[Selection]) -> Labels:
    """Number the identities that have an image left, dataset by dataset, in identity order.

    People who were split off come after their dataset's identities.

    Args:
        selections: Of the labeled datasets, in the recipe's order.

    Raises:
        MixtureError: There are more labels than 32 bits hold.
    """
    there = [_present(selection) for selection in selections]
    edges = np.cumsum([0, *(np.count_nonzero(present) for present in there)]).tolist()
    _check_count(edges[-1], selections)
    of_person = tuple(
        np.where(present, first + np.cumsum(present) - 1, -1).astype(np.int32)
        for present, first in zip(there, edges, strict=False)
    )
    images = _images(selections, of_person, edges[-1])
    return Labels(edges[-1], of_person, images, tuple(pairwise(edges)))


def merge_labels(
    selections: Sequence[Selection], clusters: Sequence[npt.NDArray[np.int64]]
) -> Labels:
    """Give one label to all identities of a cluster, in the order in which people first come up.

    The labels of two datasets are two ranges that overlap: those of the first alone, of both, of
    the second alone. Those of three and more can't all be ranges.

    Args:
        selections: Of the labeled datasets, in the recipe's order.
        clusters: For each of them the cluster of each identity, ``(identities,)``; -1: none.
            People who were split off an identity are not what the cluster was found by: they
            keep a label of their own.

    Raises:
        MixtureError: There are more labels than 32 bits hold.
    """
    there = [np.flatnonzero(_present(selection)) for selection in selections]
    person = _person_keys(there, clusters)
    source = np.repeat(np.arange(len(there)), [len(each) for each in there])
    found, first, label = np.unique(person, return_index=True, return_inverse=True)
    count = len(found)
    _check_count(count, selections)
    order, ranges = _arrange(label, first, source, count)
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count, dtype=np.int32)
    of_person = []
    for k, people in enumerate(there):
        mine = np.full(selections[k].info.identities + len(selections[k].split), -1, np.int32)
        mine[people] = rank[label[source == k]]
        of_person.append(mine)
    images = _images(selections, of_person, count)
    return Labels(count, tuple(of_person), images, ranges)


def _arrange(
    label: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    source: npt.NDArray[np.int64],
    count: int,
) -> tuple[npt.NDArray[np.int64], tuple[tuple[int, int], ...] | None]:
    """Order the classes; give the ranges of one or two datasets."""
    sources = int(source[-1]) + 1
    if sources > _PAIR:
        return np.argsort(first), None
    inside = np.zeros((_PAIR, count), np.bool_)
    inside[source, label] = True
    alone = np.where(inside.all(0), 1, np.where(inside[0], 0, 2))
    left, right = (int(np.count_nonzero(mine)) for mine in inside)
    ranges = ((0, left), (count - right, count))
    return np.lexsort((first, alone)), ranges[:sources]


def _person_keys(
    there: Sequence[npt.NDArray[np.int64]], clusters: Sequence[npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64]:
    """Give each person that is left a number: the cluster's, or one that nobody else has."""
    keys, free = [], 1 + max(int(each.max(initial=-1)) for each in clusters)
    for people, cluster in zip(there, clusters, strict=True):
        own = free + np.arange(len(people))
        free += len(people)
        known = people < len(cluster)
        own[known] = np.where(cluster[people[known]] >= 0, cluster[people[known]], own[known])
        keys.append(own)
    return np.concatenate(keys)


def _present(selection: Selection) -> npt.NDArray[np.bool_]:
    people = selection.people[selection.kept]
    everyone = selection.info.identities + len(selection.split)
    found: npt.NDArray[np.bool_] = np.bincount(people, minlength=everyone) > 0
    return found


def _images(
    selections: Sequence[Selection], of_person: Sequence[npt.NDArray[np.int32]], count: int
) -> npt.NDArray[np.int64]:
    images = np.zeros(count, np.int64)
    for selection, labels in zip(selections, of_person, strict=True):
        images += np.bincount(labels[selection.people[selection.kept]], minlength=count)
    return images


def _check_count(count: int, selections: Sequence[Selection]) -> None:
    if count > _MAX_LABELS:
        name = selections[-1].info.name
        raise MixtureError(name, f"{count} labels", f"at most {_MAX_LABELS}")
