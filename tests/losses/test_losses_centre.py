import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pair_batches import draw_batch
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.centre import CentreLoss, centre_loss, move_centres


def draw_centres(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(12, 5, generator=generator, dtype=torch.float64).to(dtype)


def slow_centre(rows, labels, centres):
    x, c = rows.double(), centres.double()
    each = [((x[i] - c[int(y)]) ** 2).sum() / 2 for i, y in enumerate(labels)]
    return sum(each) / len(each)


def slow_move(centres, rows, labels, alpha):
    """Equation 4, a class at a time."""
    moved = centres.double().clone()
    for j in range(len(centres)):
        mine = [i for i, y in enumerate(labels) if int(y) == j]
        pull = sum((centres[j].double() - rows[i].double() for i in mine), torch.zeros(5).double())
        moved[j] -= alpha * pull / (1 + len(mine))
    return moved


@given(seed=st.integers(0, 2**31))
def test_it_equals_the_loop_over_rows(seed):
    rows, labels = draw_batch(seed)
    centres = draw_centres(seed)
    ours, theirs = rows.clone().requires_grad_(), rows.double().requires_grad_()
    loss, slow = centre_loss(ours, labels, centres), slow_centre(theirs, labels, centres)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    loss.backward()
    slow.backward()
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-6)


@given(seed=st.integers(0, 2**31), alpha=st.floats(0, 1))
def test_centres_move_as_equation_4_says(seed, alpha):
    rows, labels = draw_batch(seed)
    centres = draw_centres(seed)
    moved = move_centres(centres, rows, labels, alpha)
    assert torch.allclose(moved.double(), slow_move(centres, rows, labels, alpha), atol=1e-6)
    absent = [j for j in range(12) if j not in labels.tolist()]
    assert torch.equal(moved[absent], centres[absent])


def test_gradients_are_those_of_finite_differences():
    rows, labels = draw_batch(3, dtype=torch.float64)
    centres = draw_centres(3, torch.float64)
    assert gradcheck(lambda x: centre_loss(x, labels, centres), (rows.requires_grad_(),))


def test_alpha_0_keeps_the_centres_exactly():
    rows, labels = draw_batch(0)
    centres = draw_centres(0)
    assert torch.equal(move_centres(centres, rows, labels, 0.0), centres)


def test_the_module_gives_the_loss_by_the_centres_before_they_move():
    module = CentreLoss(classes=12, embedding_dim=5, alpha=0.5)
    rows, labels = draw_batch(5)
    rows.requires_grad_()
    assert list(module.parameters()) == []
    loss = module(rows, labels)
    assert loss.item() == pytest.approx(rows.detach().square().sum(1).mean().item() / 2, rel=1e-6)
    assert torch.equal(module.centres, move_centres(torch.zeros(12, 5), rows, labels, 0.5))
    loss.backward()  # what the loss saved is not what moved
    assert torch.allclose(rows.grad, rows.detach() / len(rows))


def test_centres_stay_in_evaluation_and_are_saved_with_the_module():
    module = CentreLoss(12, 5)
    rows, labels = draw_batch(5)
    module(rows, labels)
    again = CentreLoss(12, 5)
    again.load_state_dict(module.state_dict())
    again.eval()
    again(rows, labels)
    assert torch.equal(again.centres, module.centres)


def test_centres_reach_the_means_when_faces_stay():
    module = CentreLoss(12, 5)
    rows, labels = draw_batch(5)
    for _ in range(200):
        module(rows, labels)
    assert torch.allclose(module.centres[9], rows[labels == 9].mean(0), atol=1e-5)


def test_half_precision_faces_move_float32_centres():
    module = CentreLoss(12, 5)
    rows, labels = draw_batch(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(rows.to(torch.bfloat16), labels)
    assert (loss.dtype, module.centres.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(
    ("labels", "centres", "message"),
    [
        ([0, -1], torch.zeros(3, 2), "labels: row 1 is -1; expected labels of 0 or more"),
        ([0, 3], torch.zeros(3, 2), "labels: 3 is among them; expected 0 to 2"),
        ([0, 1], torch.zeros(3, 4), r"classes: have the shape \(3, 4\); expected \(C, 2\)"),
    ],
)
def test_rows_without_a_centre_are_refused(labels, centres, message):
    with pytest.raises(LossError, match=message):
        centre_loss(torch.eye(2), torch.tensor(labels), centres)


def test_no_rows_are_refused():
    with pytest.raises(LossError, match="labels: are none; expected 1 row or more"):
        centre_loss(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(3, 2))


def test_an_alpha_beyond_1_is_refused():
    with pytest.raises(LossError, match=r"alpha: is 1\.5; expected 0 to 1"):
        move_centres(torch.zeros(3, 2), torch.eye(2), torch.tensor([0, 1]), 1.5)
