import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pair_batches import draw_batch, mixed_labels
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.triplet import triplet_loss


def slow_semi_hard(rows, labels, margin):
    """FaceNet's choice by loops, in float64; distances by the definition."""
    x, hinges = rows.double(), []
    for a, p in itertools.permutations(range(len(x)), 2):
        strangers = [n for n in range(len(x)) if labels[n] != labels[a]]
        if labels[a] != labels[p] or not strangers:
            continue
        pair = ((x[a] - x[p]) ** 2).sum()
        away = {n: ((x[a] - x[n]) ** 2).sum() for n in strangers}
        farther = [d for d in away.values() if d > pair]
        chosen = min(farther) if farther else max(away.values())
        hinges.append(torch.clamp(pair - chosen + margin, min=0))
    return torch.stack(hinges).mean()


def slow_batch_hard(rows, labels, margin):
    x, hinges = rows.double(), []
    for a in range(len(x)):
        same = [p for p in range(len(x)) if p != a and labels[p] == labels[a]]
        other = [n for n in range(len(x)) if labels[n] != labels[a]]
        if same and other:
            farthest = max(torch.linalg.norm(x[a] - x[p]) for p in same)
            nearest = min(torch.linalg.norm(x[a] - x[n]) for n in other)
            hinges.append(torch.clamp(farthest - nearest + margin, min=0))
    return torch.stack(hinges).mean()


SLOW = {"semi-hard": slow_semi_hard, "batch-hard": slow_batch_hard}


@pytest.mark.parametrize("mining", ["semi-hard", "batch-hard"])
@given(seed=st.integers(0, 2**31), margin=st.floats(0, 1))
def test_it_equals_the_loops_over_all_triplets(mining, seed, margin):
    rows, labels = draw_batch(seed)
    ours, theirs = rows.clone().requires_grad_(), rows.double().requires_grad_()
    loss, slow = triplet_loss(ours, labels, margin, mining), SLOW[mining](theirs, labels, margin)
    assert loss.item() == pytest.approx(slow.item(), abs=1e-5)
    loss.backward()
    slow.backward()
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-4)


@pytest.mark.parametrize("mining", ["semi-hard", "batch-hard"])
def test_gradients_are_those_of_finite_differences(mining):
    rows, labels = draw_batch(3, dtype=torch.float64)
    assert gradcheck(lambda x: triplet_loss(x, labels, 0.3, mining), (rows.requires_grad_(),))


def test_semi_hard_leaves_out_a_stranger_who_is_nearer_than_the_pair():
    rows = torch.tensor([[0.0], [1.0], [0.5], [1.1]])
    labels = torch.tensor([0, 0, 1, 2])
    # From 0: the pair is 1², and the stranger at 1.1 is chosen, not the one at 0.5. From 1: every
    # stranger is nearer; the farthest is at 0.5.
    hinges = [1 - 1.1**2 + 0.3, 1 - 0.5**2 + 0.3]
    assert triplet_loss(rows, labels, 0.3).item() == pytest.approx(sum(hinges) / 2, abs=1e-6)
    hard = [1 - 0.5 + 0.3, 1 - 0.1 + 0.3]
    found = triplet_loss(rows, labels, 0.3, "batch-hard").item()
    assert found == pytest.approx(sum(hard) / 2, abs=1e-6)


@pytest.mark.parametrize("mining", ["semi-hard", "batch-hard"])
def test_people_who_are_apart_by_the_margin_give_no_loss_and_no_gradient(mining):
    rows = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0]], requires_grad=True)
    loss = triplet_loss(rows, torch.tensor([0, 0, 1, 1]), 0.2, mining)
    loss.backward()
    assert loss.item() == 0
    assert not rows.grad.any()


@pytest.mark.parametrize("mining", ["semi-hard", "batch-hard"])
def test_an_image_that_came_twice_leaves_gradients_finite(mining):
    rows, labels = draw_batch(1)
    rows[1] = rows[0]
    rows.requires_grad_()
    triplet_loss(rows, labels, 0.5, mining).backward()
    assert rows.grad.isfinite().all()


def test_half_precision_rows_are_compared_in_float32():
    rows, labels = draw_batch(2)
    half = rows.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = triplet_loss(half, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow_semi_hard(half, labels, 0.2).item(), abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, -1], "labels: row 2 is -1; expected labels of 0 or more; give the loss only the"),
        ([0, 1, 2], "labels: no two rows have one label, or all have it; expected several rows"),
        ([0, 0, 0], "labels: no two rows have one label, or all have it; expected several rows"),
        ([0, 0], r"labels: have the shape \(2,\) for embeddings \(3, 2\); expected \(3,\)"),
        ([0.0, 0.0, 1.0], r"labels: are torch\.float32; expected whole numbers"),
    ],
)
def test_batches_without_a_triplet_are_refused(labels, message):
    with pytest.raises(LossError, match=message):
        triplet_loss(torch.eye(3)[:, :2], torch.tensor(labels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"margin": -0.1}, "margin: is -0.1; expected 0 or more"),
     ({"mining": "hard"}, "mining: is 'hard'; expected semi-hard or batch-hard")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(LossError, match=message):
        triplet_loss(torch.eye(3), torch.tensor([0, 0, 1]), **settings)


def test_embeddings_that_are_no_matrix_are_refused():
    with pytest.raises(LossError, match=r"embeddings: are torch\.float32 of the shape \(3,\)"):
        triplet_loss(torch.ones(3), torch.tensor([0, 0, 1]))


def test_it_takes_a_batch_of_people_by_images_as_the_loader_gives_it():
    labels = mixed_labels(people=8, images=4)
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(32, 16), dim=1).requires_grad_()
    first = triplet_loss(rows, labels).item()
    optimiser = torch.optim.SGD([rows], lr=2.0)
    for _ in range(100):
        optimiser.zero_grad()
        triplet_loss(rows, labels).backward()
        optimiser.step()
    assert triplet_loss(rows, labels).item() < first / 10
