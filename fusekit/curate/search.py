"""Exact nearest centres by blocked products, in memory that depends on neither count.

The products are BLAS's; of each block only what beats the k best so far is looked at, which
after the first block is almost nothing. ``tests/bench/overlap.py`` has the comparison with faiss.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.progress import Progress, Report, silent

if TYPE_CHECKING:
    from fusekit.store.embeddings import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float32]

QUERY_BLOCK: Final = 1_024
CENTRE_BLOCK: Final = 8_192
_FIRST_BLOCK: Final = 256  # sets the bar before blocks of full size come


@dataclass(frozen=True)
class Nearest:
    """The nearest centres of each query.

    Attributes:
        cosine: float32 ``(Q, k)``, descending; -inf where there are fewer centres than k.
        index: int64 ``(Q, k)``, their rows; of equally near ones the lower row first; -1 where
            there are fewer.
    """

    cosine: Floats
    index: Ints


def nearest(
    queries: Vectors,
    centres: Vectors,
    k: int,
    *,
    query_of: npt.NDArray[np.int32] | None = None,
    centre_of: npt.NDArray[np.int32] | None = None,
    report: Report = silent,
    stage: str = "search",
) -> Nearest:
    """Find the k nearest centres of each query, exactly.

    Besides the arrays given and the result, memory holds one block of products: 32 MiB, and a
    few times that while its best are taken out.

    Args:
        queries: ``(Q, D)`` of unit length.
        centres: ``(C, D)`` of unit length.
        k: How many, at least 1.
        query_of: ``(Q,)`` whose each query is: a query is not compared with centres of the same
            number. None compares all.
        centre_of: ``(C,)`` whose each centre is, ascending; None with ``query_of``.
        report: Told of progress, in queries.
        stage: What the progress is called.
    """
    found = _nobody(len(queries), k)
    report(Progress(stage, 0, len(queries), "centres"))
    for begin in range(0, len(queries), QUERY_BLOCK):
        rows = slice(begin, begin + QUERY_BLOCK)
        own = None
        if query_of is not None and centre_of is not None:
            own = (
                np.searchsorted(centre_of, query_of[rows], "left"),
                np.searchsorted(centre_of, query_of[rows], "right"),
            )
        for first, end in _blocks(len(centres), CENTRE_BLOCK):
            products = queries[rows] @ centres[first:end].T  # (q, c)
            if own is not None:
                _forbid(products, own[0] - first, own[1] - first)
            _keep_best(found.cosine[rows], found.index[rows], products, first)
        report(Progress(stage, min(begin + QUERY_BLOCK, len(queries)), len(queries), "centres"))
    return found


def nearest_both(
    left: Vectors, right: Vectors, k: int, *, report: Report = silent, stage: str = "search"
) -> tuple[Nearest, Nearest]:
    """Find the k nearest on the right of each on the left, and the reverse, by one product each.

    Args:
        left: ``(L, D)`` of unit length.
        right: ``(R, D)`` of unit length.
        k: How many, at least 1.
        report: Told of progress, in rows of the left.
        stage: What the progress is called.

    Returns:
        Of the left ones, and of the right ones, as :func:`nearest` gives them.
    """
    forth, back = _nobody(len(left), k), _nobody(len(right), k)
    report(Progress(stage, 0, len(left), "centres"))
    for begin, after in _blocks(len(left), QUERY_BLOCK):
        rows = slice(begin, after)
        for first, end in _blocks(len(right), CENTRE_BLOCK):
            products = left[rows] @ right[first:end].T  # (q, c)
            _keep_best(forth.cosine[rows], forth.index[rows], products, first)
            columns = slice(first, end)
            _keep_best(back.cosine[columns], back.index[columns], products, begin, axis=0)
        report(Progress(stage, after, len(left), "centres"))
    return forth, back


def _nobody(count: int, k: int) -> Nearest:
    return Nearest(np.full((count, k), -np.inf, np.float32), np.full((count, k), -1, np.int64))


def _blocks(count: int, size: int) -> list[tuple[int, int]]:
    """Give the blocks' bounds: a small one first, which is cheap to find the k best of."""
    edges = [0, *range(min(_FIRST_BLOCK, size), count, size), count]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def _forbid(products: Floats, low: Ints, high: Ints) -> None:
    """Set each query's products with the centres ``low`` to ``high`` to -inf, in place."""
    width = products.shape[1]
    low, high = low.clip(0, width), high.clip(0, width)
    counts = high - low
    rows = np.repeat(np.arange(len(low)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    products[rows, low[rows] + offsets] = -np.inf


def _keep_best(
    cosine: Floats, index: Ints, products: Floats, first: int, *, axis: Literal[0, 1] = 1
) -> None:
    """Merge a block's products into the k best so far, in place.

    A later one that only equals the k-th best does not enter: the lower number stands.

    Args:
        cosine: ``(n, k)`` best so far.
        index: ``(n, k)`` and whose.
        products: The block; its other axis has length n.
        first: Number of the block's first along ``axis``.
        axis: Along which the best are looked for.
    """
    k = cosine.shape[1]
    bar = cosine[:, -1]  # (n,)
    if products.shape[axis] > k and not np.isfinite(bar).all():
        best = -np.partition(-products, k - 1, axis=axis).take(k - 1, axis=axis)
        bar = np.maximum(bar, np.nextafter(best, np.float32(-2)))
    # Flat, which numpy finds several times faster than in two dimensions.
    above = np.flatnonzero(products > np.expand_dims(bar, axis))
    if not len(above):
        return
    rows, columns = np.divmod(above, products.shape[1])
    mine, theirs = (rows, columns) if axis else (columns, rows)
    touched, place = np.unique(mine, return_inverse=True)
    row = np.concatenate([np.repeat(np.arange(len(touched)), k), place])
    value = np.concatenate([cosine[touched].ravel(), products[rows, columns]])
    where = np.concatenate([index[touched].ravel(), theirs + first])
    # By row, cosine descending, number ascending; nobody (-inf) comes last.
    order = np.lexsort((where, -value, row))
    begins = np.searchsorted(row[order], np.arange(len(touched)))
    chosen = order[begins[:, None] + np.arange(k)]  # (touched, k): each row has k or more
    cosine[touched], index[touched] = value[chosen], where[chosen]
