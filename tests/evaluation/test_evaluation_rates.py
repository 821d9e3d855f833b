from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve
from support.scored import scored_pairs

from fusekit.errors import UsageError
from fusekit.evaluation.rates import (
    PrecisionRecall,
    allowed,
    gallery_errors,
    tar_at_far,
    wilson_interval,
)

FARS = [0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]


@given(scored_pairs())
def test_tar_is_the_highest_of_every_threshold_within_the_far(drawn):
    scores, same, _ = drawn
    impostors = int((~same).sum())
    tried = [*scores.tolist(), np.inf]
    for rate in tar_at_far(scores, same, FARS):
        far = Fraction(repr(rate.far))
        within = [t for t in tried if (scores[~same] >= t).sum() <= far * impostors]
        best = max((scores[same] >= t).mean() for t in within)
        assert rate.tar == (best if far * impostors >= 1 else None)
        assert rate.few == (far * impostors < 10)
        if rate.threshold is not None:
            assert (scores[same] >= rate.threshold).mean() == rate.tar
            assert (scores[~same] >= rate.threshold).mean() == rate.measured_far <= rate.far


@given(scored_pairs(least=20))
def test_tar_agrees_with_scikit_learn(drawn):
    scores, same, _ = drawn
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    impostors = int((~same).sum())
    for rate in tar_at_far(scores, same, [0.25, 0.5]):
        if rate.tar is not None:
            within = np.rint(far * impostors) <= allowed(rate.far, impostors)
            assert rate.tar == pytest.approx(tar[within].max())


@given(scored_pairs(), st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]))
def test_precision_and_recall_agree_with_scikit_learn(drawn, level):
    scores, same, _ = drawn
    precision, recall, _ = precision_recall_curve(same, scores)
    precision, recall = precision[:-1], recall[:-1]  # its last point accepts nothing
    both = PrecisionRecall.of(scores, same)
    assert both.precision_at(level) == precision[recall >= level].max()
    reached = recall[precision >= level]
    assert both.recall_at(level) == (reached.max() if len(reached) else None)


def test_a_pair_without_a_score_is_never_accepted():
    scores, same = np.array([0.9, -np.inf, 0.5, -np.inf]), np.array([True, True, False, False])
    (rate,) = tar_at_far(scores, same, [1.0])
    assert (rate.tar, rate.measured_far, rate.threshold) == (0.5, 0.5, 0.5)
    assert PrecisionRecall.of(scores, same).precision_at(0.6) is None


def test_a_rate_under_one_impostor_has_no_tar():
    scores = np.linspace(0, 1, 200)
    same = np.arange(200) >= 100
    none, few, enough = tar_at_far(scores, same, [0.009, 0.01, 0.1])
    assert (none.tar, none.interval, none.threshold, none.few) == (None, None, None, True)
    assert (few.tar, few.few) == (1.0, True)
    assert (enough.tar, enough.few) == (1.0, False)


def test_impostors_that_tie_pass_together_or_not_at_all():
    scores = np.array([0.9, 0.7, 0.5, 0.8, 0.7, 0.7, 0.1])
    same = np.array([True, True, True, False, False, False, False])
    one, two, three = tar_at_far(scores, same, [0.25, 0.5, 0.75])
    assert (one.tar, two.tar, three.tar) == (1 / 3, 1 / 3, 1.0)
    assert (two.measured_far, three.measured_far) == (0.25, 0.75)


@pytest.mark.parametrize(("far", "count", "may"), [(1e-4, 30_000, 3), (0.29, 100, 29), (1, 7, 7)])
def test_rates_are_the_decimals_that_were_written(far, count, may):
    assert allowed(far, count) == may


@given(st.integers(1, 400), st.data())
def test_the_interval_is_wilson_s(trials, data):
    successes = data.draw(st.integers(0, trials))
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high))


def test_a_gallery_multiplies_errors():
    errors = gallery_errors(1e-6, 1_000_000)
    assert errors["search"]["expected"] == pytest.approx(1.0)
    assert errors["search"]["chance"] == pytest.approx(1 - np.exp(-1), rel=1e-5)
    assert errors["all_pairs"]["comparisons"] == 1_000_000 * 999_999 // 2
    assert gallery_errors(1.0, 1)["all_pairs"]["chance"] == 0.0
    assert gallery_errors(1e-18, 10)["search"]["chance"] == pytest.approx(1e-17)


def test_what_is_no_rate_is_refused():
    scores, same = np.array([0.5, 0.4]), np.array([True, False])
    with pytest.raises(UsageError, match="--far: 0; expected a rate above 0 and at most 1"):
        tar_at_far(scores, same, [0.0])
    with pytest.raises(UsageError, match="--far: no rate; expected one or more"):
        tar_at_far(scores, same, [])
    with pytest.raises(UsageError, match="--gallery: 0; expected a number of images"):
        gallery_errors(0.1, 0)
