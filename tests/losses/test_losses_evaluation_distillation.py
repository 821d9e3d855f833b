import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pair_batches import draw_batch, mixed_labels
from torch.autograd import gradcheck

from fusekit.errors import LossError
from fusekit.losses.evaluation_distillation import (
    RATES,
    EvaluationDistillation,
    evaluation_distillation_loss,
    negative_thresholds,
    soft_ranks,
)

THRESHOLDS = torch.tensor([0.1, 0.3, 0.5]), torch.tensor([0.0, 0.2, 0.4])


def draw(seed, dtype=torch.float32):
    student, labels = draw_batch(seed, dtype)
    teacher, _ = draw_batch(seed + 1, dtype)
    return student, teacher[:, :4], labels


def slow_evaluation(student, teacher, labels, ours, theirs, temperature, hardest):
    """A pair at a time, in float64."""

    def cosine(x, i, j):
        return (x[i] @ x[j]) / torch.linalg.norm(x[i]) / torch.linalg.norm(x[j])

    def rank(value, thresholds):
        return sum(1 / (1 + torch.exp(-(value - t) / temperature)) for t in thresholds.double())

    s, t = student.double(), teacher.double()
    same, different = [], []
    for i, j in itertools.combinations(range(len(s)), 2):
        each = cosine(s, i, j)
        error = (rank(each, ours) - rank(cosine(t, i, j), theirs)) ** 2
        (same if labels[i] == labels[j] else different).append((each.item(), error))
    hard = sorted(different, key=lambda pair: -pair[0])[:hardest]
    positive = sum(e for _, e in same) / len(same)
    return 0.02 * positive + 0.01 * sum(e for _, e in hard) / len(hard)


@given(
    seed=st.integers(0, 2**31),
    temperature=st.floats(0.02, 1),
    hardest=st.sampled_from([1, 7, 2000]),
)
def test_it_equals_the_loop_over_pairs_and_thresholds(seed, temperature, hardest):
    student, teacher, labels = draw(seed)
    ours, theirs = student.clone().requires_grad_(), student.double().requires_grad_()
    settings = (teacher, labels, *THRESHOLDS, temperature, hardest)
    loss = evaluation_distillation_loss(ours, *settings)
    slow = slow_evaluation(theirs, *settings)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-4, abs=1e-6)
    loss.backward()
    slow.backward()
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-4)


def test_gradients_are_those_of_finite_differences_and_the_teacher_gets_none():
    student, teacher, labels = draw(1, torch.float64)

    def loss(s):
        return evaluation_distillation_loss(s, teacher, labels, *THRESHOLDS, temperature=0.2)

    assert gradcheck(loss, (student.requires_grad_(),))
    teacher.requires_grad_()
    loss(student).backward()
    assert teacher.grad is None


@given(st.integers(0, 2**31))
def test_a_student_with_the_teachers_cosines_and_thresholds_has_nothing_to_learn(seed):
    _, teacher, labels = draw(seed)
    student = 3 * teacher.flip(1)
    loss = evaluation_distillation_loss(student, teacher, labels, THRESHOLDS[0], THRESHOLDS[0])
    assert loss.item() < 1e-6


def test_pairs_on_the_teachers_side_of_every_threshold_need_no_equal_cosine():
    def rows(own, other):  # cosines of the first row with one of its person and with a stranger
        across = [math.sqrt(1 - c * c) for c in (own, other)]
        return torch.tensor([[1.0, 0.0, 0.0], [own, across[0], 0.0], [other, 0.0, across[1]]])

    labels = torch.tensor([0, 0, 1])
    half = torch.tensor([0.5])
    teacher = rows(0.9, -0.2)
    alike = evaluation_distillation_loss(rows(0.7, 0.1), teacher, labels, half, half)
    assert alike.item() < 1e-6
    crossed = evaluation_distillation_loss(rows(0.3, 0.1), teacher, labels, half, half)
    assert crossed.item() == pytest.approx(0.02, rel=1e-3)


def test_ranks_become_counts_as_the_temperature_falls():
    cosines, thresholds = torch.linspace(-1, 1, 41)[::2], torch.tensor([-0.33, 0.01, 0.77])
    wanted = (cosines[:, None] > thresholds).sum(1).float()
    assert torch.allclose(soft_ranks(cosines, thresholds, 1e-4), wanted)


@given(st.integers(1, 3000), st.integers(0, 2**31))
def test_a_threshold_is_passed_by_its_part_of_the_pairs(count, seed):
    cosines = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = negative_thresholds(cosines)
    for rate, threshold in zip(RATES, found, strict=True):
        assert int((cosines > threshold).sum()) == count // rate
    assert found[-1] == cosines.max()


