import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.angular_softmax import ASoftmax, a_softmax_loss, ease


def draw(seed, rows=6, classes=9, dimensions=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, dimensions, generator=generator, dtype=torch.float64) * 3
    weight = torch.randn(classes, dimensions, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, classes, (rows,), generator=generator)
    return embeddings.to(dtype), labels, weight.to(dtype)


def psi(theta, m):
    """The paper's equation 7, by the angle."""
    k = min(int(m * theta / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def slow_a_softmax(embeddings, labels, weight, m, easing):
    """A row at a time by angles; its value alone."""
    x, w, each = embeddings.double(), weight.double(), []
    for row, label in zip(x, labels.tolist(), strict=True):
        length = float(row.norm())
        cosines = [float(row @ c) / length / float(c.norm()) for c in w]
        own = cosines[label]
        theta = math.acos(max(-1.0, min(1.0, own)))
        cosines[label] = (easing * own + psi(theta, m)) / (1 + easing)
        logits = [length * c for c in cosines]
        top = max(logits)
        each.append(top + math.log(sum(math.exp(z - top) for z in logits)) - logits[label])
    return sum(each) / len(each)


@given(seed=st.integers(0, 2**31), m=st.integers(1, 5), easing=st.sampled_from([0.0, 5.0, 1000.0]))
def test_it_equals_the_paper_by_angles(seed, m, easing):
    embeddings, labels, weight = draw(seed)
    found = a_softmax_loss(embeddings, labels, weight, m, easing).item()
    wanted = slow_a_softmax(embeddings, labels, weight, m, easing)
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("easing", [0.0, 5.0])
def test_gradients_are_those_of_finite_differences(easing):
    embeddings, labels, weight = draw(1, dtype=torch.float64)
    assert gradcheck(
        lambda x, w: a_softmax_loss(x, labels, w, 4, easing),
        (embeddings.requires_grad_(), weight.requires_grad_()),
    )


@given(st.integers(0, 2**31))
def test_margin_1_is_a_softmax_of_lengths_and_cosines_exactly(seed):
    embeddings, labels, weight = draw(seed, dtype=torch.float64)
    unit = torch.nn.functional.normalize(weight, dim=1)
    plain = torch.nn.functional.cross_entropy(embeddings @ unit.T, labels)
    assert a_softmax_loss(embeddings, labels, weight, 1).item() == pytest.approx(plain.item())


def test_a_large_easing_is_margin_1():
    embeddings, labels, weight = draw(2, dtype=torch.float64)
    eased = a_softmax_loss(embeddings, labels, weight, 4, 1e9).item()
    assert eased == pytest.approx(a_softmax_loss(embeddings, labels, weight, 1).item(), rel=1e-6)


@pytest.mark.parametrize("degrees", [0, 45, 90, 135, 180])
def test_gradients_are_finite_at_and_between_the_joints_of_the_extension(degrees):
    angle = torch.tensor(math.radians(degrees))
    rows = torch.stack([angle.cos(), angle.sin()])[None].requires_grad_()
    a_softmax_loss(rows, torch.tensor([0]), torch.eye(2)).backward()
    assert rows.grad.isfinite().all()


def test_a_wider_angle_never_has_a_smaller_loss():
    angles = torch.linspace(0, math.pi, 500, dtype=torch.float64)
    rows = torch.stack([angles.cos(), angles.sin(), 0 * angles], dim=1) * 5
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    losses = [a_softmax_loss(row[None], torch.tensor([0]), weight).item() for row in rows]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(losses))


def test_easing_falls_from_1000_to_5_as_in_the_released_files():
    assert [ease(0), ease(1), ease(10**6)] == [1000, 1000 / 1.12, 5]
    values = [ease(step) for step in range(0, 5000, 50)]
    assert values == sorted(values, reverse=True)
    assert ease(4, start=2.0, decay=0.5, power=2.0, least=0.0) == 2 / 9


def test_the_module_eases_by_the_step_it_is_given():
    module = ASoftmax(9, 4)
    embeddings, labels, _ = draw(1)
    for step in (0, 400, 10**6):
        wanted = a_softmax_loss(embeddings, labels, module.weight, 4, ease(step))
        assert torch.equal(module(embeddings, labels, step), wanted)
    assert list(module.state_dict()) == ["weight"]


def test_half_precision_embeddings_are_computed_in_float32_under_autocast():
    embeddings, labels, weight = draw(4)
    half = embeddings.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = a_softmax_loss(half, labels, weight)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow_a_softmax(half, labels, weight, 4, 0.0), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y, w: a_softmax_loss(x, y, w, 0), "margin: is 0; expected a whole number"),
        (lambda x, y, w: a_softmax_loss(x, y, w, 1.5), r"margin: is 1\.5; expected a whole number"),
        (lambda x, y, w: a_softmax_loss(x, y, w, 4, -1.0), r"easing: is -1\.0; expected 0 or more"),
        (lambda x, y, w: a_softmax_loss(x, y - 5, w), "labels: row 0 is -5; expected labels of 0"),
        (lambda x, y, w: a_softmax_loss(x, y + 2, w), "labels: 3 is among them; expected 0 to 1"),
        (lambda x, y, w: ease(-1), "step: is -1; expected 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(LossError, match=message):
        call(torch.eye(2), torch.tensor([0, 1]), torch.eye(2))
