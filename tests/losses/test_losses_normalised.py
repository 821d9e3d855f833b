import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.normalised_softmax import (
    L2Softmax,
    NormFace,
    l2_softmax_loss,
    least_alpha,
    least_loss,
    normface_loss,
)


def draw(seed, rows=6, classes=9, dimensions=5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, dimensions, generator=generator, dtype=torch.float64) * 3
    weight = torch.randn(classes, dimensions, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, classes, (rows,), generator=generator)
    return embeddings.to(dtype), labels, weight.to(dtype)


def slow_cross_entropy(logits, labels):
    """log Σ e^z - z_y by its definition, in float64."""
    top = logits.max(dim=1).values
    whole = torch.log(torch.exp(logits - top[:, None]).sum(dim=1)) + top
    return (whole - logits[torch.arange(len(labels)), labels]).mean()


def slow_normface(embeddings, labels, weight, scale):
    x, w = embeddings.double(), weight.double()
    x = x / torch.sqrt((x**2).sum(1, keepdim=True))
    w = w / torch.sqrt((w**2).sum(1, keepdim=True))
    return slow_cross_entropy(scale * x @ w.T, labels)


def slow_l2_softmax(embeddings, labels, weight, bias, alpha):
    x = embeddings.double()
    x = alpha * x / torch.sqrt((x**2).sum(1, keepdim=True))
    return slow_cross_entropy(x @ weight.double().T + bias.double(), labels)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.5, 64))
def test_normface_equals_the_float64_definition(seed, scale):
    embeddings, labels, weight = draw(seed)
    ours = [embeddings.clone().requires_grad_(), weight.clone().requires_grad_()]
    theirs = [embeddings.double().requires_grad_(), weight.double().requires_grad_()]
    loss = normface_loss(ours[0], labels, ours[1], scale)
    slow = slow_normface(theirs[0], labels, theirs[1], scale)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5, abs=1e-5)
    loss.backward()
    slow.backward()
    for mine, wanted in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad.double(), wanted.grad, atol=1e-4)


@given(seed=st.integers(0, 2**31), alpha=st.floats(0.5, 64))
def test_l2_softmax_equals_the_float64_definition(seed, alpha):
    embeddings, labels, weight = draw(seed)
    bias = torch.linspace(-1, 1, 9)
    loss = l2_softmax_loss(embeddings, labels, weight, bias, alpha)
    slow = slow_l2_softmax(embeddings, labels, weight, bias, alpha)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("learned", [normface_loss, l2_softmax_loss])
def test_gradients_are_those_of_finite_differences(learned):
    embeddings, labels, weight = draw(1, dtype=torch.float64)
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)

    def loss(x, w, s):
        if learned is normface_loss:
            return normface_loss(x, labels, w, s)
        return l2_softmax_loss(x, labels, w, alpha=s)

    assert gradcheck(loss, (embeddings.requires_grad_(), weight.requires_grad_(), scale))


def test_unit_rows_without_bias_are_the_same_in_both():
    embeddings, labels, weight = draw(3)
    weight = torch.nn.functional.normalize(weight, dim=1)
    ours = normface_loss(embeddings, labels, weight, 16.0)
    assert ours.item() == pytest.approx(l2_softmax_loss(embeddings, labels, weight).item())


@pytest.mark.parametrize("seed", range(3))
def test_the_length_of_what_is_normalised_does_not_matter(seed):
    embeddings, labels, weight = draw(seed)
    longer = embeddings * torch.linspace(0.1, 9, 6)[:, None]
    wanted = normface_loss(embeddings, labels, weight, 16.0).item()
    assert normface_loss(longer, labels, weight * 5, 16.0).item() == pytest.approx(wanted)
    plain = l2_softmax_loss(embeddings, labels, weight).item()
    assert l2_softmax_loss(longer, labels, weight).item() == pytest.approx(plain)
    assert l2_softmax_loss(longer, labels, weight * 5).item() != pytest.approx(plain)


@pytest.mark.parametrize("scale", [1.0, 4.0, 20.0])
def test_centres_as_far_apart_as_can_be_reach_the_least_loss(scale):
    n = 6
    simplex = torch.eye(n, dtype=torch.float64) - 1 / n  # every cosine is -1 / (n - 1)
    found = normface_loss(simplex, torch.arange(n), simplex, scale).item()
    assert found == pytest.approx(least_loss(n, scale), rel=1e-9)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.5, 30))
def test_no_embeddings_come_below_the_least_loss(seed, scale):
    embeddings, _, _ = draw(seed, rows=9, dtype=torch.float64)
    loss = normface_loss(embeddings, torch.arange(9), embeddings, scale).item()
    assert loss >= least_loss(9, scale) - 1e-12


def test_the_least_length_lets_a_class_reach_its_probability():
    # The face on its own class, one class opposite, the others across it.
    alpha, classes = least_alpha(1000, 0.9), 1000
    logits = torch.tensor([alpha, -alpha] + [0.0] * (classes - 2), dtype=torch.float64)
    assert logits.softmax(0)[0].item() == pytest.approx(0.9, abs=1e-6)


def test_the_scale_of_normface_is_learned_with_the_classes():
    module = NormFace(9, 5)
    embeddings, labels, _ = draw(1)
    assert module.weight.shape == (9, 5)
    wanted = normface_loss(embeddings, labels, module.weight, 30.0)
    assert module(embeddings, labels).item() == pytest.approx(wanted.item())
    module(embeddings, labels).backward()
    assert abs(module.scale.grad.item()) > 0


@pytest.mark.parametrize("learn", [False, True])
def test_the_length_of_l2_softmax_is_learned_when_asked_for(learn):
    module = L2Softmax(9, 5, alpha=20.0, learn_alpha=learn)
    embeddings, labels, _ = draw(1)
    wanted = l2_softmax_loss(embeddings, labels, module.weight, module.bias, 20.0)
    assert module(embeddings, labels).item() == pytest.approx(wanted.item())
    assert [n for n, _ in module.named_parameters()].count("alpha") == learn
    assert "alpha" in module.state_dict()


def test_half_precision_embeddings_are_normalised_in_float32_under_autocast():
    embeddings, labels, weight = draw(4)
    half = embeddings.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = normface_loss(half, labels, weight, 64.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow_normface(half, labels, weight, 64.0).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "weight", "message"),
    [
        ([0, -1], torch.eye(2), "labels: row 1 is -1; expected labels of 0 or more"),
        ([0, 2], torch.eye(2), "labels: 2 is among them; expected 0 to 1"),
        ([0, 1], torch.eye(3), r"classes: have the shape \(3, 3\); expected \(C, 2\)"),
    ],
)
def test_rows_without_a_class_are_refused(labels, weight, message):
    with pytest.raises(LossError, match=message):
        normface_loss(torch.eye(2), torch.tensor(labels), weight, 16.0)
    with pytest.raises(LossError, match=message):
        l2_softmax_loss(torch.eye(2), torch.tensor(labels), weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NormFace(3, 2, scale=0.0), r"scale: is 0\.0; expected a number above 0"),
        (lambda: L2Softmax(3, 2, alpha=math.nan), "alpha: is nan; expected a length above 0"),
        (lambda: least_loss(1, 2.0), "classes: are 1; expected 2 or more"),
        (lambda: least_alpha(2), r"classes, probability: are 2, 0\.9; expected 3 or more"),
        (lambda: least_alpha(9, 1.0), r"classes, probability: are 9, 1\.0; expected 3 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(LossError, match=message):
        make()
