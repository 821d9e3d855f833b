"""Rates of a verification: TAR at FAR, precision at recall, intervals, and what they mean in use.

Reference:
    ISO/IEC 19795-1:2021 (false match rate, true match rate); Wilson, "Probable inference, the law
    of succession, and statistical inference", JASA 1927 (the interval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.evaluation.scores import Flags, Scores

FARS: Final = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The false accept rates that are asked for without another wish."""
FEW: Final = 10
"""With fewer impostor pairs allowed than this, a TAR hangs on single pairs and is marked."""
SURE: Final = 0.95
"""Confidence of intervals."""


@dataclass(frozen=True)
class Rate:
    """A true accept rate at a false accept rate.

    Attributes:
        far: The rate that was asked for.
        tar: The highest share of genuine pairs accepted with at most ``far`` of the impostors;
            None where not even one impostor pair may pass (``far * impostors < 1``).
        interval: Wilson's 95 % interval of ``tar`` over the genuine pairs, as if they were
            independent; None as above.
        threshold: The lowest accepted score; None as above, or where no pair is accepted.
        measured_far: Share of impostor pairs at the threshold and above; None as ``tar``.
        few: The rate allows fewer than ten impostor pairs.
    """

    far: float
    tar: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    measured_far: float | None
    few: bool


def allowed(far: float, impostors: int) -> int:
    """Give how many impostor pairs may pass, ``floor(far * impostors)`` of the decimal as written.

    Example:
        >>> allowed(1e-3, 3_000), allowed(0.07, 100), int(0.29 * 100)
        (3, 7, 28)
    """
    return math.floor(Fraction(Decimal(repr(float(far)))) * impostors)


def check_fars(fars: Sequence[float]) -> tuple[float, ...]:
    """Give false accept rates back if they are.

    Raises:
        UsageError: One is not above 0 and at most 1, or there is none.
    """
    for far in fars:
        if not 0 < far <= 1:
            raise UsageError("--far", f"{far:g}", "a rate above 0 and at most 1")
    if not fars:
        raise UsageError("--far", "no rate", "one or more")
    return tuple(float(far) for far in fars)


def tar_at_far(scores: Scores, same: Flags, fars: Sequence[float]) -> list[Rate]:
    """Give the highest TAR with FAR at most each rate, over every threshold that could be.

    Args:
        scores: ``(n,)``; minus infinity is never accepted.
        same: ``(n,)`` whether both are one person.
        fars: The rates.

    Raises:
        UsageError: A rate can't be.

    Example:
        >>> scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
        >>> [r.tar for r in tar_at_far(scores, np.array([1, 1, 0, 1, 0], bool), [0.4, 0.5])]
        [None, 1.0]
    """
    genuine, impostors = scores[same], scores[~same]
    most = max((allowed(far, len(impostors)) for far in check_fars(fars)), default=0) + 1
    tail = -np.sort(-impostors) if most >= len(impostors) else highest(impostors, most)
    return rates_of_tail(np.sort(genuine), tail, len(impostors), fars)


def highest(values: Scores, count: int) -> Scores:
    """Give the highest values, descending."""
    if count < len(values):
        values = np.partition(values, len(values) - count)[len(values) - count :]
    return -np.sort(-values)


def rates_of_tail(
    genuine: Scores, tail: Scores, impostors: int, fars: Sequence[float]
) -> list[Rate]:
    """Give the rates of all genuine scores and the highest impostor scores.

    Args:
        genuine: ``(g,)`` ascending.
        tail: The highest impostor scores, descending: one more than the largest rate allows, or
            all.
        impostors: How many impostor pairs there are.
        fars: The rates.
    """
    return [_rate(genuine, tail, impostors, far) for far in fars]


def _rate(genuine: Scores, tail: Scores, impostors: int, far: float) -> Rate:
    may_pass = allowed(far, impostors)
    few = may_pass < FEW
    if not may_pass or not len(genuine):
        return Rate(far, None, None, None, None, few)
    # Accepted is what scores higher than the first impostor that may not pass: ties with it stay
    # out, for one threshold takes them all or none.
    bar = tail[may_pass] if may_pass < impostors else -np.inf
    accepted = len(genuine) - int(np.searchsorted(genuine, bar, side="right"))
    passed = int((tail > bar).sum())
    lowest = [*genuine[len(genuine) - accepted :][:1], *tail[:passed][-1:]]
    return Rate(
        far, accepted / len(genuine), wilson_interval(accepted, len(genuine)),
        float(min(lowest)) if lowest else None, passed / impostors, few,
    )  # fmt: skip


