"""The arrays that every measure takes: scores of pairs, and which pairs show one person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

Scores: TypeAlias = npt.NDArray[np.float64]
"""``(n,)``; cosines, or anything that is higher for more alike."""
Flags: TypeAlias = npt.NDArray[np.bool_]
"""``(n,)`` yes or no."""
Numbers: TypeAlias = npt.NDArray[np.int64]
"""``(n,)`` labels, rows or folds."""
Vectors: TypeAlias = npt.NDArray[np.float32]
"""float32 ``(N, D)``, one embedding a row."""

_BLOCK: Final = 1 << 14


def unit_rows(vectors: npt.NDArray[np.floating]) -> Vectors:
    """Bring rows to unit length, in float64; rows of zeros stay.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = _lengths(vectors)  # (N,)
    unit: Vectors = (vectors / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    return unit


def pair_cosines(left: Vectors, right: Vectors, a: Numbers, b: Numbers) -> Scores:
    """Give the cosine of each pair of rows, summed in float64.

    Args:
        left: ``(N, D)`` embeddings of any length but zero.
        right: ``(M, D)``; may be the same array.
        a: ``(n,)`` rows of ``left``; -1: there is none.
        b: ``(n,)`` rows of ``right``; -1: there is none.

    Returns:
        ``(n,)``; minus infinity where a side is missing: no threshold calls that pair the same.
    """
    scores = np.full(len(a), -np.inf)
    left_lengths, right_lengths = _lengths(left), _lengths(right)
    for part in _blocks(len(a)):
        there = (a[part] >= 0) & (b[part] >= 0)
        i, j = a[part][there], b[part][there]  # (k,)
        dots = np.einsum("kd,kd->k", left[i], right[j], dtype=np.float64)
        scores[part][there] = dots / (left_lengths[i] * right_lengths[j])
    return scores


def _lengths(vectors: npt.NDArray[np.floating]) -> Scores:
    lengths: Scores = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return lengths


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, start + _BLOCK)
