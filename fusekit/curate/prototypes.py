"""Prototypes: known people's centres, made of the embeddings of their images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.errors import FindingError
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet, Vectors

MIN_IMAGES: Final = 2


@dataclass(frozen=True)
class Prototypes:
    """The known people of one dataset: its identities of two or more images.

    Attributes:
        dataset: Its name.
        identities: ``(C,)`` their names, in the dataset's own order.
        sums: float32 ``(C, D)``, sums of their unit embeddings.
        counts: int64 ``(C,)``, images of each.
        rows: int64 ``(C + 1,)``; ``members[rows[i]:rows[i + 1]]`` are the images of ``i``.
        members: int64 ``(N,)``, row numbers in the dataset, by identity.
        left_out: Identities of the dataset that have fewer images.
    """

    dataset: str
    identities: tuple[str, ...]
    sums: Vectors
    counts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]
    left_out: int

    @property
    def centres(self) -> Vectors:
        """Give the normalised sums, float32 ``(C, D)``."""
        return unit_rows(self.sums)


def unit_rows(vectors: Vectors) -> Vectors:
    """Scale rows to unit length; a row of zeros stays."""
    norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))  # (N,)
    unit: Vectors = (vectors / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
    return unit


def make_prototypes(storage: Storage, embeddings: EmbeddingSet) -> Prototypes:
    """Average the embeddings of each identity, in one pass over them.

    Memory holds one centre an identity and two integers a sample. Erased samples do not count.

    Args:
        storage: The store.
        embeddings: Of a labeled dataset.

    Raises:
        FindingError: No identity has two images.
    """
    dataset = embeddings.dataset
    sums = np.zeros((dataset.identities, embeddings.dim), np.float32)
    identity = np.full(embeddings.rows, -1, np.int32)  # of each row; -1 does not count
    for block in embeddings.blocks():
        index = np.where(block.vectors.any(axis=1), block.identity_index, -1)
        identity[block.first_row : block.first_row + len(index)] = index
        order = np.argsort(index, kind="stable")
        people, starts = np.unique(index[order], return_index=True)
        parts = np.add.reduceat(block.vectors[order], starts, axis=0)
        sums[people[people >= 0]] += parts[people >= 0]
    counts = np.bincount(identity[identity >= 0], minlength=dataset.identities)
    known = np.flatnonzero(counts >= MIN_IMAGES)
    if not known.size:
        raise FindingError(
            dataset.name, f"no identity has {MIN_IMAGES} images with embeddings", None,
            "give another dataset with --against, or a trained head with --head",
        )  # fmt: skip
    order = np.argsort(identity, kind="stable")
    order = order[np.isin(identity[order], known)]
    rows = np.concatenate([[0], np.cumsum(counts[known])])
    names = read_table(
        storage, layout.identities(dataset.name), IDENTITIES_SCHEMA, ["identity_index", "identity"]
    ).sort_by("identity_index")
    texts = names.column("identity").take(known).to_pylist()
    return Prototypes(
        dataset=dataset.name, identities=tuple(texts), sums=sums[known], counts=counts[known],
        rows=rows, members=order, left_out=int(np.count_nonzero(counts)) - len(known),
    )  # fmt: skip
