"""Sampled classes: the batch's own always, a share of the rest, anew each step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.head_losses import RANGES, check, make_batch, make_head, masked_losses

from fusekit.losses.crossing import Crossing
from fusekit.losses.row_plan import Meeting, plan_rows
from fusekit.losses.sampled_classes import sample_classes


@given(st.integers(1, 300), st.floats(1e-6, 1), st.data(), st.integers(0, 2**64 - 1))
def test_a_sample_has_the_batchs_classes_and_its_size(count, rate, data, key):
    positives = np.array(
        sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=20))), np.int64
    )
    chosen = sample_classes(count, positives, rate, key)
    assert len(chosen) == max(len(positives), math.ceil(rate * count))
    assert (np.diff(chosen) > 0).all()
    assert set(positives) <= set(chosen)
    assert chosen[0] >= 0
    assert chosen[-1] < count


def test_every_class_is_as_likely_as_another():
    seen = np.zeros(50)
    for key in range(4000):
        seen[sample_classes(50, np.array([7]), 0.2, key * 977)] += 1
    assert seen[7] == 4000
    others = np.delete(seen, 7) / 4000
    assert others == pytest.approx(9 / 49, abs=0.06)


@pytest.mark.parametrize("lists", [None, [[0, 1, 2, 3], [4], [5, 6, 7, 8, 9, 10]]])
@pytest.mark.parametrize("rate", [0.01, 0.5, 0.9])
def test_the_loss_is_that_of_the_sampled_classes_of_the_rows_dataset(rate, lists):
    embeddings, weight, labels = make_batch(RANGES, 6, 5, 3, torch.float64)
    ranges = None if lists else RANGES
    head = make_head(weight, ranges, dataset_classes=lists, sample_rate=rate, seed=4)
    datasets = head.sets.datasets_of(labels)
    meeting = Meeting(Crossing(seed=4), rate)
    plan = plan_rows(labels.numpy(), datasets, head.sets, meeting, step=9)
    allowed = torch.zeros(6, 11, dtype=torch.bool)
    present = np.unique(datasets).tolist()
    for k, part in zip(present, plan.parts, strict=True):
        columns = np.asarray(part.columns)
        own = np.asarray(head.sets.sets[k])
        assert set(columns) <= set(own)
        positives = len(set(labels[datasets == k].tolist()))
        assert len(columns) == max(positives, math.ceil(rate * len(own)))
        allowed[np.ix_(datasets == k, columns)] = True
    wanted = masked_losses(embeddings, weight, labels, allowed)
    check(head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6, step=9)


def test_a_sample_of_all_is_the_whole_softmax_exactly():
    embeddings, weight, labels = make_batch(RANGES, 6, 5, 3)
    whole = make_head(weight)(embeddings, labels)
    assert torch.equal(make_head(weight, sample_rate=1.0)(embeddings, labels), whole)
    nearly = make_head(weight, sample_rate=0.999)(embeddings, labels)  # all, but gathered
    assert nearly.item() == pytest.approx(whole.item(), rel=1e-6)


def test_the_sample_follows_from_seed_and_step():
    embeddings, weight, labels = make_batch([(0, 400)], 6, 5, 3)
    head, other = (
        make_head(weight, [(0, 400)], sample_rate=0.1, seed=seed) for seed in (0, 1)
    )  # fmt: skip
    losses = [head(embeddings, labels, step=step).item() for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    assert other(embeddings, labels, step=0).item() != losses[0]


def test_crossing_and_masks_go_with_a_sample():
    embeddings, weight, labels = make_batch(RANGES, 6, 5, 3)
    head = make_head(weight, sample_rate=0.5, crossing_p=0.3, do_not_repel=[(0, 1), (0, 7)])
    loss = head(embeddings, labels)
    loss.backward()
    assert loss.isfinite()
    assert head.weight.grad.isfinite().all()
