"""Who is one person in several datasets: the clusters of an overlap finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from fusekit.mixture.evidence import damaged, told_of
from fusekit.mixture.summary import Overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.findings import Finding

_COLUMNS: Final = (
    "dataset_a", "identity_a", "identity_index_a", "dataset_b", "identity_b", "identity_index_b",
    "cluster",
)  # fmt: skip


def read_clusters(
    storage: Storage, finding: Finding, infos: Sequence[DatasetInfo]
) -> list[npt.NDArray[np.int64]]:
    """Read which person each identity is.

    Args:
        storage: The store.
        finding: The overlap finding; it may speak of more datasets.
        infos: The labeled datasets.

    Returns:
        For each dataset the cluster of each identity, ``(identities,)``; -1: none.

    Raises:
        FindingError: It is damaged: an identity that is not there, or of two people.
    """
    table = told_of(storage, finding, _COLUMNS)
    table = table.filter(pc.greater_equal(table["cluster"], 0))
    clusters = [np.full(info.identities, -1, np.int64) for info in infos]
    for side in "ab":
        there = table.filter(pc.not_equal(table[f"identity_{side}"], ""))  # erased people's rows
        for info, mine in zip(infos, clusters, strict=True):
            rows = there.filter(pc.equal(there[f"dataset_{side}"], info.name))
            index = rows[f"identity_index_{side}"].to_numpy()
            cluster = rows["cluster"].to_numpy().astype(np.int64)
            if ((index < 0) | (index >= len(mine))).any():
                found = f"names an identity that {info.name} does not have"
                raise damaged(finding, found)
            before = mine[index]
            mine[index] = cluster
            # Written twice means the later one stays: every row must agree with what stands.
            if (mine[index] != cluster).any() or ((before >= 0) & (before != cluster)).any():
                raise damaged(finding, f"puts an identity of {info.name} into two clusters")
    return clusters


def count_overlap(
    finding: Finding,
    clusters: Sequence[npt.NDArray[np.int64]],
    present: Sequence[npt.NDArray[np.int64]],
) -> Overlap:
    """Count who has several classes, were each identity one.

    Args:
        finding: The overlap finding.
        clusters: From :func:`read_clusters`.
        present: For each dataset the indexes of the identities that are in the mixture.
    """
    mine = np.concatenate([each[people] for each, people in zip(clusters, present, strict=True)])
    counts = np.bincount(mine[mine >= 0])
    several = counts[counts > 1]
    return Overlap(len(several), int(several.sum()), finding.fingerprint)
