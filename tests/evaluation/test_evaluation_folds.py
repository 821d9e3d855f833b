import numpy as np
import pytest
from hypothesis import given
from support.scored import scored_pairs
from support.verification import ten_fold_accuracy

from fusekit.errors import UsageError
from fusekit.evaluation.folds import best_threshold, fold_accuracy


def slow_best(scores, same):
    """The lowest threshold that is right most often, of every distinct score and of none."""
    tried = [*sorted(set(scores.tolist())), np.inf]
    right = [sum((s >= t) == y for s, y in zip(scores, same, strict=True)) for t in tried]
    return tried[right.index(max(right))], max(right)


@given(scored_pairs())
def test_the_threshold_is_right_as_often_as_any_score_could_be(drawn):
    scores, same, _ = drawn
    lowest, right = slow_best(scores, same)
    threshold = best_threshold(scores, same)
    assert ((scores >= threshold) == same).sum() == right
    below = scores[scores < lowest]
    assert threshold > max(below, default=-np.inf)
    assert threshold <= lowest or lowest == np.inf


@given(scored_pairs())
def test_no_fold_has_a_say_in_its_own_threshold(drawn):
    scores, same, fold = drawn
    fold[:2] = 1, 2
    result = fold_accuracy(scores, same, fold)
    for number, threshold, accuracy in zip(
        np.unique(fold), result.thresholds, result.folds, strict=True
    ):
        mine = fold == number
        assert threshold == best_threshold(scores[~mine], same[~mine])
        assert accuracy == ((scores[mine] >= threshold) == same[mine]).mean()
    assert result.accuracy == pytest.approx(np.mean(result.folds))


@given(scored_pairs(least=10))
def test_without_ties_the_mean_is_that_of_code_written_apart(drawn):
    scores, same, fold = drawn
    fold[:3] = 1, 2, 3
    scores = scores + np.arange(len(scores)) / 1e6  # the other parts pairs that score alike
    mean, deviation = ten_fold_accuracy(scores, same, fold)
    result = fold_accuracy(scores, same, fold)
    n = len(result.folds)
    # Where calling no pair the same is best, this one puts the threshold above all scores.
    if all(t <= scores.max() for t in result.thresholds):
        assert 100 * result.accuracy == pytest.approx(mean)
        assert 100 * result.std * np.sqrt((n - 1) / n) == pytest.approx(deviation)


def test_deviation_has_n_less_one_below_and_the_error_is_that_of_the_mean():
    # Fold 1 is wrong once in four pairs, fold 2 never.
    scores = np.array([0.9, 0.8, 0.1, 0.7, 0.9, 0.8, 0.1, 0.2])
    same = np.array([True, True, False, False] * 2)
    result = fold_accuracy(scores, same, np.repeat([1, 2], 4))
    assert result.folds == (0.75, 1.0)
    assert result.std == pytest.approx(np.std([0.75, 1.0], ddof=1))
    assert result.stderr == pytest.approx(result.std / np.sqrt(2))


def test_of_thresholds_as_good_the_lowest_is_taken():
    # One right answer is lost on either side of the impostor at 0.5.
    scores, same = np.array([0.2, 0.5, 0.8]), np.array([True, False, True])
    assert best_threshold(scores, same) == 0.2


def test_neighbouring_floats_still_part():
    low = 0.5
    high = float(np.nextafter(low, 1))
    assert best_threshold(np.array([low, high]), np.array([False, True])) == high


def test_all_impostors_are_all_rejected():
    threshold = best_threshold(np.array([0.3, 0.9]), np.array([False, False]))
    assert threshold > 0.9


def test_a_protocol_without_folds_has_no_deviation():
    result = fold_accuracy(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 0]))
    assert (result.accuracy, result.std, result.stderr) == (1.0, None, None)


def test_what_counts_as_wrong_is_wrong_and_has_no_say():
    scores = np.array([0.9, 0.1, -np.inf, 0.8, 0.2, -np.inf])
    same = np.array([True, False, True, True, False, False])
    fold = np.array([1, 1, 1, 2, 2, 2])
    result = fold_accuracy(scores, same, fold, np.isneginf(scores))
    assert result.folds == (2 / 3, 2 / 3)
    assert result.thresholds == (0.5, 0.5)


def test_a_fold_that_nobody_else_can_judge_is_refused():
    gone = np.array([False, True])
    with pytest.raises(UsageError, match="fold 1 leaves no scored pair to choose a threshold by"):
        fold_accuracy(np.array([0.9, -np.inf]), ~gone, np.array([1, 2]), gone)
    with pytest.raises(UsageError, match="folds: there are no pairs; expected one or more"):
        fold_accuracy(np.empty(0), np.empty(0, bool), np.empty(0, int))
