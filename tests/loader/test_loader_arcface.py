"""Labeled rows for an arcface_torch-style loop, and what -1 does to its head."""

import math
from dataclasses import replace

import pytest
import torch
from support.training import small_mixture
from torch import nn
from torch.nn import functional

from fusekit import ArcFaceView, MixtureDataset, MixtureLoader
from fusekit.errors import LoaderError

SCALE = 16.0


class ShardedHead(nn.Module):
    """The head of Partial FC for one rank of one, written from the paper and its contract.

    Each rank holds a range of the class centres. A row whose class is another rank's (or is none:
    -1 is never in a range) has no positive here. The loss of a row is minus the logarithm of its
    positive's probability summed over the ranks, floored; the gradient is the softmax less one
    at the positive.
    """

    def __init__(self, classes, size):
        super().__init__()
        torch.manual_seed(0)
        self.centres = nn.Parameter(torch.randn(classes, size))
        self.rows = None

    def forward(self, features, labels):
        labels.squeeze_()
        assert self.rows in (None, len(features)), "ranks gather equal batches"
        self.rows = len(features)
        cosines = functional.normalize(features) @ functional.normalize(self.centres).T
        return ShardedCrossEntropy.apply(SCALE * cosines, labels)


class ShardedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, labels):
        softmax = logits.softmax(1)
        mine = ((labels >= 0) & (labels < logits.shape[1])).nonzero().squeeze(1)
        positive = torch.zeros(len(logits))
        positive[mine] = softmax[mine, labels[mine]]  # the sum over ranks stands here
        gradient = softmax.clone()
        gradient[mine, labels[mine]] -= 1
        context.save_for_backward(gradient / len(logits))
        return -positive.clamp_min(1e-30).log().mean()

    @staticmethod
    def backward(context, grown):
        return context.saved_tensors[0] * grown, None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_mixture(tmp_path_factory.mktemp("arcface"))


def backbone():
    torch.manual_seed(1)
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3 * 7 * 7, 16))


def test_a_loop_of_image_and_label_sees_labeled_rows_only(path):
    net, head = backbone(), ShardedHead(5, 16)
    optimizer = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.5)
    losses = []
    with MixtureLoader(path, 8, threads=1) as loader:
        view = ArcFaceView(loader)
        for _ in range(20):
            for _, (image, label) in enumerate(view):
                assert (image.dtype, tuple(image.shape)) == (torch.float32, (6, 3, 112, 112))
                assert label.min() >= 0
                loss = head(net(image), label)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    assert sum(losses[-8:]) < 0.5 * sum(losses[:8])


def test_a_label_of_minus_one_would_corrupt_such_a_head(path):
    """The reason for the view: loss and centres with the whole batch, and with the slice."""
    with MixtureLoader(path, 8, threads=1, arrays="torch") as loader:
        batch = next(iter(loader))
    image = batch.images.float() / 127.5 - 1
    net, n = backbone(), batch.n_labeled
    with torch.no_grad():
        features = net(image)
    reference = functional.cross_entropy
    head = ShardedHead(5, 16)
    right = head(features[:n], batch.labels[:n].clone())
    right.backward()
    sliced = head.centres.grad.clone()
    # The slice is the softmax over the classes, in loss and in gradient.
    head.zero_grad()
    cosines = functional.normalize(features[:n]) @ functional.normalize(head.centres).T
    wanted = reference(SCALE * cosines, batch.labels[:n])
    wanted.backward()
    torch.testing.assert_close(right, wanted)
    torch.testing.assert_close(sliced, head.centres.grad)
    # The whole batch is not: a floored logarithm for each unlabeled row, and its pull.
    head = ShardedHead(5, 16)
    wrong = head(features, batch.labels.clone())
    wrong.backward()
    others = 8 - n
    floor = -math.log(1e-30)
    torch.testing.assert_close(wrong, (right * n + floor * others) / 8)
    pushed = head.centres.grad - sliced * n / 8
    assert pushed.abs().max() > 1e-3
    # Gradient descent turns every centre away from the unlabeled faces, as if each were negative.
    centres, faces = functional.normalize(head.centres), functional.normalize(features[n:])
    moved = functional.normalize(head.centres - 0.01 * pushed)
    assert (moved @ faces.T).mul((centres @ faces.T).exp()).sum() < (
        (centres @ faces.T).mul((centres @ faces.T).exp()).sum()
    )


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_images_are_scaled_and_the_unlabeled_wait(path, layout):
    with MixtureLoader(path, 8, threads=1, layout=layout, arrays="torch") as loader:
        (batch,) = [b for b in loader if b.step == 0]
    whole = batch.images if layout == "chw" else batch.images.permute(0, 3, 1, 2)
    whole = (whole.float() / 255 - 0.5) / 0.5
    with MixtureLoader(path, 8, threads=1, layout=layout) as loader:
        view = ArcFaceView(loader)
        image, label = next(iter(view))
        torch.testing.assert_close(image, whole[:6])
        torch.testing.assert_close(view.unlabeled, whole[6:])
        assert torch.equal(label, batch.labels[:6])
        label += 1  # heads work in place; the batch is not theirs


def test_a_dataset_gives_the_same_and_its_state(path):
    def labels(view):
        return [label.tolist() for _, label in view]

    with MixtureLoader(path, 8, threads=1) as loader:
        wanted = labels(ArcFaceView(loader))
    view = ArcFaceView(MixtureDataset(path, 8, 0, 1, threads=1, device="cpu"))
    batches = iter(view)
    seen = [next(batches)[1].tolist() for _ in range(3)]
    again = ArcFaceView(MixtureDataset(path, 8, 0, 1, threads=1))
    again.load_state_dict(view.state_dict())
    assert seen + labels(again) == wanted
    again.set_epoch(0)
    assert labels(again) == wanted


def test_the_unlabeled_of_no_batch_are_an_error(path):
    view = ArcFaceView(MixtureDataset(path, 8, 0, 1))
    with pytest.raises(LoaderError, match="unlabeled: asked for before the first batch"):
        _ = view.unlabeled


def test_a_share_without_a_fixed_number_of_labeled_rows_is_refused(path):
    message = (
        "^batch_size: 10 with an unlabeled share of 1/4 has no fixed number of labeled rows; "
        "expected a multiple of 4; a sharded head gathers equal batches$"
    )
    with MixtureLoader(path, 10) as loader, pytest.raises(LoaderError, match=message):
        ArcFaceView(loader)
    with pytest.raises(LoaderError, match=message):
        ArcFaceView(MixtureDataset(path, 10, 0, 1))


def test_numpy_batches_are_taken_too(path):
    with MixtureLoader(path, 8, threads=1, arrays="numpy") as loader:
        image, label = next(iter(ArcFaceView(loader)))
    assert (image.dtype, label.dtype) == (torch.float32, torch.int64)


def test_images_that_a_transform_made_floats_are_not_changed_in_place(path):
    def floats(batch):
        return replace(batch, images=batch.images.float())

    with MixtureLoader(path, 8, transform=floats, augment="none") as loader:
        view = ArcFaceView(loader)
        next(iter(view))
        first = view.unlabeled.clone()
        assert first.abs().max() <= 1
        assert torch.equal(view.unlabeled, first)


def test_a_head_that_changes_labels_in_place_changes_no_batch(path):
    kept = []

    def keep(batch):
        kept.append(batch)
        return batch

    with MixtureLoader(path, 8, transform=keep, threads=1) as loader:
        _, label = next(iter(ArcFaceView(loader)))
        label.fill_(-1)
    first = min(kept, key=lambda batch: batch.step)
    assert first.labels[: first.n_labeled].min() >= 0
