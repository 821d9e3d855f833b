"""Cluster a dataset: pseudo-identities for a crawl, or a trial on one whose people are known.

Samples are connected with their nearest whose cosine no stranger is likely to reach, and the
graph is clustered. ``docs/explanation/label-noise.md`` gives the reasons and what was measured.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fusekit.curate.cluster_truth import read_people
from fusekit.curate.clustering import by_hdbscan, by_infomap
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.graph import exact_rows, similarity_graph
from fusekit.curate.metrics import ClusterScores, score_clusters
from fusekit.curate.prototypes import unit_rows
from fusekit.curate.thresholds import PROBES, probes
from fusekit.curate.whispers import number_by_size, whisper
from fusekit.errors import FindingError, UsageError
from fusekit.progress import Progress, Report, silent
from fusekit.schema import CLUSTERS_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import write_finding

if TYPE_CHECKING:
    import os

    from fusekit.store.embeddings import EmbeddingSet, Vectors

Method: TypeAlias = Literal["whispers", "infomap", "hdbscan"]

NEIGHBOURS: Final = 50
"""Edges that a sample asks for."""
STRANGER_EDGES: Final = 0.1
"""Without a rate: edges to strangers that a sample may have, on the average."""
MOST_HDBSCAN: Final = 20_000
"""Samples that HDBSCAN takes: its memory grows with their square, here to 3 GB and more."""
VERSION: Final = 1

_KIND: Final = "clusters"
_ONE_DEVIATION: Final = NormalDist().cdf(-1.0)
_BLOCK: Final = 4_096


@dataclass(frozen=True)
class ClustersResult:
    """Pseudo-identities of a dataset.

    Attributes:
        dataset: The dataset.
        method: ``whispers``, ``infomap`` or ``hdbscan``.
        samples: How many it has.
        clusters: Clusters of two samples or more.
        clustered: Samples in them.
        alone: Samples in none.
        sizes: Samples of each cluster, falling.
        threshold: Cosine from which two samples are connected; None under ``hdbscan``.
        scores: How well they agree with the truth; None without one.
        finding: Fingerprint of the finding.
        warnings: What a reader must know before trusting the result.
        seconds: Of this run.
    """

    dataset: str
    method: Method
    samples: int
    clusters: int
    clustered: int
    alone: int
    sizes: tuple[int, ...]
    threshold: float | None
    scores: ClusterScores | None
    finding: str
    warnings: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit cluster --json`` prints."""
        return {
            "dataset": self.dataset, "method": self.method, "samples": self.samples,
            "clusters": self.clusters, "clustered": self.clustered, "alone": self.alone,
            "threshold": self.threshold,
            "scores": None if self.scores is None else self.scores.as_json(),
            "finding": self.finding, "warnings": list(self.warnings),
        }  # fmt: skip


