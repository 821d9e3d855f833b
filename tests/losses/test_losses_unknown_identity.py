import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses import DatasetAwareHead
from fusekit.losses.unknown_identity import (
    cosine_logits,
    doubly_normalised,
    log_normalised,
    uir_loss,
)

SCALE = 64.0  # the paper's s


def draw_logits(rows, classes, seed, spread=0.15, dtype=torch.float32):
    """Logits as a head with unit rows gives them for strangers: s · cos θ around 0."""
    generator = torch.Generator().manual_seed(seed)
    cosines = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * spread
    return (SCALE * cosines.clamp(-1, 1)).to(dtype)


def with_activation(activation, classes, dtype=torch.float32):
    """One row whose first class is activated so much, the others equally."""
    odds = activation / (1 - activation) * (classes - 1)
    logits = torch.zeros(1, classes, dtype=dtype)
    logits[0, 0] = math.log(odds)
    return logits


def gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    loss(logits).backward()
    return logits.grad


def plain_double(logits):
    """The second softmax as written: a sum over classes, less n log n."""
    z = logits.double()
    p = torch.exp(z - z.max(dim=1, keepdim=True).values)
    p = p / p.sum(dim=1, keepdim=True)
    q = torch.exp(p) / torch.exp(p).sum(dim=1, keepdim=True)
    n = logits.shape[1]
    return (-torch.log(q).sum(dim=1) - n * math.log(n)).mean()


def plain_log(logits):
    z = logits.double()
    return (torch.log(torch.exp(z - z.max()).sum(dim=1)) + z.max() - z.mean(dim=1)).mean()


PLAIN = {"double": plain_double, "log": plain_log}


@pytest.mark.parametrize("form", ["double", "log"])
@given(
    rows=st.integers(1, 5),
    classes=st.integers(1, 300),
    spread=st.floats(0, 0.5),
    seed=st.integers(0, 2**31),
)
def test_both_forms_equal_their_plain_float64_form(form, rows, classes, spread, seed):
    logits = draw_logits(rows, classes, seed, spread)
    assert float(uir_loss(logits, form)) == pytest.approx(
        float(PLAIN[form](logits)), rel=1e-5, abs=2e-6
    )
    found = gradient(lambda z: uir_loss(z, form), logits)
    wanted = gradient(PLAIN[form], logits.double())
    assert found.isfinite().all()
    assert torch.allclose(found.double(), wanted, atol=5e-7, rtol=1e-4)


@pytest.mark.parametrize("form", ["double", "log"])
@pytest.mark.parametrize("scope", ["all", "dataset"])
def test_gradients_are_those_of_finite_differences(form, scope):
    logits = draw_logits(3, 11, 5, 0.03, torch.float64).requires_grad_()
    ranges = [(0, 4), (4, 11)] if scope == "dataset" else None
    assert gradcheck(lambda z: uir_loss(z, form, scope, ranges), (logits,))


@pytest.mark.parametrize("classes", [900, 9_000, 90_000])
@pytest.mark.parametrize(("form", "norm"), [("double", 0.16), ("log", 0.50)])
def test_a_rows_gradient_does_not_depend_on_the_number_of_classes(classes, form, norm):
    # Half of the activation on one class is what the paper's table 9 has for strangers.
    found = gradient(lambda z: uir_loss(z, form), with_activation(0.5, classes))
    assert float(found.norm()) == pytest.approx(norm, abs=0.005)


def test_the_other_two_pairings_of_form_and_sum_would_depend_on_it():
    n = 90_000
    logits = with_activation(0.5, n)
    summed = gradient(lambda z: n * uir_loss(z, "log"), logits).norm()
    averaged = gradient(lambda z: uir_loss(z, "double") / n, logits).norm()
    assert float(summed) == pytest.approx(45_100, rel=0.01)
    assert float(averaged) == pytest.approx(2e-6, abs=3e-7)


def test_the_plain_double_form_loses_the_loss_in_float32():
    logits = torch.cat([with_activation(a, 90_000) for a in (0.1, 0.2, 0.3)])
    exact = [float(plain_double(row[None])) for row in logits]
    constant = 90_000 * math.log(90_000)
    assert exact == pytest.approx([0.0052, 0.0214, 0.0498], abs=1e-4)
    plain = [float(-row.softmax(0).log_softmax(0).sum() - constant) for row in logits]
    assert max(abs(a - b) for a, b in zip(plain, exact, strict=True)) > 0.01
    ours = [float(uir_loss(row[None])) for row in logits]
    assert ours == pytest.approx(exact, rel=3e-4)


@pytest.mark.parametrize("n", [1, 2, 10, 90_000])
def test_equal_activations_are_the_least_value(n):
    equal = torch.zeros(3, n)
    assert float(uir_loss(equal, "double")) == pytest.approx(0, abs=1e-6)
    assert float(uir_loss(equal, "log")) == pytest.approx(math.log(n), abs=1e-5)
    assert float(gradient(uir_loss, equal).abs().max()) < 1e-7


