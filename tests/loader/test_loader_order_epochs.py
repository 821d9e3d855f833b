"""Where epochs end under each policy, and how far each source was gone through."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.orders import class_rows, every_kind, orders

from fusekit.loader.order.epochs import Epochs
from fusekit.loader.order.identities import Drawing
from fusekit.loader.order.order import Order, OrderSettings, SourceUsage
from fusekit.mixture.drawing import Steps

EPOCHS = st.one_of(st.integers(0, 30), st.integers(2**60, 2**66))
POLICIES = st.one_of(
    st.sampled_from(["cycle", "stop_first"]), st.integers(1, 10**6).map(lambda n: Steps(n))
)


def under(order, policy):
    """The same order with another end of its epochs."""
    sources = [order.source_rows(k)[1] for k in range(order.labeled_sources)]
    unlabeled = [stream.rows for stream in order.streams if stream.first_row >= order.labeled_rows]
    return Order(sources, unlabeled, order.settings, epochs=policy)


@given(orders(), POLICIES, EPOCHS)
def test_epochs_cover_every_step_once(case, policy, epoch):
    order = under(case[0], policy)
    start, end = order.epoch_start(epoch), order.epoch_start(epoch + 1)
    assert order.epoch_start(0) == 0
    assert start <= end
    for step in {start, (start + end) // 2, end - 1} if start < end else ():
        assert order.epoch_of(step) == epoch


@given(st.fractions(0, 1000, max_denominator=1000).filter(bool))
def test_steps_belong_to_the_epoch_that_starts_at_or_before_them(length):
    epochs = Epochs(length)
    for step in range(60):
        epoch = epochs.of(step)
        assert epochs.start(epoch) <= step < epochs.start(epoch + 1)


@given(st.integers(1, 10**6), EPOCHS)
def test_a_number_of_steps_is_exact(steps, epoch):
    order = Order([7], [], OrderSettings(0, 4, Fraction(0)), epochs=Steps(steps))
    assert order.epoch_start(epoch) == epoch * steps


@given(orders(weighted=st.just(value=False)))
def test_a_pooled_epoch_stops_with_the_first_of_labeled_and_unlabeled(case):
    order = under(case[0], "stop_first")
    share = order.settings.unlabeled_fraction
    labeled = order.labeled_rows / order.settings.labeled_per_step
    rows = sum(s.rows for s in order.streams[1:])
    unlabeled = rows / (order.settings.global_batch * share) if share else labeled
    for epoch in range(5):
        assert order.epoch_start(epoch) == math.ceil(epoch * min(labeled, unlabeled))
    # The first epoch's last step is the one that exhausts the first of them.
    end = order.epoch_start(1)
    (l_before, u_before), (l_after, u_after) = order.counts(end - 1), order.counts(end)
    assert l_before < order.labeled_rows
    assert u_before < rows or not share
    # Counts of a share that is no whole number are rounded in favour of the labeled.
    assert l_after >= order.labeled_rows or u_after >= rows - 1


def test_a_weighted_epoch_stops_with_its_smallest_source():
    settings = OrderSettings(0, 8, Fraction(1, 2), (1, 1))
    cycle = Order([100, 10], [500], settings)
    first = Order([100, 10], [500], settings, epochs="stop_first")
    assert [cycle.epoch_start(e) for e in (1, 2)] == [28, 55]  # 110 rows, 4 a step
    assert [first.epoch_start(e) for e in (1, 2)] == [5, 10]  # 10 rows, 2 a step
    assert first.positions(5)[1] == 10


def test_a_step_of_one_dataset_counts_by_its_turns():
    settings = OrderSettings(0, 8, Fraction(0), (1, 3), grouping="one_dataset")
    order = Order([100, 120], [], settings, epochs="stop_first")
    assert order.epoch_start(1) == 20  # 6 of 8 a step are of the second


def test_an_epoch_of_identities_is_a_visit():
    _, classes = class_rows([[4] * 23])
    settings = OrderSettings(0, 16, Fraction(1, 2), sampler=Drawing(4, 2))
    cycle = Order([92], [16], settings, classes)
    assert [cycle.epoch_start(e) for e in range(3)] == [0, 5, 10]
    first = Order([92], [16], settings, classes, "stop_first")
    assert [first.epoch_start(e) for e in range(3)] == [0, 2, 4]


@given(every_kind(), st.one_of(st.integers(0, 200), st.integers(2**60, 2**66)))
def test_usage_adds_up_to_what_was_drawn(case, step):
    order, _ = case
    labeled, unlabeled = order.counts(step)
    usage = order.usage(step)
    assert [u.source for u in usage] == list(range(len(usage)))
    n = order.labeled_sources
    assert sum(u.drawn for u in usage[:n]) == labeled
    assert sum(u.drawn for u in usage[n:]) == unlabeled
    for u in usage:
        assert u.rows == order.source_rows(u.source)[1]
        assert u.passes == u.drawn / u.rows
        assert (u.repeated, u.left_over) == (max(0, u.drawn - u.rows), max(0, u.rows - u.drawn))


@given(orders(), st.integers(0, 12))
def test_usage_is_what_a_count_finds(case, step):
    order, _ = case
    counts = [0] * len(order.usage(0))
    for t in range(step):
        for row in order.plan(t, 0, 1).rows.tolist():
            counts[order.source_of(row)] += 1
    for u in order.usage(step):
        if u.exact:
            assert u.drawn == counts[u.source]


def test_usage_of_the_pool_is_exact_after_each_cycle_and_says_so():
    order = Order([30, 10], [8], OrderSettings(0, 10, Fraction(1, 5)))
    exact = [(u.drawn, u.exact) for u in order.usage(10)]
    assert exact == [(60, True), (20, True), (20, True)]
    within = [(u.drawn, u.exact) for u in order.usage(6)]
    assert within == [(36, False), (12, False), (12, True)]


@pytest.mark.parametrize(
    ("drawn", "repeated", "left_over"), [(0, 0, 8), (8, 0, 0), (9, 1, 0), (3, 0, 5)]
)
def test_usage_says_what_was_repeated_or_left_over(drawn, repeated, left_over):
    usage = SourceUsage(0, 8, drawn, exact=True)
    assert (usage.repeated, usage.left_over, usage.passes) == (repeated, left_over, drawn / 8)