def cluster_dataset(
    dataset: str,
    *,
    method: Method = "whispers",
    false_match: float | None = None,
    truth: str | os.PathLike[str] | None = None,
    embedder: str | None = None,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> ClustersResult:
    """Give the samples of a dataset pseudo-identities.

    The result is a finding with one row for each sample. Identities of the dataset are not
    looked at, but for ``truth``. Memory holds all embeddings and up to 100 edges a sample.

    Args:
        dataset: Any dataset, most often an unlabeled one.
        method: ``whispers``; ``infomap`` on the same graph, or ``hdbscan`` on the embeddings (up
            to 20,000 samples), with the extra ``cluster``.
        false_match: Share of pairs of strangers that are connected by mistake, over 0, at most
            0.1; None takes the rate at which one sample in ten has such an edge. ``hdbscan``
            takes none.
        truth: ``identity`` compares with the dataset's own; or path of a CSV file with the
            columns ``identity`` and ``key`` or ``source``; None for none.
        embedder: Model whose embeddings to compare: registry name, pack or path; None takes the
            one whose embeddings stand, else the default.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Raises:
        UsageError: The method, the rate or the truth can't be.
        MissingExtraError: The method needs a package that is not installed.
        StoreError: The dataset is not ingested, or embeddings of several models stand.
        ModelError: The embedder can't be had.
        FindingError: There are too few samples to tell what strangers score.
        WorkError: Crops could not be embedded.
    """
    started = time.monotonic()
    storage = layout.open_store(store)
    info = open_dataset(storage, dataset)
    _check(method, false_match, info.samples)
    people = None if truth is None else read_people(storage, info, truth)
    (embeddings,) = open_embeddings(storage, [info], embedder, None, report)
    keys, vectors = _read(embeddings)
    there = np.flatnonzero(vectors.any(axis=1))
    limit = None
    if method == "hdbscan":
        labels = by_hdbscan(vectors[there])
    else:
        rate = false_match or STRANGER_EDGES / max(len(there), 1)
        limit = _threshold(dataset, vectors[there], rate)
        labels = _by_graph(dataset, vectors[there], method, limit, report)
    numbers = np.full(len(vectors), -1, np.int32)
    sizes = np.ones(len(vectors), np.int64)
    numbers[there], sizes[there] = number_by_size(labels)
    columns = [keys, pa.array(numbers), pa.array(sizes.astype(np.int32)),
               pa.array(_scores(vectors, numbers))]  # fmt: skip
    about = {
        "dataset": dataset, "inputs": {dataset: info.fingerprint},
        "model": asdict(embeddings.model), "method": method, "threshold": limit,
        "neighbours": NEIGHBOURS, "library": _library(method), "version": VERSION,
    }  # fmt: skip
    table = pa.Table.from_arrays(columns, schema=CLUSTERS_SCHEMA)
    finding = write_finding(storage, _KIND, about, table, CLUSTERS_SCHEMA, read=[info])
    counts = np.bincount(numbers[numbers >= 0])
    return ClustersResult(
        dataset=dataset, method=method, samples=len(vectors), clusters=len(counts),
        clustered=int(counts.sum()), alone=len(vectors) - int(counts.sum()),
        sizes=tuple(counts.tolist()), threshold=limit,
        scores=None if people is None else score_clusters(numbers, people),
        finding=finding.fingerprint, warnings=_warnings(counts, len(vectors)),
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _check(method: str, false_match: float | None, samples: int) -> None:
    if method not in ("whispers", "infomap", "hdbscan"):
        raise UsageError("--method", repr(method), "whispers, infomap or hdbscan")
    if false_match is not None and not 0 < false_match <= 0.1:
        raise UsageError("--false-match", str(false_match), "over 0, at most 0.1")
    if method == "hdbscan" and false_match is not None:
        raise UsageError("--false-match", "hdbscan has no threshold", "whispers or infomap")
    if method == "hdbscan" and samples > MOST_HDBSCAN:
        raise UsageError(
            "--method hdbscan", f"{samples} samples", f"at most {MOST_HDBSCAN}", "use whispers"
        )


def _read(embeddings: EmbeddingSet) -> tuple[pa.Array, Vectors]:
    keys = [pa.array([], pa.string())]
    vectors = np.empty((embeddings.rows, embeddings.dim), np.float32)
    for block in embeddings.blocks():
        keys.append(block.keys)
        here = slice(block.first_row, block.first_row + len(block.vectors))
        vectors[here] = exact_rows(unit_rows(block.vectors))
    return pa.concat_arrays(keys), vectors


def _threshold(dataset: str, vectors: Vectors, rate: float) -> float:
    """Give the cosine that a share ``rate`` of the pairs of strangers lies above.

    Who is a stranger is not known, but few pairs of a crawl are one person, and those lie high:
    the lower half of all cosines is the strangers'. Their distribution is nearly normal, so its
    median and its lower standard deviation tell its upper tail too.
    """
    chosen = vectors[probes(len(vectors), PROBES)]
    cosines = (chosen @ chosen.T)[np.triu_indices(len(chosen), 1)]
    if len(chosen) < 10:  # 45 pairs tell a median and little more
        raise FindingError(
            dataset, f"has {len(chosen)} samples", "10 or more: pairs of samples tell what "
            "strangers score",
        )  # fmt: skip
    low, middle = np.quantile(cosines, [_ONE_DEVIATION, 0.5])
    limit = float(middle + (middle - low) * NormalDist().inv_cdf(1 - rate))
    return round(max(limit, 0.01), 4)


def _by_graph(
    dataset: str, vectors: Vectors, method: Method, limit: float, report: Report
) -> npt.NDArray[np.int32]:
    count = len(vectors)

    def tell(done: int) -> None:
        report(Progress(f"cluster {dataset}", done, count, "samples"))

    tell(0)
    graph = similarity_graph(vectors, np.array([0, count]), limit, NEIGHBOURS, tell)
    tell(count)
    return whisper(graph).labels if method == "whispers" else by_infomap(graph)


def _scores(vectors: Vectors, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Give each sample's cosine with the centre of its cluster; 0 for those who are alone."""
    scores = np.zeros(len(numbers), np.float32)
    order = np.argsort(numbers, kind="stable")
    order = order[np.searchsorted(numbers[order], 0) :]
    if not order.size:
        return scores
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    sums = np.zeros((len(starts), vectors.shape[1]))
    for begin in range(0, len(order), _BLOCK):
        some = order[begin : begin + _BLOCK]
        # Multiples of 2**-11, so that the sums are exact wherever blocks are cut.
        np.add.at(sums, numbers[some], vectors[some])
    sums /= np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    for begin in range(0, len(order), _BLOCK):
        some = order[begin : begin + _BLOCK]
        scores[some] = (vectors[some] * sums[numbers[some]]).sum(axis=1).clip(-1, 1)
    return scores


def _library(method: Method) -> str | None:
    """Name what clusters, with its version: another one may give other clusters."""
    package = {"infomap": "infomap", "hdbscan": "scikit-learn"}.get(method)
    return None if package is None else f"{package} {version(package)}"


def _warnings(counts: npt.NDArray[np.int64], samples: int) -> tuple[str, ...]:
    if counts.size and counts[0] > max(samples // 4, NEIGHBOURS):
        return (
            f"one cluster holds {counts[0]} of {samples} samples: if no person has so many, give "
            "a smaller --false-match",
        )
    return ()
