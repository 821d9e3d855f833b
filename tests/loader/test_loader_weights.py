"""Weights of the labeled datasets: exact, the same on every machine, and held by every batch."""

import decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.loader.order.weights import TOTAL, round_shares, tempered, weights_by
from fusekit.mixture.drawing import parse_by

SHARES = st.lists(st.fractions(0, 10**9, max_denominator=10**6), min_size=1, max_size=30).filter(
    any
)


def reference_rounding(shares):
    """Largest remainder with one part at least, written out."""
    fixed = set()
    while True:
        left = TOTAL - len(fixed)
        whole = sum(s for k, s in enumerate(shares) if k not in fixed)
        quota = {k: Fraction(s) * left / whole for k, s in enumerate(shares) if k not in fixed}
        small = {k for k, q in quota.items() if q < 1}
        if not small:
            break
        fixed |= small
    parts = {k: int(q) for k, q in quota.items()} | dict.fromkeys(fixed, 1)
    for k in sorted(quota, key=lambda k: (-(quota[k] % 1), k)):
        if sum(parts.values()) < TOTAL:
            parts[k] += 1
    return tuple(parts[k] for k in range(len(shares)))


@given(SHARES)
def test_rounded_shares_sum_up_and_none_is_lost(shares):
    parts = round_shares(shares)
    assert sum(parts) == TOTAL
    assert min(parts) >= 1
    assert parts == reference_rounding(shares)
    whole = sum(shares)
    exact = [share * TOTAL / whole for share in shares]
    assert all(abs(p - e) < len(shares) + 1 for p, e in zip(parts, exact, strict=True))


def test_equal_remainders_go_to_the_first():
    assert round_shares([Fraction(1)] * 3) == (349526, 349525, 349525)


@given(
    st.lists(st.integers(1, 2**31), min_size=1, max_size=12),
    st.fractions(Fraction(1, 100), 1000, max_denominator=1000).filter(bool),
)
def test_temperature_is_the_power_and_keeps_the_order_of_sizes(images, t):
    shares = tempered(images, t)
    for n, share in zip(images, shares, strict=True):
        assert float(share) == pytest.approx((n / max(images)) ** float(1 / t), rel=1e-9, abs=1e-30)
    by_size = [share for _, share in sorted(zip(images, shares, strict=True))]
    assert by_size == sorted(by_size)


def test_temperature_one_is_by_images_and_a_high_one_makes_all_alike():
    images = [30, 10, 60]
    assert tempered(images, Fraction(1)) == [Fraction(1, 2), Fraction(1, 6), Fraction(1)]
    assert weights_by(parse_by({"temperature": 10**6}), "abc", images, ()) == (
        349525,
        349525,
        349526,
    )
    assert weights_by(parse_by({"temperature": "1/1000000"}), "abc", images, ()) == (
        1, 1, TOTAL - 2,
    )  # fmt: skip


def test_temperature_gives_these_integers_on_every_machine():
    images = [3_923_399, 87_021, 490_623, 5_179_510]
    with decimal.localcontext(prec=3, rounding=decimal.ROUND_UP):  # another thread's settings
        found = weights_by(parse_by({"temperature": 5}), "abcd", images, [1] * 4)
    assert found == (329348, 153761, 217306, 348161)


def test_images_are_taken_as_they_are_and_identities_in_proportion():
    assert weights_by("images", ["a", "b"], [7, 20_000_000], [1, 1]) == (7, 20_000_000)
    assert weights_by("identities", ["a", "b"], [7, 20_000_000], [3, 1]) == (3 << 18, 1 << 18)


def test_given_weights_follow_the_order_of_the_datasets():
    by = parse_by({"weights": {"b": "1/3", "a": 1}})
    assert weights_by(by, ["a", "b"], [1, 1], [1, 1]) == (3 << 18, 1 << 18)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1}, "the labeled dataset 'b' has no weight; expected one of every labeled one"),
        ({"a": 1, "b": 1, "c": 1}, "no labeled dataset is named 'c'; the labeled ones: a, b"),
    ],
)
def test_weights_that_are_not_one_a_dataset_are_refused(weights, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        weights_by(parse_by({"weights": weights}), ["a", "b"], [1, 1], [1, 1])
