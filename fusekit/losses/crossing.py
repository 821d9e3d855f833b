"""Crossing dropout: a few classes of other datasets enter the softmax of each row.

Each class of another dataset enters with probability p, drawn for every row and every step. A
softmax of C classes has C draws a row then, most of them for nothing; here the number of hits is
drawn from the binomial distribution, then that many distinct classes: the same distribution, and
no mask of C columns.

Reference:
    "Dataset-aware training" (see docs/explanation/dataset-aware-softmax.md), equation 11, with
    p = 0.0001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fusekit.errors import LossError
from fusekit.rng import derive, permute, rank_words

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.losses.class_sets import I64, ClassSets
    from fusekit.rng import U64

_FEW = 128  # numbers that are put in order one by one


@dataclass(frozen=True)
class Crossing:
    """How many classes of other datasets enter, and which seed chooses them.

    Attributes:
        p: Probability of each such class, 0 to 1; with ``expected`` it is 0.
        expected: How many enter a row on average, whatever the number of classes; None goes by
            ``p``. A dataset outside which there are fewer takes them all.
        seed: Of the draws.

    Raises:
        LossError: A value is out of range, or both are given.
    """

    p: float = 0.0
    expected: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise LossError("crossing_p", f"is {self.p}", "0 to 1")
        if self.expected is None:
            return
        if self.p:
            raise LossError("crossing_expected", "is given beside crossing_p", "one of the two")
        if not (math.isfinite(self.expected) and self.expected >= 0):
            raise LossError("crossing_expected", f"is {self.expected}", "classes, 0 or more")

    def probability(self, outside: int) -> float:
        """Give p where there are so many classes of other datasets."""
        if self.expected is None:
            return self.p
        return min(1.0, self.expected / outside) if outside else 0.0

    def draw(self, step: int, rows: I64, datasets: I64, sets: ClassSets) -> tuple[I64, I64]:
        """Draw the classes that enter.

        Args:
            step: Of the training; each has draws of its own.
            rows: Number of each row in the global batch, ``(B,)``: what it draws by.
            datasets: Dataset of each row, ``(B,)``.
            sets: The datasets' classes.

        Returns:
            Rows (places in ``rows``) ascending, and a class for each, both ``(M,)``; a class
            comes once in a row.

        Example:
            >>> from fusekit.losses.class_sets import ClassSets
            >>> sets, one = ClassSets([(0, 2), (2, 4)]), np.zeros(1, np.int64)
            >>> Crossing(p=1.0).draw(0, one, one, sets)[1].tolist() in ([2, 3], [3, 2])
            True
        """
        counts = np.zeros(len(rows), np.int64)
        outside = np.array([sets.num_classes - len(own) for own in sets.sets], np.int64)
        uniform = _uniform(rows, derive(self.seed, "crossing count", step))
        for k in np.unique(datasets).tolist():
            mine, n = datasets == k, int(outside[k])
            counts[mine] = binomial(n, self.probability(n), uniform[mine])
        row = np.repeat(np.arange(len(rows)), counts)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        keys = rank_words(rows[:, None], derive(self.seed, "crossing", step))
        number = _distinct(nth, row, outside[datasets], keys)
        classes = np.empty_like(number)
        for k in np.unique(datasets).tolist():
            mine = datasets[row] == k
            classes[mine] = sets.outside(k, number[mine])
        return row, classes


def binomial(n: int, p: float, uniform: npt.NDArray[np.float64]) -> I64:
    """Turn uniform numbers into hits among n trials of probability p, by inversion.

    Args:
        n: Trials, 0 or more.
        p: 0 to 1.
        uniform: In [0, 1), any shape.

    Returns:
        Hits, of the same shape.

    Example:
        >>> binomial(2, 0.5, np.array([0.2, 0.5, 0.8])).tolist()
        [0, 1, 2]
    """
    if n == 0 or p in {0, 1}:
        return np.full(uniform.shape, n if p == 1 else 0, np.int64)
    first, cumulative = _distribution(n, p)
    return first + np.searchsorted(cumulative[:-1], uniform, side="right").astype(np.int64)


def _distinct(nth: I64, row: I64, domain: I64, keys: U64) -> I64:
    """Give the nth number of a random order of a row's domain, for rows ascending, ``(M,)``."""
    n = domain[row].astype(np.uint64)
    key = keys[row]
    # A keyed permutation, turned by a random amount, so that each number is as likely as another.
    turn = rank_words(keys[:, None], derive("turn"))[row] % n
    number = ((permute(nth, n, key) + turn) % n).astype(np.int64)
    # On a few bits its permutations are too few for numbers that enter independently.
    few = np.flatnonzero((domain > 0) & (domain <= _FEW))
    if len(few):
        place = np.zeros(len(domain), np.int64)
        place[few] = np.arange(len(few))
        mine = domain[row] <= _FEW
        number[mine] = _orders(domain[few], keys[few])[place[row[mine]], nth[mine]]
    return number


def _orders(domain: I64, keys: U64) -> I64:
    """Put the numbers of small domains in a random order, each row its own, ``(R, _FEW)``."""
    numbers = np.arange(_FEW, dtype=np.uint64)
    names = np.stack(np.broadcast_arrays(keys[:, None], numbers), -1).reshape(-1, 2)
    words = rank_words(names, derive("orders")).reshape(len(keys), _FEW)
    inside = numbers < domain[:, None].astype(np.uint64)
    last = np.uint64(1 << 63)  # what lies outside comes after all that is inside
    orders: I64 = np.where(inside, words >> np.uint64(1), words | last).argsort(1)
    return orders


@lru_cache(1024)  # one for each dataset of a head
def _distribution(n: int, p: float) -> tuple[int, npt.NDArray[np.float64]]:
    """Give the cumulative distribution but for tails below 1e-16, and the hits it starts at."""
    mean, spread = n * p, math.sqrt(n * p * (1 - p))
    first = max(0, math.floor(mean - 10 * spread - 40))
    last = min(n, math.ceil(mean + 10 * spread + 40))
    k = np.arange(first, last)
    rise = np.log((n - k) / (k + 1)) + math.log(p) - math.log1p(-p)  # of k + 1 over k
    logs = np.concatenate([[0.0], np.cumsum(rise)])
    cumulative = np.cumsum(np.exp(logs - logs.max()))
    return first, cumulative / cumulative[-1]


def _uniform(rows: I64, key: int) -> npt.NDArray[np.float64]:
    return (rank_words(rows[:, None], key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
