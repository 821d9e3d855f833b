"""The heads' losses written the slow, obvious way: float64, all classes, a mask."""

import math

import pytest
import torch

from fusekit.losses import DatasetAwareHead

RANGES = [(0, 4), (4, 5), (5, 11)]  # of three datasets, one of them of a single class


def slow_target(cosine, loss, margin, beyond_pi="insightface"):
    """The own class' cosine under a margin, one number at a time, from the angle."""
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if loss == "arcface":
        if angle + margin < math.pi:
            return math.cos(angle + margin)
        shift = margin * math.sin(margin) if beyond_pi == "insightface" else 1 - math.cos(margin)
        return cosine - shift
    if loss == "cosface":
        return cosine - margin
    if loss == "sphereface":
        k = min(int(margin) - 1, int(margin * angle / math.pi))
        return (-1) ** k * math.cos(margin * angle) - 2 * k
    return cosine


def masked_losses(embeddings, weight, labels, allowed, loss="arcface", scale=64.0, margin=0.5):
    """Each row's loss by masked_fill(-inf), then log_softmax over all C classes.

    ``allowed`` is a bool matrix (B, C). The margin is autograd's own: cos(acos(c) + m).
    """
    labels = labels.long()
    if loss == "softmax":
        logits = embeddings @ weight.T
    else:
        x = embeddings / embeddings.norm(dim=1, keepdim=True)
        w = weight / weight.norm(dim=1, keepdim=True)
        cosine = x @ w.T
        own = cosine.gather(1, labels[:, None])
        angle = own.acos()
        if loss == "arcface":
            turned = (angle + margin).cos()
            target = torch.where(angle + margin < math.pi, turned, own - margin * math.sin(margin))
        elif loss == "cosface":
            target = own - margin
        elif loss == "sphereface":
            k = (margin * angle / math.pi).floor().detach().clamp(max=margin - 1)
            target = (-1) ** k * (margin * angle).cos() - 2 * k
        else:
            target = own
        logits = scale * cosine.scatter(1, labels[:, None], target)
    logits = logits.masked_fill(~allowed, -math.inf)
    return -logits.log_softmax(1).gather(1, labels[:, None])[:, 0]


def same_dataset(class_ranges, labels, num_classes):
    """The mask of the dataset-aware softmax: (B, C), true where class and label share a range."""
    owner = torch.full((num_classes,), -1)
    for k, (first, end) in enumerate(class_ranges):
        owner[first:end] = k
    return owner[labels.long()][:, None] == owner[None]


def gradients(loss, *inputs):
    """Gradients of a scalar as float64 copies."""
    return [g.double() for g in torch.autograd.grad(loss, inputs)]


def make_batch(class_ranges, rows, dimensions, seed, dtype=torch.float32):
    """Embeddings, centres and labels of such ranges."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.cat([torch.arange(first, end) for first, end in class_ranges])
    num_classes = int(classes.max()) + 1
    embeddings = torch.randn(rows, dimensions, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(num_classes, dimensions, generator=generator).to(dtype).requires_grad_()
    labels = classes[torch.randint(len(classes), (rows,), generator=generator)]
    return embeddings, weight, labels


def make_head(weight, ranges=RANGES, **options):
    """A head with these centres."""
    head = DatasetAwareHead(ranges, weight.shape[1], **options).to(weight.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
    return head


def check(head, embeddings, labels, wanted, weight, *, tolerance, **given_too):
    """Compare loss and both gradients with those of float64 losses of each row."""
    loss = head(embeddings, labels, **given_too)
    found = gradients(loss, embeddings, head.weight)
    assert loss.item() == pytest.approx(wanted.mean().item(), rel=tolerance, abs=tolerance)
    for ours, theirs in zip(found, gradients(wanted.mean(), *weight), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