def test_the_first_batch_sets_the_thresholds_and_later_ones_move_them_slowly():
    module = EvaluationDistillation(rates=(2, 10), momentum=0.25)
    student, teacher, labels = draw(1)
    different = labels[:, None] != labels[None, :]
    upper = torch.triu(different, 1)

    def batch_thresholds(rows):
        unit = torch.nn.functional.normalize(rows, dim=1)
        return negative_thresholds((unit @ unit.T)[upper], (2, 10))

    module(student, teacher, labels)
    first = torch.stack([batch_thresholds(student), batch_thresholds(teacher)])
    assert torch.allclose(module.thresholds, first, atol=1e-6)
    module(student.flip(1) + 1, teacher + 1, labels)
    second = torch.stack([batch_thresholds(student.flip(1) + 1), batch_thresholds(teacher + 1)])
    assert torch.allclose(module.thresholds, 0.75 * first + 0.25 * second, atol=1e-6)


def test_a_batchs_loss_is_taken_with_the_thresholds_after_their_move():
    module = EvaluationDistillation()
    student, teacher, labels = draw(2)
    student.requires_grad_()
    loss = module(student, teacher, labels)
    wanted = evaluation_distillation_loss(student, teacher, labels, *module.thresholds)
    assert torch.equal(loss, wanted)
    loss.backward()
    assert student.grad.isfinite().all()


def test_evaluation_moves_nothing_and_a_saved_state_goes_on():
    module = EvaluationDistillation()
    student, teacher, labels = draw(3)
    module(student, teacher, labels)
    again = EvaluationDistillation()
    with pytest.raises(LossError, match="thresholds: no batch has set them; expected a batch in"):
        again.eval()(student, teacher, labels)
    again.load_state_dict(module.state_dict())
    again(student + 1, teacher, labels)
    assert torch.equal(again.thresholds, module.thresholds)
    module(student + 1, teacher, labels)
    again.train()(student + 1, teacher, labels)
    assert torch.equal(again.thresholds, module.thresholds)


def test_half_precision_embeddings_keep_float32_thresholds_under_autocast():
    module = EvaluationDistillation()
    student, teacher, labels = draw(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(student.to(torch.bfloat16), teacher, labels)
    exact = EvaluationDistillation()
    exact(student.to(torch.bfloat16).float(), teacher, labels)
    assert loss.dtype == module.thresholds.dtype == torch.float32
    assert torch.allclose(module.thresholds, exact.thresholds, atol=1e-6)


def test_a_student_learns_to_pass_the_teachers_thresholds():
    torch.manual_seed(0)
    labels = mixed_labels(people=8, images=4)
    centres = torch.randn(8, 16).repeat_interleave(4, dim=0)
    teacher = centres + 0.2 * torch.randn(32, 16)
    student = torch.nn.functional.normalize(centres[:, :6] + torch.randn(32, 6), dim=1)
    student.requires_grad_()
    module = EvaluationDistillation(temperature=0.1, momentum=0.1)
    optimiser = torch.optim.Adam([student], lr=0.02)
    first = module(student, teacher, labels).item()
    for _ in range(100):
        optimiser.zero_grad()
        module(student, teacher, labels).backward()
        optimiser.step()
    assert module(student, teacher, labels).item() < first / 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, t, y: EvaluationDistillation()(s, t[:9], y), "have 10 and 9 rows; expected"),
        (lambda s, t, y: EvaluationDistillation()(s, t, y - 3), "labels: row .* is -1; expected"),
        (lambda s, t, y: EvaluationDistillation()(s, t, y * 0), "no pair of rows has two labels"),
        (lambda s, t, y: EvaluationDistillation(momentum=0.0), r"momentum: is 0\.0; expected"),
        (
            lambda s, t, y: evaluation_distillation_loss(s, t, y, *THRESHOLDS, 0.0),
            r"temperature, hardest: are 0\.0, 2000; expected above 0, 1 or more",
        ),
        (
            lambda s, t, y: evaluation_distillation_loss(s, t, y, THRESHOLDS[0], t[0]),
            r"thresholds: have the shapes \(3,\), \(4,\); expected one cosine a rate for both",
        ),
        (lambda s, t, y: negative_thresholds(s[0], (1,)), r"rates: are \(1,\) for 5 pairs"),
        (lambda s, t, y: negative_thresholds(s[0, :0]), "rates: are .* for 0 pairs; expected 2"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(LossError, match=message):
        call(*draw(0))