def wilson_interval(successes: int, trials: int, sure: float = SURE) -> tuple[float, float]:
    """Give Wilson's interval of a share.

    Args:
        successes: 0 to ``trials``.
        trials: At least 1.
        sure: Confidence, between 0 and 1.

    Example:
        >>> [round(end, 4) for end in wilson_interval(8, 10)]
        [0.4902, 0.9433]
    """
    z = NormalDist().inv_cdf((1 + sure) / 2)
    share, shift = successes / trials, z * z / trials
    centre = (share + shift / 2) / (1 + shift)
    half = z * math.sqrt(share * (1 - share) / trials + shift / (4 * trials)) / (1 + shift)
    # At the ends the sum is the end but for rounding.
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == trials else centre + half


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at every distinct score, of thresholds that accept something.

    Precision is the share of accepted pairs that are genuine, so it follows the share of genuine
    pairs in the protocol, which is half in LFW and nearly nothing in use.

    Attributes:
        precision: ``(u,)`` from the highest score to the lowest.
        recall: ``(u,)``, ascending.
    """

    precision: Scores
    recall: Scores

    @classmethod
    def of(cls, scores: Scores, same: Flags) -> PrecisionRecall:
        """Work them out.

        Args:
            scores: ``(n,)``; minus infinity is never accepted.
            same: ``(n,)`` whether both are one person.

        Example:
            >>> scores, same = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
            >>> both = PrecisionRecall.of(scores, same)
            >>> both.precision_at(0.5), round(both.precision_at(1), 3), both.recall_at(0.9)
            (1.0, 0.667, 0.5)
        """
        right, passed = counts_at(scores, same)
        return cls(right / np.maximum(right + passed, 1), right / max(int(same.sum()), 1))

    def precision_at(self, recall: float) -> float | None:
        """Give the highest precision with a recall of at least so much; None: none has it."""
        reached = self.precision[self.recall >= recall]
        return float(reached.max()) if len(reached) else None

    def recall_at(self, precision: float) -> float | None:
        """Give the highest recall with a precision of at least so much; None: none has it."""
        reached = self.recall[self.precision >= precision]
        return float(reached.max()) if len(reached) else None


def counts_at(scores: Scores, same: Flags) -> tuple[Scores, Scores]:
    """Count the genuine and impostor pairs at every distinct score and above.

    Args:
        scores: ``(n,)``; minus infinity is never accepted.
        same: ``(n,)``.

    Returns:
        Both ``(u,)``, from the highest score to the lowest.
    """
    finite = scores > -np.inf
    values = np.unique(scores[finite])[::-1]
    counts = []
    for kind in (same, ~same):
        mine = np.sort(scores[finite & kind])
        counts.append((len(mine) - np.searchsorted(mine, values, "left")).astype(np.float64))
    return counts[0], counts[1]


def gallery_errors(rate: float, gallery: int) -> dict[str, Any]:
    """Say what a rate of errors by comparison means in a gallery, errors taken as independent.

    Args:
        rate: Chance that one comparison errs, 0 to 1.
        gallery: Images in the gallery, at least 1.

    Returns:
        ``search``: one stranger against the gallery; ``all_pairs``: everyone in it against
        everyone else. Each with ``comparisons``, the ``expected`` errors and the ``chance`` of at
        least one.

    Example:
        The 30 images and 435 comparisons of a reader's question to dlib's author:

        >>> round(gallery_errors(1 - 0.9938, 30)["all_pairs"]["chance"], 3)
        0.933
    """
    if gallery < 1:
        raise UsageError("--gallery", str(gallery), "a number of images, 1 or more")
    counts = {"search": gallery, "all_pairs": gallery * (gallery - 1) // 2}
    # 1 - (1 - rate)^n without losing small rates.
    return {
        kind: {
            "comparisons": count, "expected": rate * count,
            "chance": -math.expm1(count * math.log1p(-rate)) if rate < 1 else float(count > 0),
        }
        for kind, count in counts.items()
    }  # fmt: skip