@given(st.integers(2, 2000), st.integers(0, 2**31))
def test_double_stays_below_e_minus_2_and_log_above_log_n(n, seed):
    logits = draw_logits(4, n, seed, spread=1.0)
    double = doubly_normalised(logits)
    # n log(1 + (e - 1)/n) - 1 for one class alone; e - 2 is its limit for many classes.
    assert bool(((double >= -1e-6) & (double < math.e - 2)).all())
    assert bool((log_normalised(logits) >= math.log(n) - 1e-5).all())


def test_double_spares_a_known_face_and_log_tears_it_away():
    def force(form, activation):
        row = with_activation(activation, 1000)
        return float(gradient(lambda z: uir_loss(z, form), row)[0, 0])

    assert force("double", 0.999) < force("double", 0.6) / 50
    assert force("log", 0.999) > force("log", 0.6) > force("double", 0.6) > 0
    # What double pushes at is a stranger whom one class takes for its own, most at 0.7.
    assert max((force("double", a / 10), a) for a in range(1, 10))[1] == 7


def test_one_pass_trains_head_and_backbone_and_unlabeled_faces_push_centres_away():
    torch.manual_seed(0)
    head = DatasetAwareHead([(0, 3), (3, 5)], embedding_dim=8)
    backbone = torch.nn.Linear(6, 8)
    images, labels = torch.randn(8, 6), torch.tensor([0, 1, 2, 3, 4, 0])
    with torch.no_grad():  # a stranger whom class 3 takes for its own
        head.weight[3] = backbone(images[6])
    embeddings = backbone(images)  # labeled and unlabeled in one pass
    logits = cosine_logits(embeddings[6:], head.weight, scale=8.0)
    assert torch.equal(logits[0].argmax(), torch.tensor(3))
    supervised = head(embeddings[:6], labels)
    uir = uir_loss(logits)
    (supervised + 0.1 * uir).backward(retain_graph=True)
    assert all(p.grad.any() for p in (*backbone.parameters(), head.weight))
    (away,) = torch.autograd.grad(uir, head.weight)
    moved = cosine_logits(embeddings[6:], head.weight - 0.01 * away, scale=8.0)
    assert moved[0, 3].item() < logits[0, 3].item()


def test_logits_are_cosines_in_float32_also_under_autocast():
    torch.manual_seed(0)
    embeddings, weight = 5 * torch.randn(3, 8), torch.randn(4, 8)
    wanted = 64 * torch.cosine_similarity(embeddings[:, None], weight[None], dim=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosine_logits(embeddings, weight)
    assert found.dtype == torch.float32
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("embeddings", "scale", "message"),
    [
        (torch.ones(2, 3), 64.0, r"have the shapes \(2, 3\), \(4, 8\); expected \(rows, D\) and"),
        (torch.ones(2, 8), 0.0, r"scale: is 0\.0; expected a number above 0"),
    ],
)
def test_logits_of_what_does_not_fit_are_refused(embeddings, scale, message):
    with pytest.raises(LossError, match=message):
        cosine_logits(embeddings, torch.ones(4, 8), scale)


@pytest.mark.parametrize("form", ["double", "log"])
def test_a_softmax_per_dataset_is_the_mean_of_the_datasets_losses(form):
    logits = draw_logits(4, 30, 1)
    ranges = torch.tensor([[0, 10], [10, 12], [12, 30]])
    parts = [logits[:, a:b] for a, b in ranges.tolist()]
    wanted = sum(float(PLAIN[form](part)) for part in parts) / 3
    assert float(uir_loss(logits, form, "dataset", ranges)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("form", ["double", "log"])
def test_one_dataset_is_all_classes_exactly(form):
    logits = draw_logits(4, 30, 1)
    assert torch.equal(uir_loss(logits, form, "dataset", [(0, 30)]), uir_loss(logits, form))


def test_a_batch_without_unlabeled_rows_adds_nothing():
    none = torch.zeros(0, 7, requires_grad=True)
    loss = uir_loss(none)
    loss.backward()
    assert loss.item() == 0
    assert none.grad.shape == (0, 7)


def test_half_precision_logits_are_computed_in_float32_also_under_autocast():
    logits = draw_logits(3, 4000, 2).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = uir_loss(logits)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain_double(logits).item(), abs=2e-6)
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "both"}, "form: is 'both'; expected double or log"),
        ({"scope": "one"}, "scope: is 'one'; expected all or dataset"),
        ({"scope": "dataset"}, "class_ranges: are missing; expected a range of classes for each"),
        ({"scope": "dataset", "class_ranges": [(0, 9)]}, r"\[0, 9\) is no range of 8 classes"),
        ({"scope": "dataset", "class_ranges": [(2, 2)]}, r"\[2, 2\) is no range of 8 classes"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(LossError, match=message):
        uir_loss(torch.zeros(2, 8), **settings)


@pytest.mark.parametrize(
    "logits", [torch.zeros(3), torch.zeros(2, 0), torch.zeros(2, 3, dtype=torch.int64)]
)
def test_logits_that_are_no_matrix_of_numbers_are_refused(logits):
    with pytest.raises(LossError, match=r"logits: are torch\..* of the shape"):
        uir_loss(logits)
