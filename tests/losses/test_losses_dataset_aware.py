"""The dataset-aware head against masks of all classes in float64, and its limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.head_losses import (
    RANGES,
    check,
    gradients,
    make_batch,
    make_head,
    masked_losses,
    same_dataset,
)
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.losses import DatasetAwareHead

MARGINS = {"softmax": 0.5, "cosine": 0.5, "arcface": 0.5, "cosface": 0.35, "sphereface": 3}


@st.composite
def class_ranges(draw):
    """Ranges in any order, with gaps between some."""
    sizes = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 7)), min_size=1, max_size=5))
    ranges, at = [], 0
    for gap, size in sizes:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    return draw(st.permutations(ranges))


@given(
    class_ranges(), st.integers(1, 12), st.integers(2, 6), st.sampled_from(list(MARGINS)),
    st.sampled_from([1.0, 16.0, 64.0]), st.integers(0, 10**6),
)  # fmt: skip
def test_loss_and_gradients_are_those_of_a_mask_over_all_classes(
    ranges, rows, dimensions, loss, scale, seed
):
    embeddings, weight, labels = make_batch(ranges, rows, dimensions, seed, torch.float64)
    head = make_head(weight, ranges, loss=loss, scale=scale, margin=MARGINS[loss])
    allowed = same_dataset(ranges, labels, len(weight))
    wanted = masked_losses(embeddings, weight, labels, allowed, loss, scale, MARGINS[loss])
    check(head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6)


@pytest.mark.parametrize("loss", MARGINS)
def test_float32_is_as_near_as_float32_can_be(loss):
    embeddings, weight, labels = make_batch(RANGES, 32, 16, 5)
    head = make_head(weight, loss=loss, margin=MARGINS[loss])
    exact = [t.detach().double().requires_grad_() for t in (embeddings, weight)]
    allowed = same_dataset(RANGES, labels, len(weight))
    wanted = masked_losses(*exact, labels, allowed, loss, 64.0, MARGINS[loss])
    check(head, embeddings, labels, wanted, exact, tolerance=1e-4)


@pytest.mark.parametrize("loss", MARGINS)
def test_gradients_are_those_of_differences(loss):
    embeddings, weight, labels = make_batch(RANGES, 5, 3, 1, torch.float64)
    head = make_head(weight, loss=loss, scale=4.0, margin=MARGINS[loss])
    names = {"weight": weight}
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(head, names | {"weight": w}, (x, labels)),
        (embeddings, weight),
    )


def test_one_dataset_is_the_plain_softmax():
    embeddings, weight, labels = make_batch([(0, 9)], 20, 8, 2, torch.float64)
    head = make_head(weight, [(0, 9)], loss="cosine", scale=10.0)
    wanted = F.cross_entropy(10 * F.normalize(embeddings) @ F.normalize(weight).T, labels)
    assert head(embeddings, labels).item() == pytest.approx(wanted.item(), rel=1e-12)
    plain = make_head(weight, [(0, 9)], loss="softmax")
    wanted = F.cross_entropy(embeddings @ weight.T, labels)
    assert plain(embeddings, labels).item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("loss", ["arcface", "cosface"])
def test_no_margin_is_the_softmax_of_cosines_exactly(loss):
    embeddings, weight, labels = make_batch(RANGES, 20, 8, 2)
    found, wanted = (
        make_head(weight, loss=name, margin=0.0) for name in (loss, "cosine")
    )  # fmt: skip
    assert torch.equal(found(embeddings, labels), wanted(embeddings, labels))
    for a, b in zip(
        gradients(found(embeddings, labels), embeddings, found.weight),
        gradients(wanted(embeddings, labels), embeddings, wanted.weight), strict=True,
    ):  # fmt: skip
        assert torch.equal(a, b)


def test_classes_of_other_datasets_have_no_gradient():
    embeddings, weight, _ = make_batch(RANGES, 6, 8, 3)
    head = make_head(weight)
    head(embeddings, torch.tensor([0, 1, 2, 3, 0, 1])).backward()
    assert (head.weight.grad[:4].norm(dim=1) > 0).all()
    assert (head.weight.grad[4:] == 0).all()


def test_a_dataset_of_one_class_costs_nothing():
    embeddings, weight, _ = make_batch(RANGES, 2, 8, 3)
    head = make_head(weight)
    loss = head(embeddings, torch.tensor([4, 4]))
    loss.backward()
    assert loss.item() == 0
    assert (embeddings.grad == 0).all()
    assert (head.weight.grad == 0).all()


def test_the_loss_is_the_mean_over_rows_in_the_batchs_order():
    embeddings, weight, labels = make_batch(RANGES, 30, 8, 4)
    head = make_head(weight)
    losses = head.row_losses(embeddings, labels)
    alone = [head(x[None], y[None]).item() for x, y in zip(embeddings, labels, strict=True)]
    assert losses.tolist() == pytest.approx(alone, rel=1e-5, abs=1e-6)
    assert head(embeddings, labels).item() == pytest.approx(losses.mean().item())


def test_no_rows_have_no_loss():
    head = make_head(torch.randn(11, 4))
    embeddings = torch.zeros(0, 4, requires_grad=True)
    loss = head(embeddings, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("cosine", [-1.0, 1.0])
@pytest.mark.parametrize("loss", MARGINS)
def test_embeddings_on_and_against_their_centre_have_finite_gradients(loss, cosine):
    weight = F.normalize(torch.randn(11, 8, generator=torch.Generator().manual_seed(0)))
    head = make_head(weight, loss=loss, margin=MARGINS[loss])
    labels = torch.arange(11)
    embeddings = (cosine * weight).requires_grad_()
    loss = head(embeddings, labels)
    loss.backward()
    assert loss.isfinite()
    assert embeddings.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()


def test_small_losses_keep_their_digits():
    weight = torch.eye(2).double()
    small = make_head(weight.float(), [(0, 2)], loss="cosine", scale=40.0)
    exact = make_head(weight, [(0, 2)], loss="cosine", scale=40.0)
    found, wanted = (h(h.weight.detach(), torch.tensor([0, 1])) for h in (small, exact))
    assert wanted.item() == pytest.approx(4.248354255e-18, rel=1e-9)  # e^-40
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_autocast_changes_nothing():
    embeddings, weight, labels = make_batch(RANGES, 16, 8, 6)
    head = make_head(weight)
    wanted = head(embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(embeddings, labels)
        from_half = head(embeddings.bfloat16(), labels)
    assert found.dtype == from_half.dtype == torch.float32
    assert torch.equal(found, wanted)
    rounded = head(embeddings.bfloat16().float(), labels)
    assert torch.equal(from_half, rounded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", ["softmax", "arcface"])
def test_a_half_product_is_near_and_the_rest_stays_float32(dtype, loss):
    embeddings, weight, labels = make_batch(RANGES, 16, 32, 7)
    full = make_head(weight, loss=loss, scale=16.0)
    half = make_head(weight, loss=loss, scale=16.0, product_dtype=dtype)
    a, b = full(embeddings, labels), half(embeddings, labels)
    assert b.dtype == torch.float32
    assert b.item() != a.item()
    assert b.item() == pytest.approx(a.item(), rel=0.02)
    for ours, theirs in zip(
        gradients(b, embeddings, half.weight), gradients(a, embeddings, full.weight), strict=True
    ):
        assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_straight_through_has_insightfaces_loss_and_gradients():
    embeddings, weight, labels = make_batch(RANGES, 16, 8, 8, torch.float64)
    plain, parity = (
        make_head(weight, [(0, 11)], margin_gradient=g) for g in ("exact", "straight_through")
    )
    # As arcface_torch: the target is written into the cosines behind autograd's back.
    cosine = F.normalize(embeddings) @ F.normalize(weight).T
    rows = torch.arange(16)
    with torch.no_grad():
        own = cosine[rows, labels]
        turned = own * math.cos(0.5) - (1 - own * own).sqrt() * math.sin(0.5)
        beyond = own - math.sin(math.pi - 0.5) * 0.5
        cosine[rows, labels] = torch.where(own > math.cos(math.pi - 0.5), turned, beyond)
    wanted = F.cross_entropy(64 * cosine, labels)
    theirs = gradients(wanted, embeddings, weight)
    found, exact = parity(embeddings, labels), plain(embeddings, labels)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    assert exact.item() == pytest.approx(wanted.item(), rel=1e-9)
    for ours, those in zip(gradients(found, embeddings, parity.weight), theirs, strict=True):
        torch.testing.assert_close(ours, those, rtol=1e-6, atol=1e-9)
    assert (gradients(exact, embeddings)[0] - theirs[0]).abs().max() > 1e-3


def test_a_frozen_head_or_embedding_is_left_alone():
    embeddings, weight, labels = make_batch(RANGES, 16, 8, 9)
    head = make_head(weight)
    wanted = gradients(head(embeddings, labels), embeddings, head.weight)
    (only,) = gradients(head(embeddings.detach(), labels), head.weight)
    assert torch.equal(only, wanted[1])
    head.weight.requires_grad_(requires_grad=False)
    (only,) = gradients(head(embeddings, labels), embeddings)
    assert torch.equal(only, wanted[0])


def test_the_same_seed_gives_the_same_centres_and_torchs_own_numbers_are_not_touched():
    before = torch.random.get_rng_state()
    a, b, c = (DatasetAwareHead(RANGES, 8, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.std().item() == pytest.approx(0.01, rel=0.3)


def test_the_head_says_what_it_is():
    text = repr(DatasetAwareHead(RANGES, 8, crossing_p=0.25))
    assert "classes=11, datasets=3, embedding_dim=8" in text
    assert "loss='arcface', scale=64.0, margin=0.5" in text
    assert "p=0.25" in text
