"""One dataset a batch, datasets as slices of a batch, and the keys of every row's looks."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.orders import STEPS, drawn, every_kind, identity_orders, orders, worlds_of

from fusekit.errors import LoaderError
from fusekit.loader.order.order import Order, OrderSettings
from fusekit.loader.order.split import split, split_tree
from fusekit.rng import derive


@given(orders(grouping="one_dataset"), STEPS)
def test_a_step_of_one_dataset_has_labeled_rows_of_one_source_on_every_rank(case, step):
    order, world = case
    plans = [order.plan(step, rank, world) for rank in range(world)]
    rows = np.concatenate([plan.rows[: plan.n_labeled] for plan in plans])
    sources = {order.source_of(int(row)) for row in rows}
    assert len(sources) == 1
    for plan in plans:
        wanted = ((next(iter(sources)), 0, plan.n_labeled),) if plan.n_labeled else ()
        assert plan.parts == wanted


@given(orders(grouping="one_dataset"), STEPS)
def test_the_datasets_take_turns_by_their_weights_and_none_skips_a_row(case, start):
    order, _ = case
    n = order.labeled_sources
    weights = order.settings.weights or [order.source_rows(k)[1] for k in range(n)]
    tree, rows = split_tree(weights), order.settings.labeled_per_step
    for step in range(start, start + 5):
        now, then = split(tree, step, n), split(tree, step + 1, n)
        turn = next(k for k in range(n) if then[k] > now[k])
        places = drawn(order.plan(step, 0, 1))[: int(rows)]
        assert places == [(turn, now[turn] * rows + i) for i in range(int(rows))]


@given(orders(grouping="one_dataset"), st.integers(0, 2**50))
def test_turns_stay_within_the_bound_of_their_share_over_any_window(case, start):
    order, _ = case
    n, rows = order.labeled_sources, order.settings.labeled_per_step
    weights = order.settings.weights or [order.source_rows(k)[1] for k in range(n)]
    window = [order.positions(start + t) for t in range(12)]
    for k, weight in enumerate(weights):
        share = Fraction(weight, sum(weights))
        errors = [at[k] / rows - share * t for t, at in enumerate(window)]
        assert max(errors) - min(errors) < Fraction("3.36")  # see test_loader_order.py


def test_one_dataset_with_a_share_that_gives_no_whole_number_says_what_to_change():
    with pytest.raises(LoaderError) as error:
        OrderSettings(0, 10, Fraction(1, 4), grouping="one_dataset")
    assert str(error.value) == (
        "grouping: one_dataset with 15/2 labeled samples in a global batch of 10; expected a whole "
        "number; make the global batch a multiple of 4"
    )


@given(
    st.one_of(
        orders(grouping="sub_batches"),
        identity_orders(grouping="sub_batches").map(lambda case: case[:2]),
    ),
    STEPS,
)
def test_sub_batches_are_the_mixed_batch_with_each_source_in_one_slice(case, step):
    order, world = case
    for rank in range(world):
        plan = order.plan(step, rank, world)
        edges = [0, *(stop for _, _, stop in plan.parts)]
        assert [start for _, start, _ in plan.parts] == edges[:-1]
        assert edges[-1] == plan.n_labeled
        sources = [source for source, _, _ in plan.parts]
        assert sources == sorted(set(sources))
        for source, start, stop in plan.parts:
            assert start < stop
            assert {order.source_of(int(row)) for row in plan.rows[start:stop]} == {source}
        keys = dict(zip(drawn(plan), plan.keys.tolist(), strict=True))
        assert len(keys) == len(plan.rows)


@given(st.integers(0, 99), STEPS)
def test_sub_batches_only_move_the_rows_of_the_mixed_plan_and_keep_their_order(seed, step):
    plans = []
    for grouping in ("mixed", "sub_batches"):
        settings = OrderSettings(seed, 800, Fraction(1, 4), grouping=grouping)
        plan = Order([300, 200, 90], [110], settings).plan(step, 1, 2)
        plans.append(list(zip(drawn(plan), plan.rows.tolist(), plan.keys.tolist(), strict=True)))
    mixed, grouped = plans
    labeled = [each for each in mixed if each[1] < 590]
    edges = (0, 300, 500, 590)
    slices = [each for a, z in pairwise(edges) for each in labeled if a <= each[1] < z]
    assert grouped == slices + mixed[len(labeled) :]


def test_a_mixed_plan_has_no_parts():
    assert Order([9], [], OrderSettings(0, 4, Fraction(0))).plan(0, 0, 1).parts == ()


@given(every_kind(), STEPS)
def test_a_key_is_of_the_position_and_the_same_on_every_world_size(case, step):
    order, _ = case
    alone = order.plan(step, 0, 1)
    wanted = dict(zip(drawn(alone), alone.keys.tolist(), strict=True))
    assert alone.keys.dtype == np.uint64
    for world in worlds_of(order):
        for rank in range(world):
            plan = order.plan(step, rank, world)
            assert dict(zip(drawn(plan), plan.keys.tolist(), strict=True)).items() <= wanted.items()


@given(every_kind())
def test_no_two_positions_have_the_same_key(case):
    order, _ = case
    plans = [order.plan(step, 0, 1) for step in range(12)]
    keys = np.concatenate([plan.keys for plan in plans])
    assert len(np.unique(keys)) == len(keys)


@given(orders(), STEPS)
def test_a_row_key_is_derived_from_seed_source_cycle_and_place(case, step):
    order, _ = case
    plan = order.plan(step, 0, 1)
    for (k, position), key in zip(drawn(plan), plan.keys.tolist(), strict=True):
        stream = order.streams[k]
        cycle, place = divmod(position, stream.rows)
        permutation = derive(order.settings.seed, stream.number, cycle, 0)
        assert key == derive(permutation, derive("augment"), place)
