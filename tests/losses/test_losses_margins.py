"""Margins: values of slow angles, finite gradients everywhere, and no margin is no change."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.head_losses import slow_target

from fusekit.errors import LossError
from fusekit.losses.margins import (
    arcface_target,
    check_margin,
    cosface_target,
    sine,
    sphereface_target,
    straight_through,
    target_cosine,
)

COSINES = st.floats(-1, 1)
ARC = st.floats(0, 3.1)
ENDS = torch.tensor([-1, -1 + 6e-8, -0.9999, 0, 0.9999, 1 - 6e-8, 1, 1.0000001, -1.0000001])
FORMS = [
    ("softmax", 0.5), ("cosine", 0.5), ("arcface", 0.0), ("arcface", 0.5), ("arcface", 3.0),
    ("cosface", 0.35), ("sphereface", 1), ("sphereface", 2), ("sphereface", 4),
]  # fmt: skip


@given(COSINES, ARC, st.sampled_from(["insightface", "continuous"]))
def test_arcface_turns_the_angle(cosine, margin, beyond_pi):
    found = arcface_target(torch.tensor(cosine, dtype=torch.float64), margin, beyond_pi)
    if abs(math.acos(cosine) + margin - math.pi) > 1e-6:  # where it jumps
        # The sine is at least sqrt(1e-9).
        assert found.item() == pytest.approx(
            slow_target(cosine, "arcface", margin, beyond_pi), abs=4e-5
        )


@given(COSINES, st.floats(0, 1))
def test_cosface_lowers_the_cosine(cosine, margin):
    found = cosface_target(torch.tensor(cosine, dtype=torch.float64), margin)
    assert found.item() == slow_target(cosine, "cosface", margin)


@given(COSINES, st.integers(1, 6))
def test_sphereface_multiplies_the_angle(cosine, margin):
    found = sphereface_target(torch.tensor(cosine, dtype=torch.float64), margin)
    assert found.item() == pytest.approx(slow_target(cosine, "sphereface", margin), abs=1e-9)


@pytest.mark.parametrize(("loss", "margin"), FORMS)
@pytest.mark.parametrize("beyond_pi", ["insightface", "continuous"])
def test_every_cosine_has_a_finite_value_and_gradient(loss, margin, beyond_pi):
    cosine = torch.cat([ENDS, torch.linspace(-1, 1, 2001)]).requires_grad_()
    target = target_cosine(cosine, loss, margin, beyond_pi=beyond_pi)
    target.sum().backward()
    assert target.isfinite().all()
    assert cosine.grad.isfinite().all()


@pytest.mark.parametrize(("loss", "margin"), FORMS)
def test_gradients_are_those_of_differences(loss, margin):
    cosine = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: target_cosine(c, loss, margin), (cosine,))
    continuous = {"beyond_pi": "continuous"}
    assert torch.autograd.gradcheck(
        lambda c: target_cosine(c, loss, margin, **continuous), (cosine,)
    )


@pytest.mark.parametrize(
    ("loss", "margin"), [("arcface", 0.0), ("cosface", 0.0), ("sphereface", 1)]
)
def test_no_margin_is_the_cosine_exactly(loss, margin):
    cosine = torch.cat([ENDS[:-2], torch.linspace(-1, 1, 2001)]).requires_grad_()
    target = target_cosine(cosine, loss, margin)
    target.sum().backward()
    assert torch.equal(target, cosine)
    assert torch.equal(cosine.grad, torch.ones_like(cosine))


def test_the_sine_has_a_floor():
    assert sine(torch.tensor([1.0, -1.0, 1.1])).tolist() == pytest.approx([1e-9**0.5] * 3)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.5])
def test_beyond_pi_insightface_jumps_and_the_other_form_does_not(margin):
    edge = -math.cos(margin)
    around = torch.tensor([edge - 1e-9, edge + 1e-9], dtype=torch.float64)
    below, above = arcface_target(around, margin).tolist()
    assert above - below == pytest.approx(
        math.cos(margin) + margin * math.sin(margin) - 1, abs=1e-6
    )
    below, above = arcface_target(around, margin, "continuous").tolist()
    assert above - below == pytest.approx(0, abs=1e-6)
    # Both fall with the angle all the way.
    whole = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    for form in ("insightface", "continuous"):
        assert (arcface_target(whole, margin, form).diff() > -1e-4).all()


def test_straight_through_keeps_the_value_and_takes_the_cosines_gradient():
    cosine = torch.linspace(-1, 1, 101, dtype=torch.float64).requires_grad_()
    target = arcface_target(cosine, 0.5)
    found = straight_through(target, cosine)
    torch.testing.assert_close(found, target, rtol=0, atol=1e-15)
    found.sum().backward()
    assert torch.equal(cosine.grad, torch.ones_like(cosine))
    again = target_cosine(cosine, "arcface", 0.5, gradient="straight_through")
    assert torch.equal(again, found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("arc", 0.5, 64, "insightface", "exact"), "loss: is 'arc'; expected softmax, cosine"),
        (("arcface", 0.5, 0, "insightface", "exact"), "scale: is 0; expected a number above 0"),
        (("arcface", 4, 64, "insightface", "exact"), "margin: is 4 with arcface; expected radians"),
        (("arcface", -0.1, 64, "insightface", "exact"), "margin: is -0.1 with arcface"),
        (("cosface", -1, 64, "insightface", "exact"), "margin: is -1 with cosface; expected 0 or"),
        (("sphereface", 0.5, 64, "insightface", "exact"), "a whole number of 1 or more; the paper"),
        (("arcface", 0.5, 64, "easy", "exact"), "beyond_pi: is 'easy'; expected insightface, cont"),
        (("arcface", 0.5, 64, "continuous", "no"), "margin_gradient: is 'no'; expected exact, str"),
    ],
)
def test_what_a_margin_cannot_be_is_refused(arguments, message):
    with pytest.raises(LossError, match=message):
        check_margin(*arguments)
