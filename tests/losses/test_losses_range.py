import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pair_batches import draw_batch
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.range import harmonic_range, range_loss


def slow_range(rows, labels, k, margin, alpha, beta):
    x = rows.double()
    people = sorted({int(y) for y in labels})
    mine = {p: [x[i] for i, y in enumerate(labels) if int(y) == p] for p in people}
    spread = 0
    for each in mine.values():
        squared = sorted((((a - b) ** 2).sum() for a, b in itertools.combinations(each, 2)))[-k:]
        if squared:
            spread = spread + len(squared) / sum(1 / d for d in squared)
    means = [sum(each) / len(each) for each in mine.values()]
    nearest = min(((a - b) ** 2).sum() for a, b in itertools.combinations(means, 2))
    return alpha * spread + beta * torch.clamp(margin - nearest, min=0)


@given(seed=st.integers(0, 2**31), k=st.integers(1, 5), margin=st.floats(0.1, 3))
def test_it_equals_the_loops_over_people_and_pairs(seed, k, margin):
    rows, labels = draw_batch(seed)
    ours, theirs = rows.clone().requires_grad_(), rows.double().requires_grad_()
    loss = range_loss(ours, labels, k, margin, 0.7, 0.4)
    slow = slow_range(theirs, labels, k, margin, 0.7, 0.4)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5, abs=1e-6)
    loss.backward()
    slow.backward()
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-4)


def test_gradients_are_those_of_finite_differences():
    rows, labels = draw_batch(3, dtype=torch.float64)
    assert gradcheck(lambda x: range_loss(x, labels, 2, 2.0), (rows.requires_grad_(),))


def test_with_k_1_the_spread_is_the_largest_squared_distance():
    rows = torch.tensor([[0.0], [1.0], [3.0]])
    assert harmonic_range(rows, 1).item() == 9
    assert harmonic_range(rows, 2).item() == pytest.approx(2 / (1 / 9 + 1 / 4))


def test_alpha_0_leaves_the_hinge_between_people_and_beta_0_the_spread():
    rows = torch.tensor([[0.0], [2.0], [1.5]])
    labels = torch.tensor([0, 0, 1])
    assert range_loss(rows, labels, alpha=0.0).item() == pytest.approx(1 - 0.25)
    assert range_loss(rows, labels, beta=0.0).item() == pytest.approx(4)
    assert range_loss(rows, labels, alpha=0.0, margin=0.2).item() == 0


def test_a_person_with_many_images_weighs_as_much_as_one_with_few():
    few = torch.tensor([[0.0], [1.0]])
    many = torch.tensor([[0.0], [1.0], [1.0], [0.0], [1.0]])
    assert harmonic_range(few, 2).item() == harmonic_range(many, 2).item() == 1


def test_people_with_one_image_or_the_same_image_twice_spread_nothing():
    rows = torch.tensor([[0.0, 1.0], [0.0, 1.0], [5.0, 0.0], [9.0, 0.0]], requires_grad=True)
    loss = range_loss(rows, torch.tensor([0, 0, 1, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        ([0, 0, -1], {}, "labels: row 2 is -1; expected labels of 0 or more"),
        ([5, 5, 5], {}, "labels: all rows have one label; expected rows of several people"),
        ([0, 0, 1], {"k": 0}, r"k, margin: are 0, 1\.0; expected 1 or more, above 0"),
        ([0, 0, 1], {"margin": 0.0}, r"k, margin: are 2, 0\.0; expected 1 or more, above 0"),
        ([0, 0, 1], {"alpha": -1.0}, r"alpha: is -1\.0; expected 0 or more"),
        ([0, 0, 1], {"beta": -1.0}, r"beta: is -1\.0; expected 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(labels, settings, message):
    with pytest.raises(LossError, match=message):
        range_loss(torch.eye(3), torch.tensor(labels), **settings)
