"""Templates: one robust centre for each identity of a dataset, or two where it holds two people.

A plain mean follows wrong labels; the trimmed mean leaves out the fifth that is farthest from it.
Where an identity is two people, their common mean is like neither, so each gets a centre of its
own.

Reference:
    Huber, "Robust Statistics", 1981: the trimmed mean. Dhillon and Modha, "Concept decompositions
    for large sparse text data using clustering", Machine Learning 2001: k-means on the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.cosine_scale import to_cosine, to_scale
from fusekit.curate.prototypes import unit_rows
from fusekit.rng import derive, permute
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet, Vectors

Ints: TypeAlias = npt.NDArray[np.int64]
People: TypeAlias = npt.NDArray[np.int32]

TRIMMED: Final = 0.2
"""Share of an identity's images, rounded down, that its centre leaves out."""
SPLIT_IMAGES: Final = 3
SPLIT_SHARE: Final = 0.1
"""The smaller of two people in one identity has at least so many images, and so large a share."""
VERSION: Final = 2

_STRANGER_SPREADS: Final = 3.0
_MAD_TO_SD: Final = 1.4826  # of a normal distribution
_GROUP_BYTES: Final = 256 << 20  # of images' embeddings that are held at once
_PROBES: Final = 512  # templates whose cosines say how far strangers are
_AXIS_STEPS: Final = 30
_MEANS_STEPS: Final = 20
_SEED: Final = derive("templates", "strangers")


@dataclass(frozen=True)
class Templates:
    """The centres of a dataset's identities, and the images that each stands for.

    Attributes:
        dataset: Its name.
        identities: By identity_index; empty when every sample is its own template.
        names: Their display names; None where the dataset gives none.
        centres: float32 ``(T, D)`` of unit length.
        of_identity: int32 ``(T,)`` ascending: the identity_index of each. An identity has one,
            two when it shows two people, none when it has no image. Where every sample is its
            own template, the sample's identity_index, in the samples' order: -1 for none.
        images: int32 ``(T,)``, how many images each stands for.
        starts: int64 ``(T + 1,)``.
        rows: int64 ``(N,)``: ``rows[starts[t]:starts[t + 1]]`` are the numbers in the dataset of
            the samples of ``t``, ascending.
    """

    dataset: str
    identities: tuple[str, ...]
    names: tuple[str | None, ...]
    centres: Vectors
    of_identity: People
    images: People
    starts: Ints
    rows: Ints

    def rows_of(self, template: int) -> Ints:
        """Give the numbers in the dataset of a template's samples, ascending."""
        return self.rows[self.starts[template] : self.starts[template + 1]]


def make_templates(storage: Storage, embeddings: EmbeddingSet) -> Templates:
    """Make the template of every identity of a dataset.

    Memory holds the centres, two integers a sample, and 256 MiB of embeddings at a time, for
    which they are read again (once in all for up to 130,000 images of 512 numbers). Erased
    samples do not count.

    Args:
        storage: The store.
        embeddings: Of a dataset with identities.

    Returns:
        The templates; those of one image are that image.

    Raises:
        StorageError: A part of the embeddings is damaged.
    """
    rows, starts, people, means = _by_identity(embeddings)
    limit = _stranger_limit(means)
    centres: list[Vectors] = []
    of_identity: list[int] = []
    members: list[Ints] = []
    for at, vectors, group in _images(embeddings, rows, starts):
        parts = [np.arange(len(group))] if limit is None else split_in_two(vectors, limit)
        for part in parts:
            centres.append(trimmed_mean(vectors[part]))
            of_identity.append(int(people[at]))
            members.append(group[part])
    identities, names = _texts(storage, embeddings.dataset.name)
    sizes = np.array([len(part) for part in members], np.int64)
    return Templates(
        dataset=embeddings.dataset.name, identities=identities, names=names,
        centres=np.array(centres, np.float32).reshape(-1, embeddings.dim),
        of_identity=np.array(of_identity, np.int32), images=sizes.astype(np.int32),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        rows=np.concatenate([np.zeros(0, np.int64), *members]),
    )  # fmt: skip


def sample_templates(embeddings: EmbeddingSet) -> Templates:
    """Make every sample its own template: of a dataset without identities.

    Erased samples have none. Memory holds all embeddings.

    Args:
        embeddings: Of any dataset.

    Raises:
        StorageError: A part of the embeddings is damaged.
    """
    parts = [np.zeros((0, embeddings.dim), np.float32)]
    rows, people = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    for block in embeddings.blocks():
        there = np.flatnonzero(block.vectors.any(axis=1))
        parts.append(block.vectors[there])
        rows.append(there + block.first_row)
        people.append(block.identity_index[there])
    centres = unit_rows(np.concatenate(parts))
    return Templates(
        dataset=embeddings.dataset.name, identities=(), names=(), centres=centres,
        of_identity=np.concatenate(people), images=np.ones(len(centres), np.int32),
        starts=np.arange(len(centres) + 1), rows=np.concatenate(rows),
    )  # fmt: skip


def trimmed_mean(vectors: Vectors) -> Vectors:
    """Average unit embeddings, without the fifth (rounded down) that is farthest from their mean.

    Args:
        vectors: ``(n, D)``, one person's; ``n >= 1``.

    Returns:
        float32 ``(D,)`` of unit length; of equally far ones the later is left out.
    """
    keep = len(vectors) - int(TRIMMED * len(vectors))
    if keep < len(vectors):
        # float64 and no BLAS: the same bytes with any number of threads.
        near = (vectors * vectors.mean(axis=0, dtype=np.float64)).sum(axis=1)  # (n,)
        vectors = vectors[np.sort(np.argsort(-near, kind="stable")[:keep])]
    centre: Vectors = unit_rows(vectors.sum(axis=0, dtype=np.float64)[None])[0]
    return centre


