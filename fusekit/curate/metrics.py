"""How well clusters agree with the truth: pairs of samples, and B-cubed.

Both are computed from how many samples each cluster shares with each person, in memory linear in
the samples; no pair is ever listed.

Reference:
    Bagga and Baldwin, "Algorithms for scoring coreference chains", LREC 1998; Amigó, Gonzalo,
    Artiles and Verdejo, "A comparison of extrinsic clustering evaluation metrics based on formal
    constraints", Information Retrieval 2009, section 3.4 (B-cubed).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ClusterScores:
    """How well clusters agree with the truth; each figure lies between 0 and 1.

    Attributes:
        samples: Those whose truth is known; only these count.
        people: Distinct people among them.
        clusters: Distinct clusters among them; each that is alone is one.
        pairwise_precision: Of pairs put together, those of one person; 1 where none was.
        pairwise_recall: Of pairs of one person, those put together; 1 where there are none.
        pairwise_f: Harmonic mean of the two.
        bcubed_precision: Mean over samples of the share of its cluster that is the same person.
        bcubed_recall: Mean over samples of the share of its person that is in its cluster.
        bcubed_f: Harmonic mean of the two.
    """

    samples: int
    people: int
    clusters: int
    pairwise_precision: float
    pairwise_recall: float
    pairwise_f: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float

    def as_json(self) -> dict[str, float]:
        """Give it as the object that ``fusekit cluster --json`` prints."""
        return asdict(self)


def score_clusters(clusters: npt.ArrayLike, truth: npt.ArrayLike) -> ClusterScores | None:
    """Compare clusters with the truth.

    Args:
        clusters: ``(N,)`` integers; -1: alone, a cluster of its own.
        truth: ``(N,)`` integers, the person of each; -1: unknown, which leaves the sample out.

    Returns:
        The figures; None when no sample's truth is known.

    Example:
        >>> scores = score_clusters([0, 0, -1, -1], [5, 5, 5, 7])
        >>> scores.pairwise_precision, round(scores.pairwise_recall, 2), scores.clusters
        (1.0, 0.33, 3)
    """
    person, cluster = np.asarray(truth, np.int64), np.asarray(clusters, np.int64)
    known = person >= 0
    person, cluster = person[known], cluster[known]
    if not person.size:
        return None
    alone = cluster < 0
    cluster = np.where(alone, cluster.max(initial=0) + 1 + np.arange(len(cluster)), cluster)
    _, person, people = np.unique(person, return_inverse=True, return_counts=True)
    _, cluster, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    cells, shared = np.unique(cluster * len(people) + person, return_counts=True)
    of_cluster, of_person = np.divmod(cells, len(people))
    together, same, right = _pairs(sizes), _pairs(people), _pairs(shared)
    precision, recall = _share(right, together), _share(right, same)
    squares = shared.astype(np.float64) ** 2
    b_precision = float((squares / sizes[of_cluster]).sum() / len(person))
    b_recall = float((squares / people[of_person]).sum() / len(person))
    return ClusterScores(
        len(person), len(people), len(sizes),
        precision, recall, _harmonic(precision, recall),
        b_precision, b_recall, _harmonic(b_precision, b_recall),
    )  # fmt: skip


def _pairs(counts: npt.NDArray[np.int64]) -> int:
    return int((counts * (counts - 1) // 2).sum())  # under 2**63 up to 4 milliards of samples


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
