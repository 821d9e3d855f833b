"""Dataset-invariant embeddings: a classifier of the dataset, and an embedding that fools it.

The classifier descends the whole of its loss L_d; the embedding, behind a reversal of gradients,
climbs lambda times it. In the first stage the classifier learns from embeddings that it does not
change, since what an unready classifier says would only disturb them.

Reference:
    The dataset-aware training paper (docs/explanation/dataset-aware-softmax.md), equations 6 to
    10; lambda 0.1, the second stage from step 80,000.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.errors import LossError
from fusekit.losses.precision import full_precision
from fusekit.losses.reversal import check_weight, gradient_reversal
from fusekit.rng import derive


@full_precision
def balanced_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Give the mean over the classes that are there of the mean loss of their rows.

    So a dataset of few rows weighs as much in L_d as one of many. Of no rows it is 0.

    Args:
        logits: ``(B, K)``.
        classes: ``(B,)``, 0 to K - 1.

    Returns:
        A scalar.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 0.0]])
        >>> one_each = balanced_cross_entropy(logits[1:], torch.tensor([0, 1]))
        >>> bool(balanced_cross_entropy(logits, torch.tensor([0, 0, 1])) == one_each)
        True
    """
    counts = torch.bincount(classes, minlength=logits.shape[1])  # (K,)
    present = int((counts > 0).sum())
    losses = F.cross_entropy(logits, classes, reduction="none")  # (B,)
    return (losses / counts[classes]).sum() / max(1, present)


class DatasetClassifier(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """One linear layer that tells datasets apart by the raw embedding, behind reversed gradients.

    Args:
        num_datasets: Labeled datasets, which have the source indexes 0 to ``num_datasets - 1``.
        embedding_dim: D.
        reversal: Lambda: the embedding sees ``-reversal`` times the gradient of L_d. The paper's
            is 0.1; 1 collapsed where we tried it.
        switch_step: First step of the second stage; before it embeddings are detached. The
            paper's is 80,000; 0 has no first stage.
        unlabeled_datasets: Unlabeled datasets, whose indexes follow, to be told apart too. 0
            leaves rows of theirs out.
        seed: Of the initial weights; torch's global generator is not touched.

    Attributes:
        linear: The layer.

    Raises:
        LossError: A number is out of range.

    Example:
        >>> classifier = DatasetClassifier(2, embedding_dim=4, switch_step=10)
        >>> embeddings = torch.ones(3, 4, requires_grad=True)
        >>> classifier(embeddings, torch.tensor([0, 1, 2]), step=0).backward()
        >>> embeddings.grad is None
        True

    Reference:
        Equations 6 to 10.
    """

    def __init__(
        self,
        num_datasets: int,
        embedding_dim: int,
        reversal: float = 0.1,
        *,
        switch_step: int = 0,
        unlabeled_datasets: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for where, found, least in (
            ("num_datasets", num_datasets, 1), ("embedding_dim", embedding_dim, 1),
            ("switch_step", switch_step, 0), ("unlabeled_datasets", unlabeled_datasets, 0),
        ):  # fmt: skip
            if found < least:
                raise LossError(where, f"is {found}", f"{least} or more")
        check_weight(reversal)
        self.reversal, self.switch_step = reversal, switch_step
        classes = num_datasets + unlabeled_datasets
        self.linear = nn.utils.skip_init(nn.Linear, embedding_dim, classes)
        generator = torch.Generator().manual_seed(derive(seed, "dataset classifier") >> 1)
        bound = embedding_dim**-0.5  # as torch's own Linear starts
        for values in self.linear.parameters():
            nn.init.uniform_(values, -bound, bound, generator=generator)

    def forward(
        self, embeddings: torch.Tensor, dataset_index: torch.Tensor, *, step: int
    ) -> torch.Tensor:
        """Give L_d, class-balanced.

        Args:
            embeddings: Raw, ``(B, D)``.
            dataset_index: Source index of each row in the mixture, ``(B,)``; rows of datasets
                that the classifier does not know are left out.
            step: Of the training; it decides the stage.

        Returns:
            A scalar, float32; 0 where no row is left.

        Raises:
            LossError: A dataset index is negative, or shapes don't fit.
        """
        if dataset_index.shape != embeddings.shape[:1]:
            raise LossError(
                "dataset_index", f"has the shape {tuple(dataset_index.shape)}",
                f"({len(embeddings)},)",
            )  # fmt: skip
        if (dataset_index < 0).any():
            raise LossError("dataset_index", f"has {int(dataset_index.min())}", "0 or more")
        known = dataset_index < self.linear.out_features
        rows, classes = embeddings[known], dataset_index[known].long()
        first_stage = step < self.switch_step
        rows = rows.detach() if first_stage else gradient_reversal(rows, self.reversal)
        return balanced_cross_entropy(self._logits(rows), classes)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def predict(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Give the dataset that each row looks like, ``(B,)`` int64."""
        return self._logits(embeddings).argmax(1)

    def _logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        return _affine(embeddings, self.linear.weight, self.linear.bias)


_affine = full_precision(F.linear)