def split_in_two(vectors: Vectors, limit: float) -> list[Ints]:
    """Split one identity's images into two people's, if they are as far apart as strangers are.

    Args:
        vectors: ``(n, D)`` unit embeddings of one identity.
        limit: Two centres whose cosine is at most this are strangers.

    Returns:
        One list of positions, all, or two, ascending; the larger first, or that of the first
        image.
    """
    whole = [np.arange(len(vectors))]
    least = max(SPLIT_IMAGES, int(np.ceil(SPLIT_SHARE * len(vectors))))
    if len(vectors) < 2 * SPLIT_IMAGES:
        return whole
    second = _two_means(vectors.astype(np.float64))  # (n,) bool
    parts = [np.flatnonzero(~second), np.flatnonzero(second)]
    parts.sort(key=lambda part: (-len(part), part[0] if len(part) else -1))
    if len(parts[1]) < least:
        return whole
    first, other = (trimmed_mean(vectors[part]).astype(np.float64) for part in parts)
    return parts if float((first * other).sum()) <= limit else whole


def _two_means(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Cluster in two on the sphere, from the sides of the axis of largest variance: (n,)."""
    second = _side_of_axis(vectors)
    for _ in range(_MEANS_STEPS):
        if second.all() or not second.any():
            break
        pull = _unit(vectors[second].sum(axis=0)) - _unit(vectors[~second].sum(axis=0))
        nearer = (vectors * pull).sum(axis=1) > 0
        if (nearer == second).all():
            break
        second = nearer
    return second


def _side_of_axis(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    centred = vectors - vectors.mean(axis=0)  # (n, D)
    # The power method from the image farthest from the mean: nothing random, no LAPACK.
    axis = centred[np.argmax(np.square(centred).sum(axis=1))]
    for _ in range(_AXIS_STEPS):
        axis = ((centred * axis).sum(axis=1)[:, None] * centred).sum(axis=0)
        axis = _unit(axis)
    return np.asarray((centred * axis).sum(axis=1) > 0)


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scale one vector to unit length; zeros stay."""
    norm = float(np.sqrt(np.square(vector).sum()))
    return vector / norm if norm > 0 else vector


def _by_identity(embeddings: EmbeddingSet) -> tuple[Ints, Ints, People, Vectors]:
    """Read who is on each row.

    Returns:
        ``(N,)`` row numbers by identity; ``(I + 1,)`` where each identity begins in them;
        ``(I,)`` the identities that have images; ``(I, D)`` their plain means.
    """
    identity = np.full(embeddings.rows, -1, np.int32)
    sums = np.zeros((embeddings.dataset.identities, embeddings.dim), np.float32)
    for block in embeddings.blocks():
        index = np.where(block.vectors.any(axis=1), block.identity_index, -1)
        identity[block.first_row : block.first_row + len(index)] = index
        order = np.argsort(index, kind="stable")
        seen, begins = np.unique(index[order], return_index=True)
        parts = np.add.reduceat(block.vectors[order], begins, axis=0)
        sums[seen[seen >= 0]] += parts[seen >= 0]
    rows = np.argsort(identity, kind="stable")
    rows = rows[np.searchsorted(identity[rows], 0) :]
    people, begins = np.unique(identity[rows], return_index=True)
    starts = np.append(begins, len(rows)).astype(np.int64)
    return rows, starts, people, unit_rows(sums[people])


def _stranger_limit(means: Vectors) -> float | None:
    """Say up to which cosine two centres are as far as strangers; None when nobody tells.

    The median of the identities against each other, and three robust standard deviations, both on
    the scale of cosine_scale.py: a few people that the dataset holds twice do not move it.
    """
    count = len(means)
    chosen = np.sort(permute(np.arange(min(count, _PROBES)), count, _SEED).astype(np.int64))
    cosines = means[chosen] @ means.T  # (P, I)
    others = to_scale(cosines[chosen[:, None] != np.arange(count)])
    if not others.size:
        return None
    middle = float(np.median(others))
    spread = _MAD_TO_SD * float(np.median(np.abs(others - middle)))
    return to_cosine(middle + _STRANGER_SPREADS * spread)


def _images(
    embeddings: EmbeddingSet, rows: Ints, starts: Ints
) -> Iterator[tuple[int, Vectors, Ints]]:
    """Yield each identity's place, its images ``(n, D)`` and their row numbers, in order.

    Identities are read in groups that fit the memory; a group reads only what holds its rows.
    """
    at_once = max(1, _GROUP_BYTES // (4 * embeddings.dim))
    first, count = 0, len(starts) - 1
    while first < count:
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + at_once, "right")) - 1)
        group = rows[starts[first] : starts[end]]
        order = np.argsort(group)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        vectors = embeddings.take(group[order])
        for at in range(first, end):
            inside = slice(starts[at] - starts[first], starts[at + 1] - starts[first])
            yield at, vectors[place[inside]], group[inside]
        first = end


def _texts(storage: Storage, dataset: str) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    table = read_table(storage, layout.identities(dataset), IDENTITIES_SCHEMA).sort_by(
        "identity_index"
    )
    return tuple(table["identity"].to_pylist()), tuple(table["name"].to_pylist())
