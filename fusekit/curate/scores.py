"""Score embeddings against known people: per dataset, the softmax's maximum and the cosine.

A dataset's softmax is taken over its own identities only, so that a person known in two datasets
does not share the probability between them. The products are blocked and the softmax's sum runs
along, so memory does not grow with samples times classes. A small compiled library adds the
exponentials up where it was built, else numpy does. ``tests/bench/filter.py`` compares the speed
with that of the products alone.

Reference:
    Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018: a running maximum
    and a sum that is rescaled when the maximum grows.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.curate.native_softmax import find_softmax
from fusekit.curate.products import Multiply, Precision, multiplying, round_to_bf16

if TYPE_CHECKING:
    from fusekit.curate.native_softmax import NativeSoftmax
    from fusekit.store.embeddings import Vectors

CLASS_BLOCK: Final = 4_096
SAMPLE_BLOCK: Final = 1_024
_STRIP: Final = 64  # rows of a block that one thread sums up at a time: 1 MiB, in its own cache
_PLAIN: Final = 72.0  # up to this scale, exp(scale) times a block's classes fits a float32
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

    def rounded(self) -> KnownPeople:
        """Give the same people with centres rounded to bfloat16, for scores of that precision."""
        return replace(self, centres=round_to_bf16(self.centres))


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


def score(
    vectors: Vectors,
    known: KnownPeople,
    *,
    precision: Precision = "float32",
    threads: int | None = None,
) -> Scores:
    """Score samples against known people.

    Every class counts in every sum. With u = 2^-24, an activation is off by a share of at most
    2 s (D + 2) u + 40 u: each logit by the rounding of a product of D terms, an exponential by
    7 u, a sum of some of them by 24 u. In practice it is 40 to 400 times less. The numbers depend
    on the sizes of the blocks within that bound, and not on the number of threads.

    Args:
        vectors: ``(N, D)`` of unit length; a row of zeros, an erased sample, scores 0.
        known: Whom to compare with; for bf16, as :meth:`KnownPeople.rounded` gives them.
        precision: Of the products' factors.
        threads: That sum up, beside BLAS's own; None: one a core.

    Raises:
        MissingExtraError: bf16 is asked for and torch is not installed.
    """
    shape = (len(vectors), len(known.ranges))
    scores = Scores(np.zeros(shape, np.float32), np.zeros(shape, np.float32),
                    np.zeros(shape, np.int64))  # fmt: skip
    native = find_softmax()
    block = np.empty(min(SAMPLE_BLOCK, len(vectors)) * CLASS_BLOCK, np.float32)
    threads = threads or _cores()
    # The library needs no strips for the cache, but threads do: BLAS's own still wait on a core, so
    # that few long ones end late (measured).
    strip = SAMPLE_BLOCK if native and threads == 1 else _STRIP
    with multiplying(precision) as multiply, ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(vectors), SAMPLE_BLOCK):
            rows = slice(begin, begin + SAMPLE_BLOCK)
            for k, (_, first, end) in enumerate(known.ranges):
                # Past the largest scale all but the nearest class vanish anyway.
                scale = np.float32(min(known.scales[k], _LARGEST))
                scaled = vectors[rows] * scale  # (n, D)
                if precision == "bf16":
                    scaled = round_to_bf16(scaled)
                softmax = _Softmax(len(scaled), float(scale), strip, native)
                softmax.add_classes(scaled, known.centres[first:end], block, multiply, pool)
                scores.activation[rows, k] = softmax.maximum()
                scores.cosine[rows, k] = softmax.top.astype(np.float64) / float(scale)
                scores.nearest[rows, k] = softmax.at + first
    scores.activation[~vectors.any(axis=1)] = 0
    return scores


class _Softmax:
    """The running maximum and sum of n softmaxes.

    Attributes:
        top: float32 ``(n,)``, the largest logit so far.
        at: int64 ``(n,)``, its class.
    """

    def __init__(self, n: int, scale: float, strip: int, native: NativeSoftmax | None) -> None:
        self.top = np.full(n, -np.inf, np.float32)
        self.at = np.zeros(n, np.int64)
        self._total = np.zeros(n)  # sum of exp(logit), or of exp(logit - top)
        self._native, self._strips = native, [slice(a, a + strip) for a in range(0, n, strip)]
        # Small logits need no shift in numpy: a pass over each block less, and no rescaling.
        self._shifted = native is not None or scale > _PLAIN

    def add_classes(
        self, scaled: Vectors, centres: Vectors, block: npt.NDArray[np.float32],
        multiply: Multiply, pool: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        """Take in the logits with some centres, a block at a time; ``block`` is memory for one."""
        spread = map if len(self._strips) == 1 else pool.map
        for begin in range(0, len(centres), CLASS_BLOCK):
            some = centres[begin : begin + CLASS_BLOCK]
            logits = block[: len(scaled) * len(some)].reshape(len(scaled), len(some))
            multiply(scaled, some, logits)
            parts = [logits[rows] for rows in self._strips]
            for _ in spread(self._add, self._strips, parts, repeat(begin)):
                pass

    def maximum(self) -> npt.NDArray[np.float64]:
        """Give the largest term over the sum: the maximum of the softmax, (n,)."""
        largest = np.ones(len(self.top)) if self._shifted else np.exp(self.top).astype(np.float64)
        # The sum has this very term in it, but has been rounded to float32 since.
        return np.minimum(largest / self._total, 1)

    def _add(self, rows: slice, logits: Vectors, begin: int) -> None:
        """Take in some rows' logits (r, m) with the classes from ``begin``, overwriting them."""
        if self._native is not None:
            self._native.add(logits, begin, self.top[rows], self.at[rows], self._total[rows])
            return
        top, here = self.top[rows], logits.argmax(axis=1)
        best = np.take_along_axis(logits, here[:, None], axis=1)[:, 0]
        grown = np.maximum(top, best)
        with np.errstate(under="ignore"):
            if self._shifted:
                self._total[rows] *= np.exp(top.astype(np.float64) - grown)
                logits -= grown[:, None]
            self._total[rows] += np.exp(logits, out=logits).sum(axis=1)
        # On a tie the earlier class stands.
        self.at[rows] = np.where(best > top, begin + here, self.at[rows])
        self.top[rows] = grown


def _cores() -> int:
    """Count the threads that BLAS may use too: what was asked of it, else this process's cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))
