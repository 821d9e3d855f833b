"""Candidates for a row that gives no pixels: of its own source, the nearest in the order first."""

from fractions import Fraction
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.orders import STEPS, class_rows, every_kind, identity_orders, orders

from fusekit.loader.order.identities import Drawing
from fusekit.loader.order.order import Order, OrderSettings

PLACES = st.integers(0, 10**6)


@given(every_kind(), STEPS, PLACES)
def test_candidates_are_other_rows_of_the_same_source_each_once(case, step, place):
    order, world = case
    plan = order.plan(step, world - 1, world)
    place %= len(plan.rows)
    row = int(plan.rows[place])
    first, count = order.source_rows(order.source_of(row))
    found = list(order.stand_ins(plan, place))
    assert row not in found
    assert len(set(found)) == len(found) == min(64, count - 1)
    assert all(first <= other < first + count for other in found)


@given(orders(), STEPS, PLACES)
def test_the_next_rows_of_the_stream_that_are_of_the_source_come_first(case, step, place):
    order, _ = case
    plan = order.plan(step, 0, 1)
    place %= len(plan.rows)
    row, k = int(plan.rows[place]), int(plan.stream[place])
    position = plan.base[k] + int(plan.ordinal[place])
    source = order.source_of(row)
    after = order.rows_at(k, position + 1, 2 * order.streams[k].rows)
    wanted = dict.fromkeys(r for r in after if order.source_of(r) == source and r != row)
    assert list(order.stand_ins(plan, place)) == list(wanted)[:64]


@given(orders(), STEPS, PLACES)
def test_looking_for_candidates_changes_nothing(case, step, place):
    order, _ = case
    plan = order.plan(step, 0, 1)
    list(order.stand_ins(plan, place % len(plan.rows)))
    assert order.plan(step, 0, 1).rows.tolist() == plan.rows.tolist()


def test_a_tiny_source_of_a_large_pool_finds_its_other_rows():
    order = Order([200_000, 3], [], OrderSettings(1, 500, Fraction(0)))
    row = 200_001
    step = next(t for t in range(401) if row in order.plan(t, 0, 1).rows)
    plan = order.plan(step, 0, 1)
    place = int(np.flatnonzero(plan.rows == row)[0])
    assert sorted(order.stand_ins(plan, place)) == [200_000, 200_002]


def test_candidates_are_worked_out_only_when_asked_for(monkeypatch):
    order = Order([10_000], [], OrderSettings(1, 16, Fraction(0)))
    plan, looked = order.plan(3, 0, 1), []
    rows_at = order.rows_at
    monkeypatch.setattr(order, "rows_at", lambda *at: looked.append(at[2]) or rows_at(*at))
    candidates = order.stand_ins(plan, 0)
    assert looked == []
    next(candidates)
    assert looked == [16]


def test_the_only_row_of_a_source_has_no_candidate():
    order = Order([9], [1], OrderSettings(1, 4, Fraction(1, 4)))
    assert list(order.stand_ins(order.plan(0, 0, 1), 3)) == []


@given(identity_orders(), STEPS, PLACES)
def test_an_identity_is_stood_in_for_by_itself_first(case, step, place):
    order, world, label = case
    plan = order.plan(step, 0, world)
    place %= plan.n_labeled
    row = int(plan.rows[place])
    same = {int(r) for r in np.flatnonzero(label == label[row])} - {row}
    there = same & set(plan.rows[: plan.n_labeled].tolist())
    found = list(islice(order.stand_ins(plan, place), len(same)))
    assert set(found) == same
    assert set(found[: len(same) - len(there)]) == same - there
    for other in order.stand_ins(plan, place):
        assert order.source_of(other) == order.source_of(row)


def test_a_class_of_very_many_images_is_looked_through_in_pieces():
    label, classes = class_rows([[5000, 2, 2]])
    settings = OrderSettings(1, 6, Fraction(0), sampler=Drawing(3, 2))
    order = Order([5004], [], settings, classes)
    plan = order.plan(4, 0, 1)
    place = int(np.flatnonzero(label[plan.rows] == 0)[0])
    others = list(order.same_identity(plan, place))
    assert sorted([*others, int(plan.rows[place])]) == np.flatnonzero(label == 0).tolist()


def test_single_rows_have_no_identity_to_look_at():
    order = Order([9], [], OrderSettings(1, 4, Fraction(0)))
    assert list(order.same_identity(order.plan(0, 0, 1), 0)) == []
