"""Score embeddings against known people: per dataset, the softmax's maximum and the cosine.

A dataset's softmax is taken over its own identities only, so that a person known in two datasets
does not share the probability between them. The products are blocked and the softmax's sum runs
along, so memory does not grow with samples times classes.

Reference:
    Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018: a running maximum
    and a sum that is rescaled when the maximum grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fusekit.store.embeddings import Vectors

CLASS_BLOCK: Final = 8_192
SAMPLE_BLOCK: Final = 1_024
_LARGEST: Final = 1e37  # times a difference of cosines still fits a float32


@dataclass(frozen=True)
class KnownPeople:
    """Class centres to compare with.

    Attributes:
        centres: float32 ``(C, D)`` of unit length.
        ranges: ``(dataset, first row, end)``.
        scales: float64 ``(K,)``, one a range: what cosines are multiplied by.
        identities: ``(C,)`` names.
    """

    centres: Vectors
    ranges: tuple[tuple[str, int, int], ...]
    scales: npt.NDArray[np.float64]
    identities: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """How near samples are to the known people of each of K datasets.

    Attributes:
        activation: float32 ``(N, K)``, the maximum of the dataset's softmax.
        cosine: float32 ``(N, K)``, with the nearest centre of the dataset.
        nearest: int64 ``(N, K)``, row of that centre.
    """

    activation: npt.NDArray[np.float32]
    cosine: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.int64]


def score(vectors: Vectors, known: KnownPeople) -> Scores:
    """Score samples against known people.

    Args:
        vectors: ``(N, D)`` of unit length; a row of zeros, an erased sample, scores 0.
        known: Whom to compare with.
    """
    shape = (len(vectors), len(known.ranges))
    activation = np.zeros(shape, np.float32)
    cosine = np.zeros(shape, np.float32)
    nearest = np.zeros(shape, np.int64)
    for begin in range(0, len(vectors), SAMPLE_BLOCK):
        rows = slice(begin, begin + SAMPLE_BLOCK)
        for k, (_, first, end) in enumerate(known.ranges):
            centres = known.centres[first:end]
            a, c, n = _softmax_maximum(vectors[rows], centres, float(known.scales[k]))
            activation[rows, k], cosine[rows, k], nearest[rows, k] = a, c, n + first
    empty = ~vectors.any(axis=1)
    activation[empty] = 0
    return Scores(activation, cosine, nearest)


def _softmax_maximum(
    vectors: Vectors, centres: Vectors, scale: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Give max softmax(scale * cosines), the largest cosine and its row; (n,) each.

    The largest term of the sum is exp(0), whatever the scale: nothing overflows, and the
    maximum of the softmax is one over the sum.
    """
    top = np.full(len(vectors), -np.inf, np.float32)
    at = np.zeros(len(vectors), np.int64)
    total = np.zeros(len(vectors))
    for begin in range(0, len(centres), CLASS_BLOCK):
        cosines = vectors @ centres[begin : begin + CLASS_BLOCK].T  # (n, block)
        here = cosines.argmax(axis=1)
        best = cosines[np.arange(len(vectors)), here]
        grown = np.maximum(top, best)
        with np.errstate(under="ignore"):
            total *= np.exp(scale * (top.astype(np.float64) - grown))
            cosines -= grown[:, None]
            cosines *= np.float32(min(scale, _LARGEST))
            total += np.exp(cosines, out=cosines).sum(axis=1, dtype=np.float64)
        at = np.where(best > top, begin + here, at)  # on a tie the earlier row stands
        top = grown
    return 1 / total, top, at
