"""Labeled images and their labels, as the loops of InsightFace's arcface_torch take them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from fusekit.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import torch

    from fusekit.loader.batch import Batch
    from fusekit.loader.loader import MixtureLoader
    from fusekit.loader.trainers.dataset import MixtureDataset


class ArcFaceView:
    """Iterate ``image, label`` pairs of labeled rows only.

    A sharded softmax such as partial FC does not ignore a label of -1: it is a row without a
    positive class, which adds a constant to the loss and pushes every class centre away from
    that face. So unlabeled rows are sliced away here and wait in :attr:`unlabeled`.

    Such a head gathers the rows of all ranks into one matrix and so wants the same number of
    labeled rows at every step on every rank. Where the mixture's share does not give that, the
    view is refused rather than the training stopped later.

    Args:
        batches: A :class:`MixtureLoader`, or a :class:`MixtureDataset`, whose ``device=`` copies
            the uint8 images ahead: they become floats where they lie.

    Raises:
        LoaderError: The labeled rows of a batch vary in number.

    Example:
        The loop of arcface_torch, with its backbone and head::

            dataset = MixtureDataset("fusekit-store/mixtures/demo", 128, device="cuda")
            view = ArcFaceView(dataset)
            for epoch in range(20):
                view.set_epoch(epoch)
                for image, label in view:
                    loss = head(backbone(image), label)
                    others = view.unlabeled  # of the same batch, for a loss of your own

    Reference:
        An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face
        Recognition CNNs by Partial FC", CVPR 2022.
    """

    def __init__(self, batches: MixtureLoader | MixtureDataset) -> None:
        share = Fraction(batches.state_dict()["order"]["unlabeled_fraction"])
        size = int(batches.batch_size or 0)
        if (size * share).denominator != 1:
            raise LoaderError(
                "batch_size", f"{size} with an unlabeled share of {share} has no fixed number of "
                "labeled rows", f"a multiple of {share.denominator}",
                "a sharded head gathers equal batches",
            )  # fmt: skip
        self._batches = batches
        self._last: tuple[torch.Tensor, int] | None = None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Iterate an epoch.

        Yields:
            RGB images as float32 in [-1, 1], ``(n, 3, 112, 112)``, and their classes, int64,
            ``(n,)``, ``n`` being the same each time.

        Raises:
            LoaderError: As the loader's.
        """
        for batch in self._batches:
            images, labels, n_labeled = _parts(batch)
            self._last = images, n_labeled
            # A copy: such heads change the labels in place.
            yield _normalised(images[:n_labeled]), labels[:n_labeled].clone()

    @property
    def unlabeled(self) -> torch.Tensor:
        """The unlabeled images of the last batch, normalised when asked for, ``(m, 3, 112, 112)``.

        Raises:
            LoaderError: There was no batch yet.
        """
        if self._last is None:
            raise LoaderError("unlabeled", "asked for before the first batch")
        images, n_labeled = self._last
        return _normalised(images[n_labeled:])

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, as :meth:`MixtureLoader.set_epoch`."""
        self._batches.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Give the state after the last batch, as :meth:`MixtureLoader.state_dict`."""
        return self._batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, as :meth:`MixtureLoader.load_state_dict`."""
        self._batches.load_state_dict(state)


def _parts(batch: Batch | dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
    import torch

    found = batch if isinstance(batch, dict) else vars(batch)
    images, labels = torch.as_tensor(found["images"]), torch.as_tensor(found["labels"])
    return images, labels, found["n_labeled"]


def _normalised(images: torch.Tensor) -> torch.Tensor:
    import torch

    # (x / 255 - 0.5) / 0.5, the scaling that the published arcface models were trained with.
    # A copy: what a transform gave as floats would be changed in place.
    floats = images.to(torch.float32, copy=True).div_(127.5).sub_(1)
    if floats.shape[-1] == 3:
        return floats.permute(0, 3, 1, 2)  # a view: (n, 112, 112, 3) is channels_last to torch
    return floats
