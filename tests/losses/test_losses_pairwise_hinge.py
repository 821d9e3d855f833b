import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pair_batches import draw_batch
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.pairwise_hinge import pairwise_hinge_loss


def dlib_metric(rows, labels, threshold, margin):
    """dlib's loss_metric_ as its loops go, both directions of a pair: value and gradient."""
    x = rows.double()
    count = len(x)
    distance = [[float(torch.linalg.norm(x[r] - x[c])) for c in range(count)] for r in range(count)]
    pairs = [(r, c) for r in range(count) for c in range(r + 1, count)]
    same = [(r, c) for r, c in pairs if labels[r] == labels[c]]
    others = sorted(distance[r][c] for r, c in pairs if labels[r] != labels[c])
    worst = others[min(len(same), len(others)) - 1]
    scale = 0.5 / len(same)
    value, gradient = 0.0, torch.zeros_like(x)
    for r in range(count):
        for c in range(count):
            d = distance[r][c]
            if r == c:
                continue
            if labels[r] == labels[c]:
                if d >= threshold - margin:
                    value += scale * (d - (threshold - margin))
                    gradient[r] += scale * (x[r] - x[c]) / d
            elif d <= threshold + margin and d <= worst:
                value += scale * ((threshold + margin) - d)
                gradient[r] -= scale * (x[r] - x[c]) / max(d, 0.001)
    return value, gradient


@given(
    seed=st.integers(0, 2**31), threshold=st.floats(0.2, 1.5), share=st.floats(0.01, 0.9),
    spread=st.floats(0.2, 3),
)  # fmt: skip
def test_it_has_dlibs_gradient_and_half_of_what_dlib_prints(seed, threshold, share, spread):
    rows, labels = draw_batch(seed, torch.float64)
    rows = (rows * spread).requires_grad_()
    loss = pairwise_hinge_loss(rows, labels, threshold, threshold * share)
    loss.backward()
    value, gradient = dlib_metric(rows.detach(), labels, threshold, threshold * share)
    assert loss.item() == pytest.approx(value / 2, abs=1e-9)
    assert torch.allclose(rows.grad, gradient, atol=1e-9)


def test_in_float32_it_is_near_the_float64_value():
    rows, labels = draw_batch(8)
    value, gradient = dlib_metric(rows, labels, 0.6, 0.04)
    rows.requires_grad_()
    loss = pairwise_hinge_loss(rows, labels)
    loss.backward()
    assert loss.item() == pytest.approx(value / 2, rel=1e-5)
    assert torch.allclose(rows.grad.double(), gradient, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    rows, labels = draw_batch(3, dtype=torch.float64)
    assert gradcheck(lambda x: pairwise_hinge_loss(x, labels), (rows.requires_grad_(),))


def test_only_as_many_different_pairs_count_as_there_are_same_ones():
    # One pair of one person; strangers at 0.1, 0.2 and 0.3 beside it, all inside the threshold.
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.1, 0.0], [0.2, 5.0], [0.2, 5.2]])
    labels = torch.tensor([0, 0, 1, 2, 3])
    pull, push = max(0, 0.5 - 0.56), 0.64 - 0.1  # of pairs (0, 1), and of (0, 2): the nearest
    assert pairwise_hinge_loss(rows, labels).item() == pytest.approx(0.5 * (pull + push), abs=1e-6)


def test_with_fewer_different_pairs_than_same_ones_all_of_them_count():
    rows = torch.tensor([[0.0], [1.0], [2.0], [2.5]])
    labels = torch.tensor([0, 0, 0, 1])
    pulls = [1 - 0.56, 1 - 0.56, 2 - 0.56]
    pushes = [0.64 - 0.5]  # the pair at 0.5; those at 1.5 and 2.5 are beyond 0.64
    found = pairwise_hinge_loss(rows, labels).item()
    assert found == pytest.approx(0.5 / 3 * (sum(pulls) + sum(pushes)), abs=1e-6)


def test_people_in_balls_of_their_own_give_no_loss():
    rows = torch.tensor([[0.0], [0.5], [2.0], [2.5]], requires_grad=True)
    loss = pairwise_hinge_loss(rows, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert (loss.item(), rows.grad.abs().sum().item()) == (0, 0)


@pytest.mark.parametrize(("apart", "slope"), [(0.0, 0.0), (0.0005, 0.5), (0.001, 1.0), (0.1, 1.0)])
def test_two_people_almost_on_one_point_are_pushed_as_dlib_does(apart, slope):
    rows = torch.tensor([[0.0], [0.0], [apart]], dtype=torch.float64, requires_grad=True)
    pairwise_hinge_loss(rows, torch.tensor([0, 0, 1])).backward()
    # One pair of one person: scale 0.5; the ties at this distance are two, both count.
    assert rows.grad[2].item() == pytest.approx(-0.5 * slope * 2, abs=1e-9)


def test_points_of_a_normal_cloud_become_balls():
    torch.manual_seed(0)
    labels = torch.arange(6).repeat_interleave(4)
    rows = torch.randn(24, 8).requires_grad_()
    optimiser = torch.optim.Adam([rows], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        pairwise_hinge_loss(rows, labels).backward()
        optimiser.step()
    distances = torch.cdist(rows.detach(), rows.detach())
    same = labels[:, None] == labels[None, :]
    assert distances[same].max() < 0.6 < distances[~same].min()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, -1], "labels: row 2 is -1; expected labels of 0 or more"),
        ([0, 1, 2], "labels: no pair of rows has one label; expected several rows of several"),
        ([4, 4, 4], "labels: no pair of rows has two labels; expected several rows of several"),
    ],
)
def test_batches_without_both_kinds_of_pair_are_refused(labels, message):
    with pytest.raises(LossError, match=message):
        pairwise_hinge_loss(torch.eye(3), torch.tensor(labels))


@pytest.mark.parametrize(("threshold", "margin"), [(0.6, 0.0), (0.6, 0.6), (math.nan, 0.1)])
def test_a_margin_outside_the_threshold_is_refused(threshold, margin):
    with pytest.raises(LossError, match=r"threshold, margin: are .*; expected a margin above 0"):
        pairwise_hinge_loss(torch.eye(3), torch.tensor([0, 0, 1]), threshold, margin)
