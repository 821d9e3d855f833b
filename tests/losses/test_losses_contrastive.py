import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pair_batches import draw_batch
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.contrastive import contrastive_loss
from fusekit.losses.pairs import find_pairs, pair_distances


def slow_contrastive(rows, labels, margin):
    x, each = rows.double(), []
    for i, j in itertools.combinations(range(len(x)), 2):
        distance = torch.linalg.norm(x[i] - x[j])
        if labels[i] == labels[j]:
            each.append(distance**2 / 2)
        else:
            each.append(torch.clamp(margin - distance, min=0) ** 2 / 2)
    return sum(each) / len(each)


@given(seed=st.integers(0, 2**31), margin=st.floats(0.01, 3))
def test_it_equals_the_loop_over_all_pairs(seed, margin):
    rows, labels = draw_batch(seed)
    ours, theirs = rows.clone().requires_grad_(), rows.double().requires_grad_()
    loss, slow = contrastive_loss(ours, labels, margin), slow_contrastive(theirs, labels, margin)
    assert loss.item() == pytest.approx(slow.item(), abs=1e-6)
    loss.backward()
    slow.backward()
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    rows, labels = draw_batch(3, dtype=torch.float64)
    assert gradcheck(lambda x: contrastive_loss(x, labels), (rows.requires_grad_(),))


def test_strangers_beyond_the_margin_are_let_be():
    rows = torch.tensor([[0.0], [3.0]], requires_grad=True)
    loss = contrastive_loss(rows, torch.tensor([0, 1]), margin=3.0)
    loss.backward()
    assert (loss.item(), rows.grad.abs().sum().item()) == (0, 0)
    assert contrastive_loss(rows, torch.tensor([0, 1]), margin=4.0).item() == 0.5


def test_one_image_twice_and_two_people_on_one_point_leave_gradients_finite():
    rows = torch.zeros(3, 4, requires_grad=True)
    contrastive_loss(rows, torch.tensor([0, 0, 1])).backward()
    assert rows.grad.isfinite().all()


def test_every_pair_is_listed_once():
    left, right, same = find_pairs(torch.tensor([5, 6, 5, 5]))
    found = list(zip(left.tolist(), right.tolist(), same.tolist(), strict=True))
    assert sorted(found) == [
        (0, 1, False), (0, 2, True), (0, 3, True), (1, 2, False), (1, 3, False), (2, 3, True)
    ]  # fmt: skip


def test_near_rows_keep_their_distance_where_the_product_form_loses_it():
    first = torch.nn.functional.normalize(torch.ones(1, 512), dim=1)
    rows = torch.cat([first, first + 1e-5 * torch.linspace(-1, 1, 512)])
    exact = torch.linalg.norm(rows[0].double() - rows[1].double()).item()
    product = (rows @ rows.T)[0, 1]
    lost = (rows.square().sum(1).sum() - 2 * product).clamp_min(0).sqrt().item()
    assert pair_distances(rows)[0, 1].item() == pytest.approx(exact, rel=1e-5)
    assert abs(lost - exact) > exact / 3


def test_unlabeled_rows_are_refused():
    with pytest.raises(LossError, match="labels: row 0 is -1; expected labels of 0 or more; give"):
        contrastive_loss(torch.eye(2), torch.tensor([-1, 0]))


def test_a_single_row_is_refused():
    with pytest.raises(LossError, match="labels: 1 rows make no pair; expected 2 rows or more"):
        contrastive_loss(torch.ones(1, 2), torch.tensor([0]))


def test_a_margin_of_nothing_is_refused():
    with pytest.raises(LossError, match=r"margin: is 0\.0; expected a distance above 0"):
        contrastive_loss(torch.eye(2), torch.tensor([0, 1]), 0.0)
