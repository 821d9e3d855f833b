"""The order against a slow, obvious reference, and every promise that it makes."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.orders import STEPS, class_rows, drawn, every_kind, feistel, orders, worlds_of

from fusekit.errors import LoaderError
from fusekit.loader.order.identities import Drawing
from fusekit.loader.order.order import Order, OrderSettings
from fusekit.loader.order.split import split, split_tree
from fusekit.rng import derive

# A dataset's distance from its share: 1 + 1 + 1/2 + 1/3 + 1/5 + …, over Fibonacci's numbers.
BOUND = Fraction("3.36")
GOLDEN = Path(__file__).parent.parent / "golden" / "order-v1.txt"


def reference_row(stream, position, settings):
    """The row at a position of a stream, line by line as section 6 of the design says it."""
    n, (cycle, x) = stream.rows, divmod(position, stream.rows)
    key = derive(settings.seed, stream.number, cycle, 0)
    block = min(settings.block, n)
    blocks = -(-n // block)
    windows = -(-blocks // settings.window)
    size = -(-blocks // windows)
    while True:
        w = x // (block * size)
        y = feistel(x % (block * size), block * size, key ^ w)
        place = feistel(w * size + y // block, windows * size, derive(key, "blocks"))
        x = place * block + y % block
        if x < n:
            return stream.first_row + x


def reference_shares(weights, count):
    """Share out a count by the tree of weights, the two lightest joined first."""
    trees = [(w, [k], None, None) for k, w in enumerate(weights)]
    while len(trees) > 1:
        trees.sort(key=lambda t: (t[0], min(t[1])))
        a, b, *rest = trees
        trees = [(a[0] + b[0], a[1] + b[1], a, b), *rest]
    shares = {}

    def down(node, m):
        weight, leaves, left, right = node
        if left is None:
            shares[leaves[0]] = m
        else:
            part = m * left[0] // weight
            down(left, part)
            down(right, m - part)

    down(trees[0], count)
    return [shares[k] for k in range(len(weights))]


def reference_step(order, step, world):
    """Rows and labeled counts of every rank at one step."""
    s = order.settings
    g, p, q = s.global_batch, s.unlabeled_fraction.numerator, s.unlabeled_fraction.denominator
    u = [g * t * p // q for t in (step, step + 1)]
    l_ = [g * t - u_t for t, u_t in zip((step, step + 1), u, strict=True)]
    n_labeled = len(order.streams) if s.weights is None else len(s.weights)
    first = 1 if s.weights is None else n_labeled
    labeled, unlabeled = order.streams[:first], order.streams[first:]

    def listed(streams, weights, counts):
        if not streams:
            return []
        before, after = (reference_shares(weights, c) for c in counts)
        inorder = sorted(range(len(streams)), key=lambda k: derive(s.seed, step, streams[k].number))
        return [(streams[k], at) for k in inorder for at in range(before[k], after[k])]

    ranks = [([], []) for _ in range(world)]
    rows = listed(labeled, s.weights or [1], l_)
    whole = len(rows) - len(rows) % world
    for j, at in enumerate(rows):
        turn = derive(s.seed, step) + j if j < whole else l_[0] + (j - whole)
        ranks[turn % world][0].append(reference_row(*at, s))
    for j, at in enumerate(listed(unlabeled, [x.rows for x in unlabeled], u)):
        ranks[(-1 - (u[0] + j)) % world][1].append(reference_row(*at, s))
    return ranks


@given(orders(), STEPS)
def test_the_vectorised_plan_is_the_reference_row_by_row(case, step):
    order, world = case
    for rank, (labeled, unlabeled) in enumerate(reference_step(order, step, world)):
        plan = order.plan(step, rank, world)
        assert plan.rows.tolist() == labeled + unlabeled
        assert plan.n_labeled == len(labeled)


@given(every_kind(), STEPS)
def test_every_rank_gets_exactly_its_batch_with_labeled_rows_first(case, step):
    order, world = case
    for rank in range(world):
        plan = order.plan(step, rank, world)
        assert len(plan.rows) == order.settings.global_batch // world
        assert (plan.rows[: plan.n_labeled] < order.labeled_rows).all()
        assert (plan.rows[plan.n_labeled :] >= order.labeled_rows).all()


@given(every_kind(), st.integers(0, 2**66))
def test_the_labeled_share_is_within_one_sample_over_any_window_on_any_rank(case, start):
    order, world = case
    share = (1 - order.settings.unlabeled_fraction) * order.settings.global_batch / world
    for rank in range(world):
        counts = [order.plan(start + t, rank, world).n_labeled - share for t in range(12)]
        errors = [sum(counts[a:z]) for a in range(12) for z in range(a + 1, 13)]
        assert max(map(abs, errors)) < 1


@given(every_kind(), STEPS)
def test_ranks_draw_disjointly_and_leave_nothing_out(case, step):
    order, world = case
    positions = [d for rank in range(world) for d in drawn(order.plan(step, rank, world))]
    before, after = order.positions(step), order.positions(step + 1)
    wanted = {(k, p) for k in range(len(before)) for p in range(before[k], after[k])}
    assert len(positions) == len(wanted) == order.settings.global_batch
    assert set(positions) == wanted


@given(every_kind(), STEPS)
def test_the_rows_of_a_step_are_the_same_for_every_world_size(case, step):
    order, _ = case
    alone = order.plan(step, 0, 1)
    for world in worlds_of(order):
        plans = [order.plan(step, rank, world) for rank in range(world)]
        assert sorted(np.concatenate([p.rows for p in plans])) == sorted(alone.rows)
        assert sum(p.n_labeled for p in plans) == alone.n_labeled


@settings(max_examples=20)
@given(orders(weighted=st.just(value=False)), st.booleans())
def test_every_labeled_row_comes_exactly_once_per_cycle_across_ranks(case, by_images):
    order, world = case
    if by_images:
        labeled = [order.source_rows(k)[1] for k in range(order.labeled_sources)]
        unlabeled = [stream.rows for stream in order.streams[1:]]
        order = Order(labeled, unlabeled, replace(order.settings, weights=tuple(labeled)))
    n, step = order.labeled_rows, 0
    cycles = [[] for _ in range(3)]
    while order.counts(step)[0] < 3 * n:
        for rank in range(world):
            plan = order.plan(step, rank, world)
            places = drawn(plan)[: plan.n_labeled]
            for (k, position), row in zip(places, plan.rows.tolist(), strict=False):
                if position < 3 * order.streams[k].rows:
                    cycles[position // order.streams[k].rows].append(row)
        step += 1
    assert [sorted(rows) for rows in cycles] == [list(range(n))] * 3


@given(orders(), st.integers(0, 2**64))
def test_every_stream_is_a_permutation_of_its_rows_in_every_cycle(case, cycle):
    order, _ = case
    for k, stream in enumerate(order.streams):
        rows = order.rows_at(k, cycle * stream.rows, stream.rows)
        assert sorted(rows) == list(range(stream.first_row, stream.first_row + stream.rows))


def test_every_cycle_has_another_permutation():
    order = Order([50], [50], OrderSettings(7, 8, Fraction(1, 4)))
    for k in (0, 1):
        cycles = [tuple(order.rows_at(k, c * 50, 50)) for c in range(20)]
        assert len(set(cycles)) == 20


def test_another_seed_gives_another_order():
    rows = [
        tuple(Order([500], [], OrderSettings(seed, 64, Fraction(0))).plan(0, 0, 1).rows)
        for seed in range(20)
    ]
    assert len(set(rows)) == 20


@given(orders(), st.integers(0, 2**64))
def test_a_range_of_positions_is_what_the_plan_draws(case, step):
    order, _ = case
    plan = order.plan(step, 0, 1)
    at = dict(zip(drawn(plan), plan.rows.tolist(), strict=True))
    for k, (before, after) in enumerate(
        zip(order.positions(step), order.positions(step + 1), strict=True)
    ):
        assert order.rows_at(k, before, after - before) == [at[k, p] for p in range(before, after)]


@st.composite
def steep_orders(draw):
    """Weights whose every branch is a little heavier than its sibling, so that errors add up."""
    weights = [draw(st.integers(50, 10**4)), 10**6]
    branches = [10**6, sum(weights)]
    for _ in range(draw(st.integers(1, 8))):
        base = 10**6 if len(weights) == 2 else branches[-2]
        weights.append(base + draw(st.integers(0, base // 20)))
        branches.append(branches[-1] + weights[-1])
    world = draw(st.sampled_from((1, 2, 4)))
    size = world * draw(st.integers(1, 200))
    return Order(weights, [9], OrderSettings(0, size, Fraction(1, 4), tuple(weights))), world


@given(
    st.one_of(orders(weighted=st.just(value=True), worlds=(1, 2, 4)), steep_orders()),
    st.integers(0, 2**50),
)
def test_weights_hold_within_the_bound_per_device_batch_and_per_window(case, start):
    order, world = case
    weights = order.settings.weights
    share = [
        Fraction(w, sum(weights))
        * (1 - order.settings.unlabeled_fraction)
        * order.settings.global_batch
        for w in weights
    ]
    window = [order.positions(start + t) for t in range(9)]
    for k, exact in enumerate(share):
        errors = [at[k] - exact * t for t, at in enumerate(window)]
        assert max(errors) - min(errors) < BOUND
        for rank in range(world):
            plan = order.plan(start, rank, world)
            found = int((plan.stream[: plan.n_labeled] == k).sum())
            assert abs(found - exact / world) < BOUND


def test_the_steepest_weights_come_near_the_bound():
    weights = (594, 741730, 750371, 742452, 1494343, 2241016, 3772296)
    order = Order(weights, [], OrderSettings(0, 128, Fraction(0), weights))
    found = int((order.plan(4490822, 0, 1).stream == 1).sum())
    assert 2.7 < 128 * weights[1] / sum(weights) - found < BOUND
    weights = (5666, 262641, 268120, 272145, 536619, 809080, 1350680, 2154464)
    order = Order(weights, [], OrderSettings(0, 1, Fraction(0), weights))
    least, most = (order.positions(step)[1] for step in (56594150, 590367005))
    share = Fraction(weights[1], sum(weights)) * (590367005 - 56594150)
    assert 3 < most - least - share < BOUND


@given(st.lists(st.integers(1, 2**20), min_size=1, max_size=12), st.integers(0, 2**70))
def test_a_split_sums_up_never_falls_and_follows_the_reference(weights, count):
    root, k = split_tree(weights), len(weights)
    now, then = split(root, count, k), split(root, count + 1, k)
    assert sum(now) == count
    assert all(a <= b for a, b in zip(now, then, strict=True))
    assert now == reference_shares(weights, count)


@given(orders(), st.integers(0, 2**66))
def test_epochs_follow_each_other_without_a_gap(case, epoch):
    order, _ = case
    start, end = order.epoch_start(epoch), order.epoch_start(epoch + 1)
    assert order.epoch_start(0) == 0
    assert start <= end
    if start < end:
        assert order.epoch_of(start) == order.epoch_of(end - 1) == epoch
    # What all epochs so far drew is their passes, up to the last step's labeled rows.
    passes = epoch * order.labeled_rows
    assert passes <= order.counts(start)[0]
    assert start == 0 or order.counts(start - 1)[0] < passes + 1


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**64))
def test_a_window_touches_only_its_own_blocks(windows, block, size, seed):
    # Full blocks and windows, so that nothing has to walk on.
    rows = windows * size * block
    order = Order([rows], [], OrderSettings(seed, 1, Fraction(0), block=block, window=size))
    seen = [
        {row // block for row in order.rows_at(0, w * block * size, block * size)}
        for w in range(windows)
    ]
    assert all(len(blocks) == size for blocks in seen)
    assert len(set.union(*seen)) == windows * size


def test_the_first_rows_of_a_fixed_order_never_change():
    pooled = Order([1000, 300], [500, 20], OrderSettings(1, 24, Fraction(1, 4), block=16, window=4))
    weighted = Order(
        [1000, 300, 7], [500], OrderSettings(2, 24, Fraction(1, 3), (5, 2, 1), block=16, window=4)
    )
    lines = []
    for name, order in (("pooled", pooled), ("weighted", weighted)):
        for rank in (0, 1):
            rows = np.concatenate([order.plan(t, rank, 2).rows for t in range(6)])[:64]
            lines.append(f"{name} rank {rank}: {' '.join(map(str, rows))}")
    assert "\n".join(lines) + "\n" == GOLDEN.read_text()


def test_the_first_rows_and_keys_of_every_other_order_never_change():
    _, classes = class_rows([[5, 1, 9, 3, 2, 2, 7, 4], [6, 6, 1, 8]], 4)
    more = {"block": 4, "window": 3}
    turns = OrderSettings(3, 12, Fraction(1, 4), (2, 1), grouping="one_dataset", **more)
    slices = OrderSettings(4, 12, Fraction(1, 4), grouping="sub_batches", **more)
    people = OrderSettings(5, 16, Fraction(1, 4), sampler=Drawing(4, 3, None, 2), **more)
    lines = []
    for name, order in {
        "one_dataset": Order([33, 21], [30], turns),
        "sub_batches": Order([33, 21], [30], slices),
        "identities": Order([33, 21], [30], people, classes),
    }.items():
        for rank in (0, 1):
            plans = [order.plan(t, rank, 2) for t in (0, 1, 2, 10**15)]
            rows = np.concatenate([plan.rows for plan in plans])
            keys = np.concatenate([plan.keys[:2] for plan in plans])
            lines.append(f"{name} rank {rank}: {' '.join(map(str, rows))}")
            lines.append(f"{name} rank {rank} keys: {' '.join(f'{key:016x}' for key in keys)}")
    assert "\n".join(lines) + "\n" == GOLDEN.with_stem("order-v1-options").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"global_batch": 0}}, "order: global_batch is 0; expected at least 1"),
        ({"settings": {"block": 0}}, "order: block is 0; expected at least 1"),
        ({"settings": {"window": -1}}, "order: window is -1; expected at least 1"),
        (
            {"settings": {"unlabeled_fraction": Fraction(1)}},
            "order: unlabeled_fraction is 1; expected 0 or more, under 1",
        ),
        ({"settings": {"weights": (1, 0)}}, "order: a weight is under 1; expected positive"),
        (
            {"settings": {"weights": (1, 1, 1)}},
            "order: 3 weights; expected 2, one per labeled source",
        ),
        ({"labeled": []}, "order: no labeled source; expected at least one"),
        ({"labeled": [5, 0]}, "order: a source has no rows; expected at least one row each"),
        ({"unlabeled": []}, "order: unlabeled samples are asked for, no source has any"),
    ],
)
def test_an_order_that_cannot_be_says_why(change, message):
    settings = {"seed": 0, "global_batch": 8, "unlabeled_fraction": Fraction(1, 4)}
    with pytest.raises(LoaderError) as error:
        Order(
            change.get("labeled", [5, 5]),
            change.get("unlabeled", [5]),
            OrderSettings(**settings | change.get("settings", {})),
        )
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("rank", "world", "message"),
    [
        (0, 3, "world_size: 3 does not divide the global batch; expected 8"),
        (0, 0, "world_size: is 0; expected at least 1"),
        (2, 2, "rank: is 2; expected 0 to 1"),
        (-1, 2, "rank: is -1; expected 0 to 1"),
    ],
)
def test_a_rank_that_cannot_be_says_why(rank, world, message):
    with pytest.raises(LoaderError) as error:
        Order([5], [], OrderSettings(0, 8, Fraction(0))).plan(0, rank, world)
    assert str(error.value).startswith(message)
