"""Gradient reversal and the dataset classifier: signs, sizes, stages and balance."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.errors import LossError
from fusekit.losses import DatasetAwareHead, DatasetClassifier, gradient_reversal
from fusekit.losses.dataset_classifier import balanced_cross_entropy


def make_rows(rows=12, dimensions=5, datasets=3):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(rows, dimensions, generator=generator).double().requires_grad_()
    return x, torch.arange(rows) % datasets


def plain_loss(x, k, classifier):
    logits = F.linear(x, classifier.linear.weight, classifier.linear.bias)
    return balanced_cross_entropy(logits, k)


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.5])
def test_the_gradient_is_turned_round_and_scaled(weight):
    x, _ = make_rows()
    out = gradient_reversal(x, weight)
    assert torch.equal(out, x)
    (plain,) = torch.autograd.grad((x**3).sum(), x)
    (turned,) = torch.autograd.grad((out**3).sum(), x)
    torch.testing.assert_close(turned, -weight * plain, rtol=1e-12, atol=0)


def test_the_classifier_descends_the_whole_loss_and_the_embedding_climbs_lambda_of_it():
    x, k = make_rows()
    classifier = DatasetClassifier(3, 5, reversal=0.1).double()
    inputs = (x, classifier.linear.weight, classifier.linear.bias)
    plain = torch.autograd.grad(plain_loss(x, k, classifier), inputs)
    found = torch.autograd.grad(classifier(x, k, step=0), inputs)
    torch.testing.assert_close(found[0], -0.1 * plain[0])
    assert torch.equal(found[1], plain[1])
    assert torch.equal(found[2], plain[2])


def test_stages_are_seen_on_parameters():
    embed = torch.nn.Linear(6, 4)
    head = DatasetAwareHead([(0, 3), (3, 5)], 4)
    classifier = DatasetClassifier(2, 4, switch_step=10)
    images = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 3, 4])
    datasets = (labels >= 3).long()

    def gradient(step, *, with_classifier):
        for module in (embed, head, classifier):
            module.zero_grad()
        x = embed(images)
        loss = head(x, labels, datasets)
        if with_classifier:
            loss = loss + classifier(x, datasets, step=step)
        loss.backward()
        return embed.weight.grad.clone(), classifier.linear.weight.grad

    alone, _ = gradient(0, with_classifier=False)
    for step, same in ((0, True), (9, True), (10, False), (11, False)):
        of_embedding, of_classifier = gradient(step, with_classifier=True)
        assert torch.equal(of_embedding, alone) is same
        assert of_classifier.abs().max() > 0  # it learns in both stages


def test_reversal_makes_datasets_harder_to_tell_apart():
    generator = torch.Generator().manual_seed(1)
    raw, k = torch.randn(64, 4, generator=generator), torch.arange(64) % 2
    raw[:, 0] += 4.0 * k  # the dataset's look
    embed = torch.nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        embed.weight.copy_(torch.eye(4))
    classifier = DatasetClassifier(2, 4, reversal=0.5, switch_step=50)
    optimiser = torch.optim.SGD([*embed.parameters(), *classifier.parameters()], lr=0.1)
    gaps = []
    for step in range(150):
        x = embed(raw)
        gaps.append((x[k == 1].mean(0) - x[k == 0].mean(0)).norm().item())
        optimiser.zero_grad()
        classifier(x, k, step=step).backward()
        optimiser.step()
    assert gaps[50] == gaps[0]
    assert gaps[-1] < 0.7 * gaps[0]
    assert (classifier.predict(raw) == k).float().mean() > 0.9  # of raw looks, still


def test_every_dataset_weighs_the_same():
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(2)).double()
    k = torch.tensor([0] * 7 + [1, 2])
    slow = [
        torch.stack([-logits[i].log_softmax(0)[c] for i in range(9) if k[i] == c]).mean()
        for c in range(3)
    ]
    found = balanced_cross_entropy(logits, k)
    assert found.item() == pytest.approx(torch.stack(slow).mean().item(), rel=1e-12)
    # Of a batch without one of them, the mean is over those that are there.
    found = balanced_cross_entropy(logits[:8], k[:8])
    assert found.item() == pytest.approx(torch.stack(slow[:2]).mean().item(), rel=1e-12)


def test_unlabeled_rows_stay_out_unless_asked():
    x, _ = make_rows(6)
    k = torch.tensor([0, 1, 2, 0, 3, 1])  # 2 and 3 are crawls
    classifier = DatasetClassifier(2, 5).double()
    loss = classifier(x, k, step=0)
    loss.backward()
    assert (x.grad[[2, 4]] == 0).all()
    assert (x.grad[[0, 1, 3, 5]].norm(dim=1) > 0).all()
    labeled = [0, 1, 3, 5]
    assert loss.item() == classifier(x[labeled], k[labeled], step=0).item()
    x.grad = None
    asked = DatasetClassifier(2, 5, unlabeled_datasets=2).double()
    asked(x, k, step=0).backward()
    assert (x.grad.norm(dim=1) > 0).all()


def test_no_labeled_rows_have_no_loss():
    x, _ = make_rows(3)
    loss = DatasetClassifier(2, 5).double()(x, torch.tensor([2, 2, 2]), step=0)
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()


def test_autocast_changes_nothing():
    x, k = make_rows()
    x = x.float()
    classifier = DatasetClassifier(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier(x, k, step=0)
    assert torch.equal(found, classifier(x, k, step=0))
    assert found.dtype == torch.float32


def test_initial_weights_follow_from_the_seed_alone():
    before = torch.random.get_rng_state()
    a, b, c = (DatasetClassifier(3, 5, seed=s).linear.weight for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradient_reversal(torch.ones(1), -0.1), "gradient reversal: has the weight -0.1"),
        (
            lambda: DatasetClassifier(2, 5, reversal=float("nan")),
            "has the weight nan; expected 0 or",
        ),
        (lambda: DatasetClassifier(0, 5), "num_datasets: is 0; expected 1 or more"),
        (lambda: DatasetClassifier(2, 5, switch_step=-1), "switch_step: is -1; expected 0 or more"),
        (
            lambda: DatasetClassifier(2, 5)(torch.ones(2, 5), torch.tensor([0, -1]), step=0),
            "dataset_index: has -1; expected 0 or more",
        ),
        (
            lambda: DatasetClassifier(2, 5)(torch.ones(2, 5), torch.tensor([0]), step=0),
            r"dataset_index: has the shape \(1,\); expected \(2,\)",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(LossError, match=message):
        make()
