"""Clusterings that other packages do better than we would: Infomap and HDBSCAN.

Reference:
    Rosvall and Bergstrom, "Maps of random walks on complex networks reveal community structure",
    PNAS 2008. Campello, Moulavi and Sander, "Density-based clustering based on hierarchical
    density estimates", PAKDD 2013.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.errors import MissingExtraError

if TYPE_CHECKING:
    from fusekit.curate.graph import Graph
    from fusekit.store.embeddings import Vectors

_SEED: Final = 1
_LEAST: Final = 3  # samples of a cluster: with 2, HDBSCAN takes most people to pieces
_NEAR: Final = 2  # samples around one that make its density


def by_infomap(graph: Graph) -> npt.NDArray[np.int32]:
    """Cluster a graph by the shortest description of a random walk on it.

    Args:
        graph: Its weights are over 0.

    Returns:
        int32 ``(N,)``: nodes of one cluster have one label, its first node's number.

    Raises:
        MissingExtraError: infomap is not installed.
    """
    try:
        from infomap import Infomap
    except ImportError:
        raise MissingExtraError("--method infomap", "cluster") from None
    heads = np.repeat(np.arange(graph.nodes), np.diff(graph.starts))
    once = heads < graph.neighbours
    if not once.any():
        return np.arange(graph.nodes, dtype=np.int32)
    network = Infomap(two_level=True, silent=True, seed=_SEED, num_trials=1)
    links = (heads[once], graph.neighbours[once], graph.weights[once])
    network.add_links(np.column_stack(links).astype(np.float64))
    modules = np.full(graph.nodes, -1, np.int64)
    for node, module in network.run().modules().items():
        modules[node] = module
    return _by_first(modules)


def by_hdbscan(vectors: Vectors) -> npt.NDArray[np.int32]:
    """Cluster samples by density; time and memory grow with the square of their number.

    Args:
        vectors: ``(N, D)`` of unit length, so that distances order pairs as cosines do.

    Returns:
        int32 ``(N,)``: samples of one cluster have one label, its first sample's number.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import HDBSCAN
    except ImportError:
        raise MissingExtraError("--method hdbscan", "cluster") from None
    if len(vectors) < _LEAST:
        return np.arange(len(vectors), dtype=np.int32)
    # In so many dimensions a tree is no help: the matrix of distances is nine times as fast.
    model = HDBSCAN(min_cluster_size=_LEAST, min_samples=_NEAR, algorithm="brute", copy=True)
    return _by_first(model.fit_predict(vectors).astype(np.int64))


def _by_first(modules: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Name clusters after their first members; -1: alone."""
    alone = modules < 0
    modules = np.where(alone, modules.max(initial=0) + 1 + np.arange(len(modules)), modules)
    _, first, inverse = np.unique(modules, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int32)
