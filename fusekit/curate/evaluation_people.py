"""The people of an evaluation set, as far as the set says who they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.curate.gallery import Gallery, gallery_of
from fusekit.curate.templates import Templates, make_templates, sample_templates, trimmed_mean
from fusekit.schema import PAIRS_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet

_PAIRS: Final = "pairs"


def evaluation_gallery(storage: Storage, embeddings: EmbeddingSet) -> Gallery:
    """Make the gallery of an evaluation set.

    A set with identities has their templates. In one without (a verification pack) the images
    that its pairs call the same are one person, and every other image is a person of its own;
    their identities stay unnamed.

    Args:
        storage: The store.
        embeddings: Of the set.

    Raises:
        StorageError: A table is damaged.
    """
    info = embeddings.dataset
    if info.identities:
        return gallery_of(make_templates(storage, embeddings), embeddings)
    samples = sample_templates(embeddings)
    if not info.protocol.get(_PAIRS):
        return gallery_of(samples, embeddings)
    rows = _rows_of_pairs(storage, embeddings)
    return gallery_of(join_samples(samples, embeddings, rows), embeddings)


def join_samples(
    samples: Templates, embeddings: EmbeddingSet, pairs: npt.NDArray[np.int64]
) -> Templates:
    """Join samples that pairs call the same into templates.

    Args:
        samples: Every sample its own template.
        embeddings: What they were made of.
        pairs: ``(P, 2)`` row numbers in the dataset of two images of one person.

    Returns:
        A template for each person, in the order of their first images.
    """
    at = np.full(embeddings.rows, -1, np.int64)
    at[samples.rows] = np.arange(len(samples.rows))
    edges = at[pairs.ravel()].reshape(-1, 2)
    home = _components(len(samples.rows), edges[(edges >= 0).all(axis=1)])
    order = np.argsort(home, kind="stable")
    begins = np.flatnonzero(np.diff(home[order], prepend=-1))
    members = np.split(order, begins[1:]) if len(order) else []
    sizes = np.array([len(each) for each in members], np.int64)
    centres = [trimmed_mean(samples.centres[each]) for each in members]
    return Templates(
        dataset=samples.dataset, identities=(), names=(),
        centres=np.array(centres, np.float32).reshape(-1, embeddings.dim),
        of_identity=np.full(len(sizes), -1, np.int32), images=sizes.astype(np.int32),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        rows=samples.rows[order],
    )  # fmt: skip


def _components(count: int, edges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give each node the least node that edges connect it with: (count,)."""
    home = np.arange(count)
    while True:
        lower = home.copy()
        ends = home[edges]  # (E, 2)
        np.minimum.at(lower, ends.ravel(), np.repeat(ends.min(axis=1), 2))
        lower = lower[lower]
        if (lower == home).all():
            return home
        home = lower


def _rows_of_pairs(storage: Storage, embeddings: EmbeddingSet) -> npt.NDArray[np.int64]:
    """Give the row numbers of the images that some protocol calls the same: (P, 2)."""
    columns = ["same", "key_a", "key_b"]
    name = layout.protocol(embeddings.dataset.name, _PAIRS)
    table = read_table(storage, name, PAIRS_SCHEMA, columns)
    table = table.filter(pc.field("same"))
    keys = pa.chunked_array([block.keys for block in embeddings.blocks()], pa.string())
    rows = [pc.index_in(table.column(each), keys) for each in ("key_a", "key_b")]
    known = pc.and_(*(pc.is_valid(each) for each in rows))
    return np.stack([each.filter(known).to_numpy() for each in rows], axis=1).astype(np.int64)
