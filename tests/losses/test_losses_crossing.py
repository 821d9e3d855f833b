"""Crossing dropout: its distribution, its draws, and its limits p = 0 and p = 1."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.head_losses import RANGES, check, make_batch, make_head, masked_losses, same_dataset

from fusekit.errors import LossError
from fusekit.losses import DatasetAwareHead
from fusekit.losses.class_sets import ClassSets
from fusekit.losses.crossing import Crossing, binomial

LISTS = [[0, 1, 2, 5], [1, 3, 5, 6], [2, 4, 6, 9]]


def draw(crossing, datasets, sets, step=0, first=0):
    datasets = np.asarray(datasets)
    return crossing.draw(step, first + np.arange(len(datasets)), datasets, sets)


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (7, 0.3), (60, 0.01), (400, 0.9), (90_000, 1e-4)])
def test_the_number_of_hits_is_binomial(n, p):
    grid = (np.arange(200_000) + 0.5) / 200_000
    counts = np.bincount(binomial(n, p, grid)) / len(grid)
    for k, share in enumerate(counts[:100].tolist()):
        exact = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        assert share == pytest.approx(exact, abs=6e-6)  # a step of the grid on either side


def test_many_hits_have_the_right_mean_and_spread():
    hits = binomial(1_000_000, 0.2, (np.arange(10_000) + 0.5) / 10_000)
    assert hits.mean() == pytest.approx(200_000, rel=1e-4)
    assert hits.std() == pytest.approx(400, rel=0.01)
    assert binomial(5, 0.5, np.array([0.0, 1 - 2**-53])).tolist() == [0, 5]


@given(
    st.sampled_from([ClassSets(RANGES), ClassSets(dataset_classes=LISTS)]),
    st.lists(st.integers(0, 2), min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 10**6),
)  # fmt: skip
def test_a_row_draws_distinct_classes_of_other_datasets(sets, datasets, p, seed):
    rows, classes = draw(Crossing(p, seed=seed), datasets, sets)
    assert (np.diff(rows) >= 0).all()
    pairs = list(zip(rows.tolist(), classes.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert all(c not in sets.sets[datasets[row]] for row, c in pairs)
    assert all(0 <= c < sets.num_classes for _, c in pairs)


def test_each_class_of_each_row_enters_with_probability_p():
    sets, p, steps = ClassSets(RANGES), 0.3, 2000
    seen = np.zeros((3, 11))
    together = 0
    for step in range(steps):
        rows, classes = draw(Crossing(p, seed=1), [0, 1, 2], sets, step)
        np.add.at(seen, (rows, classes), 1)
        together += {5, 6} <= set(classes[rows == 0].tolist())
    outside = ~same_dataset(RANGES, torch.tensor([0, 4, 5]), 11).numpy()
    assert (seen[~outside] == 0).all()
    spread = 4 * math.sqrt(p * (1 - p) / steps)
    assert seen[outside] / steps == pytest.approx(p, abs=spread)
    assert together / steps == pytest.approx(p * p, abs=spread)  # two classes: independent


def test_draws_follow_from_seed_step_and_the_rows_number_alone():
    sets, datasets = ClassSets(RANGES), [0, 1, 2] * 20
    first = draw(Crossing(0.4, seed=3), datasets, sets, 7)
    again = draw(Crossing(0.4, seed=3), datasets, sets, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (
        draw(Crossing(0.4, seed=4), datasets, sets, 7),
        draw(Crossing(0.4, seed=3), datasets, sets, 8),
        draw(Crossing(0.4, seed=3), datasets, sets, 7, first=60),
    ):
        assert not np.array_equal(first[1], other[1])
    # A rank's rows draw as they would in the whole batch.
    rows, classes = draw(Crossing(0.4, seed=3), datasets[30:], sets, 7, first=30)
    later = first[0] >= 30
    assert np.array_equal(first[0][later] - 30, rows)
    assert np.array_equal(first[1][later], classes)


def test_expected_is_a_number_of_classes_whatever_the_size():
    datasets = [0] * 4000
    for size in (50, 50_000):
        rows, _ = draw(Crossing(expected=3.0), datasets, ClassSets([(0, 4), (4, 4 + size)]))
        assert len(rows) / 4000 == pytest.approx(3, abs=0.15)
    rows, _ = draw(Crossing(expected=3.0), [0, 1], ClassSets([(0, 4), (4, 6)]))
    assert np.bincount(rows).tolist() == [2, 3] or len(rows) <= 6  # 2 outside the first: all
    assert Crossing(expected=3.0).probability(2) == 1
    assert Crossing(expected=3.0).probability(0) == 0


@pytest.mark.parametrize("lists", [None, LISTS])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("rows", [3, 40])  # pairs one by one, and all at once
def test_the_loss_with_crossing_is_that_of_the_mask_it_drew(p, rows, lists):
    ranges = [(0, 10)] if lists else RANGES
    embeddings, weight, labels = make_batch(ranges, rows, 6, rows, torch.float64)
    sets = ClassSets(None if lists else RANGES, lists)
    datasets = torch.arange(rows) % 3
    if lists:
        labels = torch.tensor([lists[k][i % 4] for i, k in enumerate(datasets.tolist())])
    else:
        datasets = torch.from_numpy(sets.datasets_of(labels))
    head = make_head(weight, None if lists else RANGES, dataset_classes=lists, crossing_p=p, seed=2)
    allowed = torch.zeros(rows, len(weight), dtype=torch.bool)
    for row, k in enumerate(datasets.tolist()):
        allowed[row, list(sets.sets[k])] = True
    crossing = draw(Crossing(p, seed=2), datasets.numpy(), sets, 5, first=100)
    allowed[crossing] = True
    wanted = masked_losses(embeddings, weight, labels, allowed)
    check(
        head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6,
        dataset_index=datasets, step=5, first_row=100,
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["softmax", "arcface"])
def test_p_of_one_is_the_plain_softmax_exactly(loss):
    embeddings, weight, labels = make_batch(RANGES, 20, 8, 2)
    crossed = make_head(weight, loss=loss, crossing_p=1.0)
    plain = make_head(weight, [(0, 11)], loss=loss)
    assert torch.equal(crossed(embeddings, labels), plain(embeddings, labels))


def test_nearly_one_is_nearly_the_plain_softmax():
    embeddings, weight, labels = make_batch(RANGES, 20, 8, 2, torch.float64)
    drawn = make_head(weight, crossing_expected=1e9)  # every class, by drawing
    plain = make_head(weight, [(0, 11)])
    assert drawn(embeddings, labels).item() == pytest.approx(
        plain(embeddings, labels).item(), rel=1e-12
    )


def test_p_of_zero_is_the_dataset_aware_softmax_exactly():
    embeddings, weight, labels = make_batch(RANGES, 20, 8, 2)
    none, no = make_head(weight, crossing_p=0.0), make_head(weight, crossing_expected=0.0)
    assert torch.equal(none(embeddings, labels), make_head(weight)(embeddings, labels))
    assert torch.equal(no(embeddings, labels), none(embeddings, labels))


def test_each_step_of_a_training_draws_anew_and_the_step_can_be_set():
    embeddings, weight, labels = make_batch(RANGES, 20, 8, 2)
    head = make_head(weight, crossing_p=0.3)
    losses = [head(embeddings, labels).item() for _ in range(4)]
    assert len(set(losses)) == 4
    assert head.step == 4
    head.step = 2
    assert head(embeddings, labels).item() == losses[2]
    assert head(embeddings, labels, step=1).item() == losses[1]
    assert head.step == 3  # a given step does not count on
    head.eval()
    assert head(embeddings, labels).item() == head(embeddings, labels).item() == losses[3]


def test_drawing_does_not_touch_torchs_own_numbers():
    embeddings, weight, labels = make_batch(RANGES, 20, 8, 2)
    head = make_head(weight, crossing_p=0.3)
    before = torch.random.get_rng_state()
    first = head(embeddings, labels, step=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(head(embeddings, labels, step=0), first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crossing_p": 1.5}, "crossing_p: is 1.5; expected 0 to 1"),
        ({"crossing_p": -0.1}, "crossing_p: is -0.1"),
        ({"crossing_expected": -1}, "crossing_expected: is -1; expected classes, 0 or more"),
        ({"crossing_p": 0.1, "crossing_expected": 1}, "is given beside crossing_p; expected one"),
    ],
)
def test_a_crossing_that_cannot_be_is_refused(options, message):
    with pytest.raises(LossError, match=message):
        DatasetAwareHead(RANGES, 4, **options)
