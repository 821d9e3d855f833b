import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.distillation import (
    EmbeddingDistillation,
    embedding_distillation_loss,
    relational_angle_loss,
    relational_distance_loss,
    relational_distillation_loss,
)

RELATIONAL = [relational_distance_loss, relational_angle_loss]


def draw(seed, rows=6, student=4, teacher=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    small = torch.randn(rows, student, generator=generator, dtype=torch.float64) * 2
    large = torch.randn(rows, teacher, generator=generator, dtype=torch.float64)
    return small.to(dtype), large.to(dtype)


def huber(a, b):
    difference = abs(a - b)
    return difference**2 / 2 if difference <= 1 else difference - 0.5


def slow_distance(student, teacher):
    def potentials(x):
        d = [torch.linalg.norm(a - b) for a, b in itertools.combinations(x.double(), 2)]
        return [each / (sum(d) / len(d)) for each in d]

    pairs = list(zip(potentials(student), potentials(teacher), strict=True))
    return sum(huber(s, t) for s, t in pairs) / len(pairs)


def slow_angle(student, teacher):
    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        lengths = torch.linalg.norm(a) * torch.linalg.norm(b)
        return (a @ b) / lengths if lengths > 0 else torch.zeros(())  # no angle, as documented

    s, t = student.double(), teacher.double()
    corners = list(itertools.permutations(range(len(s)), 3))
    return sum(huber(cosine(s, *c), cosine(t, *c)) for c in corners) / len(corners)


SLOW = {relational_distance_loss: slow_distance, relational_angle_loss: slow_angle}


@pytest.mark.parametrize("loss", RELATIONAL)
@given(seed=st.integers(0, 2**31), rows=st.integers(3, 7))
def test_relations_equal_the_loops_over_pairs_and_triangles(loss, seed, rows):
    student, teacher = draw(seed, rows)
    ours, theirs = student.clone().requires_grad_(), student.double().requires_grad_()
    found, slow = loss(ours, teacher), SLOW[loss](theirs, teacher)
    assert found.item() == pytest.approx(slow.item(), rel=1e-4, abs=1e-6)
    found.backward()
    slow.backward()
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-4)


@given(seed=st.integers(0, 2**31))
def test_embeddings_equal_two_less_two_cosines(seed):
    student, teacher = draw(seed, student=5, teacher=5)
    s, t = student.double(), teacher.double()
    cosine = (s * t).sum(1) / torch.sqrt((s**2).sum(1) * (t**2).sum(1))
    found = embedding_distillation_loss(student, teacher).item()
    assert found == pytest.approx((2 - 2 * cosine).mean().item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    "loss", [embedding_distillation_loss, relational_distillation_loss, *RELATIONAL]
)
def test_gradients_are_those_of_finite_differences_and_the_teacher_gets_none(loss):
    student, teacher = draw(1, student=4, teacher=4, dtype=torch.float64)
    assert gradcheck(lambda s: loss(s, teacher), (student.requires_grad_(),))
    teacher.requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("loss", RELATIONAL)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 50))
def test_a_teacher_that_is_turned_moved_and_scaled_teaches_the_same(loss, seed, scale):
    _, teacher = draw(seed, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    turned = scale * teacher @ torch.linalg.qr(noise).Q + 3
    assert loss(turned, teacher).item() < 1e-20


def test_the_weights_weigh_distances_and_angles():
    student, teacher = draw(2)
    distance = relational_distance_loss(student, teacher).item()
    angle = relational_angle_loss(student, teacher).item()
    found = relational_distillation_loss(student, teacher).item()
    assert found == pytest.approx(distance + 2 * angle)
    found = relational_distillation_loss(student, teacher, 25.0, 50.0).item()
    assert found == pytest.approx(25 * distance + 50 * angle)
    assert relational_distillation_loss(student, teacher, 0.0, 1.0).item() == pytest.approx(angle)


@pytest.mark.parametrize("loss", RELATIONAL)
@pytest.mark.parametrize("twice", ["for both", "for the student"])
def test_an_image_that_came_twice_has_no_angle_to_itself_and_a_finite_gradient(loss, twice):
    student, teacher = draw(3)
    student[1] = student[0]
    if twice == "for both":
        teacher[1] = teacher[0]
    found = loss(student.requires_grad_(), teacher)
    found.backward()
    assert found.item() == pytest.approx(SLOW[loss](student.detach(), teacher).item(), rel=1e-4)
    assert student.grad.abs().max() < 10


@pytest.mark.parametrize("loss", RELATIONAL)
def test_a_student_that_is_one_point_has_a_finite_loss_and_gradient(loss):
    _, teacher = draw(3)
    point = torch.ones(6, 4, requires_grad=True)
    found = loss(point, teacher)
    found.backward()
    assert found.isfinite()
    assert point.grad.isfinite().all()


def test_a_student_of_fewer_dimensions_learns_a_projection_to_the_teachers():
    torch.manual_seed(0)
    student, teacher = draw(4, rows=40)
    teacher = student @ torch.randn(4, 7)  # what a projection can reach
    module = EmbeddingDistillation(4, 7)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        module(student, teacher).backward()
        optimiser.step()
    assert module(student, teacher).item() < 0.01
    assert list(module.state_dict()) == ["projection.weight"]


@pytest.mark.parametrize("loss", [embedding_distillation_loss, relational_distillation_loss])
def test_half_precision_embeddings_are_compared_in_float32_under_autocast(loss):
    student, teacher = draw(5, student=7)
    half = student.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(half, teacher.to(torch.float16))
    assert found.dtype == torch.float32
    exact = loss(half.double(), teacher.to(torch.float16).double())
    assert found.item() == pytest.approx(exact.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s, t: embedding_distillation_loss(s, t),
            "student, teacher: have 4 and 7 dimensions; expected one number of dimensions; use",
        ),
        (
            lambda s, t: relational_distance_loss(s[:2], t[:2]),
            "student, teacher: have 2 and 2 rows; expected embeddings of the same images, 3 or",
        ),
        (
            lambda s, t: relational_angle_loss(s[:5], t),
            "student, teacher: have 5 and 6 rows; expected embeddings of the same images",
        ),
        (
            lambda s, t: embedding_distillation_loss(s[0], t),
            r"embeddings: are torch\.float32 of the shape \(4,\)",
        ),
        (
            lambda s, t: relational_distillation_loss(s, t, angle=-2.0),
            r"angle: is -2\.0; expected a weight of 0 or more",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(LossError, match=message):
        call(*draw(0))
