"""P identities with K images each: exact on every device batch, elastic, at any step."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.orders import STEPS, class_rows, drawn, feistel, identity_orders, worlds_of

from fusekit.errors import LoaderError
from fusekit.loader.order.identities import Drawing, Identities
from fusekit.loader.order.order import Order, OrderSettings
from fusekit.rng import derive, mix


def chained(key, *words):
    for word in words:
        key = mix(key ^ word % 2**64)
    return key


def reference_rows(order, classes, step, rank, world):
    """Rows and keys of a rank's identities, written out one by one."""
    s, drawing = order.settings, order.settings.sampler
    labels = [
        label for label in range(len(classes.images))
        if classes.images[label] >= drawing.min_images
        and (drawing.sources is None or any(
            label in classes.sources[k] for k in drawing.sources
        ))
    ]  # fmt: skip
    pg, k = drawing.identities, drawing.images
    steps = len(labels) // pg
    visit, turn = divmod(step, steps)
    rows, keys = [], []
    for slot in range(rank, pg, world):
        key = derive(s.seed, "identities", visit)
        label = labels[feistel(turn * pg + slot, len(labels), key)]
        n = int(classes.images[label])
        for j in range(k):
            if n >= k:
                cycle, visits = divmod(visit, n // k)
                place = visits * k + j
            else:
                cycle, place = visit * -(-k // n) + j // n, j % n
            image = feistel(place, n, chained(derive(s.seed, "images"), label, cycle))
            rows.append(int(classes.rows[classes.first[label] + image]))
            look = derive(s.seed, "identities", "augment")
            keys.append(chained(look, label, visit * k + j))
    return rows, keys


def small(images, drawing, seed=3, **more):
    """An order of identities alone, of these images of each class of each source."""
    label, classes = class_rows(images)
    rows = Fraction(drawing.identities * drawing.images)
    settings = OrderSettings(seed, int(rows), Fraction(0), sampler=drawing)
    order = Order([sum(source) for source in images], [], settings, classes, **more)
    return order, label


@given(identity_orders(), STEPS, st.data())
def test_the_vectorised_plan_is_the_reference_row_by_row(case, step, data):
    order, world, label = case
    sources = order.labeled_sources
    images = [np.bincount(label)[np.unique(label[slice(*_span(order, k))])].tolist()
              for k in range(sources)]  # fmt: skip
    drawing = order.settings.sampler
    named = data.draw(st.none() | st.sets(st.integers(0, sources - 1), min_size=1))
    drawing = Drawing(
        drawing.identities, drawing.images, named and tuple(sorted(named)),
        data.draw(st.integers(1, 5)),
    )  # fmt: skip
    _, classes = class_rows(images, 5)
    chosen = [
        n for k, source in enumerate(images) for n in source
        if n >= drawing.min_images and (named is None or k in named)
    ]  # fmt: skip
    if len(chosen) < drawing.identities:
        with pytest.raises(LoaderError, match=f"^sampler: {len(chosen)} identities to draw from"):
            Identities(classes, drawing, 0)
        return
    settings = OrderSettings(7, drawing.identities * drawing.images, Fraction(0), sampler=drawing)
    order = Order([sum(source) for source in images], [], settings, classes)
    assert order.identities.classes == len(chosen)
    assert order.identities.left_out == sum(map(len, images)) - len(chosen)
    for rank in range(world):
        plan = order.plan(step, rank, world)
        rows, keys = reference_rows(order, classes, step, rank, world)
        assert plan.rows.tolist() == rows
        assert plan.keys.tolist() == keys


def _span(order, source):
    first, count = order.source_rows(source)
    return first, first + count


@given(identity_orders(), STEPS)
def test_every_device_batch_has_p_identities_with_k_images_each(case, step):
    order, world, label = case
    k = order.settings.sampler.images
    p = order.settings.sampler.identities // world
    counts = np.bincount(label)
    everyone = []
    for rank in range(world):
        plan = order.plan(step, rank, world)
        assert plan.n_labeled == p * k
        groups = plan.rows[: p * k].reshape(p, k)
        people = label[groups]
        assert (people == people[:, :1]).all()
        everyone += people[:, 0].tolist()
        for person, rows in zip(people[:, 0], groups, strict=True):
            n = counts[person]
            times = Counter(rows.tolist())
            if n >= k:
                assert len(times) == k
            else:
                assert len(times) == n
                assert set(times.values()) <= {k // n, -(-k // n)}
    assert len(set(everyone)) == p * world


@given(identity_orders(), st.integers(0, 2**66))
def test_a_visit_goes_to_each_identity_at_most_once_and_leaves_few_out(case, visit):
    order, _, label = case
    steps, pg = order.identities.steps, order.settings.sampler.identities
    people = []
    for step in range(visit * steps, (visit + 1) * steps):
        plan = order.plan(step, 0, 1)
        people += label[plan.rows[: plan.n_labeled : order.settings.sampler.images]].tolist()
    assert len(people) == len(set(people)) == steps * pg
    assert order.identities.classes - len(people) < pg


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**64 - 1), st.integers(0, 2**66))
def test_an_identity_gives_its_images_in_turn(n, k, seed, cycle):
    order, _ = small([[n]], Drawing(1, k), seed)
    assert order.identities.steps == 1  # each step is a visit to the one class
    whole = max(1, n // k)
    rows = np.concatenate([order.plan(cycle * whole + v, 0, 1).rows for v in range(whole)])
    if n >= k:
        assert len(set(rows.tolist())) == k * (n // k)
    else:
        assert set(rows.tolist()) == set(range(n))


def test_every_image_is_drawn_in_the_long_run():
    order, _ = small([[7, 9, 5, 8, 6, 11]], Drawing(2, 4))
    seen = {int(r) for t in range(120) for r in order.plan(t, 0, 1).rows}
    assert seen == set(range(46))


@given(identity_orders(), STEPS)
def test_ranks_share_the_identities_and_together_are_the_same_on_every_world_size(case, step):
    order, _, label = case
    alone = order.plan(step, 0, 1)
    k = order.settings.sampler.images
    wanted = dict(zip(drawn(alone), alone.rows.tolist(), strict=True))
    for world in worlds_of(order):
        found, people = {}, []
        for rank in range(world):
            plan = order.plan(step, rank, world)
            found |= dict(zip(drawn(plan), plan.rows.tolist(), strict=True))
            people += label[plan.rows[: plan.n_labeled : k]].tolist()
        assert found == wanted
        assert len(set(people)) == len(people)


def test_another_visit_is_another_permutation():
    order, label = small([[2] * 50], Drawing(5, 2))
    visits = [
        tuple(int(label[r]) for t in range(10) for r in order.plan(10 * v + t, 0, 1).rows)
        for v in range(10)
    ]
    assert len(set(visits)) == 10


def test_only_the_named_datasets_and_large_enough_classes_are_drawn():
    images = [[5, 5, 5], [2, 9, 9], [7, 7, 1]]
    order, label = small(images, Drawing(2, 2, (1, 2), 7))
    assert (order.identities.classes, order.identities.left_out) == (4, 5)
    assert order.identities.per_source == [0, 2, 2]
    seen = {int(label[r]) for t in range(20) for r in order.plan(t, 0, 1).rows}
    assert seen == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Drawing(0, 4), "sampler: identities is 0; expected at least 1"),
        (lambda: Drawing(4, -1), "sampler: images is -1; expected at least 1"),
        (lambda: Drawing(4, 1, None, 0), "sampler: min_images is 0; expected at least 1"),
        (
            lambda: small([[5, 5, 5]], Drawing(4, 2)),
            "sampler: 3 identities to draw from; expected at least 4, those of one global batch; "
            "lower sampler.identities, sampler.min_images or the number of ranks",
        ),
        (
            lambda: OrderSettings(0, 9, Fraction(0), sampler=Drawing(2, 4)),
            "sampler: 2 identities x 4 images are 8 rows; expected 9, the labeled rows of a global",
        ),
        (
            lambda: OrderSettings(0, 8, Fraction(0), (1,), sampler=Drawing(2, 4)),
            "order: weights and a sampler of identities; expected one of them",
        ),
        (
            lambda: OrderSettings(0, 8, Fraction(0), grouping="one_dataset", sampler=Drawing(2, 4)),
            "order: one dataset a batch and a sampler of identities; expected one of them",
        ),
        (
            lambda: Order([5], [], OrderSettings(0, 8, Fraction(0), sampler=Drawing(2, 4))),
            "order: identities are asked for without the classes' rows",
        ),
        (
            lambda: small([[2] * 9], Drawing(2, 4))[0].plan(0, 0, 4),
            "world_size: 4 does not divide the identities of a global batch; expected 2",
        ),
    ],
)
def test_identities_that_cannot_be_say_why(make, message):
    with pytest.raises(LoaderError) as error:
        make()
    assert str(error.value).startswith(message)
