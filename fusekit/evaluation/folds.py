"""Accuracy over folds: each is judged by the threshold that suits all the others best.

Reference:
    Huang, Ramesh, Berg and Learned-Miller, "Labeled Faces in the Wild", University of
    Massachusetts, technical report 07-49, 2007, section 4: the mean accuracy of the ten folds of
    View 2, and the standard error of that mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusekit.errors import UsageError

if TYPE_CHECKING:
    from fusekit.evaluation.scores import Flags, Numbers, Scores


@dataclass(frozen=True)
class FoldAccuracy:
    """What the folds of a protocol gave.

    Attributes:
        accuracy: Mean of the folds' accuracies, each of which counts alike; 0 to 1.
        std: Their standard deviation with n - 1 below (ddof 1); None for fewer than two folds.
        stderr: ``std`` over the square root of the number of folds: how far the mean may be off.
        folds: The accuracy of each fold, in the order of their numbers. Of a protocol without
            folds the one accuracy by the threshold that suits its own pairs best, which flatters.
        thresholds: What each fold was judged by: a pair scoring as much or more is called same.
    """

    accuracy: float
    std: float | None
    stderr: float | None
    folds: tuple[float, ...]
    thresholds: tuple[float, ...]


def fold_accuracy(scores: Scores, same: Flags, fold: Numbers, wrong: Flags | None = None
                  ) -> FoldAccuracy:  # fmt: skip
    """Judge each fold by the threshold with which the others are right most often.

    Args:
        scores: ``(n,)`` of the pairs, higher for more alike; finite but where ``wrong``.
        same: ``(n,)`` whether both are one person.
        fold: ``(n,)`` the fold of each pair, any numbers.
        wrong: ``(n,)`` pairs that count as wrong whatever the threshold, and have no say in it;
            None: none.

    Returns:
        The mean and spread over folds.

    Raises:
        UsageError: There are no pairs, or a fold leaves no scored pair to the others.

    Example:
        >>> result = fold_accuracy(
        ...     np.array([0.9, 0.1, 0.8, 0.3]), np.array([True, False] * 2), np.array([1, 1, 2, 2])
        ... )
        >>> result.accuracy, result.std, result.thresholds
        (1.0, 0.0, (0.55, 0.5))
    """
    scored = np.ones(len(same), np.bool_) if wrong is None else ~wrong
    numbers = np.unique(fold).tolist()
    accuracies, thresholds = [], []
    for number in numbers:
        judged = fold == number
        others = scored & (~judged if len(numbers) > 1 else judged)
        if not others.any():
            found = f"fold {number} leaves no scored pair to choose a threshold by"
            raise UsageError("folds", found, "pairs in two folds or more")
        threshold = best_threshold(scores[others], same[others])
        right = ((scores >= threshold) == same) & scored
        accuracies.append(float(right[judged].mean()))
        thresholds.append(threshold)
    if not accuracies:
        raise UsageError("folds", "there are no pairs", "one or more")
    std = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    stderr = None if std is None else std / float(np.sqrt(len(accuracies)))
    return FoldAccuracy(
        float(np.mean(accuracies)), std, stderr, tuple(accuracies), tuple(thresholds)
    )


def best_threshold(scores: Scores, same: Flags) -> float:
    """Give the threshold with which most pairs are right; a pair is same at it and above.

    Every distinct score is tried, and so is calling no pair the same. Of several that are right as
    often the lowest is taken. It is put midway between its score and the next lower one: pairs of
    these two kinds were seen, and nothing in between.

    Args:
        scores: ``(n,)`` finite, ``n >= 1``.
        same: ``(n,)`` whether both are one person.

    Example:
        >>> best_threshold(np.array([0.1, 0.3, 0.7, 0.9]), np.array([False, False, True, True]))
        0.5
    """
    values = np.unique(scores)  # (u,), ascending
    genuine, impostors = (
        np.searchsorted(np.sort(scores[kind]), values, "right") for kind in (same, ~same)
    )  # (u,) pairs of each kind at a value and below
    # right[i]: of a threshold with i values below it: impostors below and genuine pairs not.
    right = np.concatenate([[0], impostors - genuine])  # (u + 1,), less all genuine pairs
    best = int(right.argmax())
    if best == 0:
        return float(values[0])
    if best == len(values):
        return float(np.nextafter(values[-1], np.inf))
    middle = float((values[best - 1] + values[best]) / 2)
    return middle if middle > values[best - 1] else float(values[best])
