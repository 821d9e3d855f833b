"""Softmax on the sphere before margins: NormFace and the L2-constrained softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize

from fusekit.errors import LossError
from fusekit.losses.pairs import check_classes
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


@full_precision
def normface_loss(
    embeddings: Tensor, labels: Tensor, weight: Tensor, scale: Tensor | float
) -> Tensor:
    """Take the softmax loss of s · cos θ: embeddings and class centres of unit length, no bias.

    Args:
        embeddings: ``(B, D)``; normalised here.
        labels: ``(B,)``, 0 to C - 1.
        weight: ``(C, D)``; normalised here.
        scale: s, above 0: a number, or a scalar to be learned. With s = 1 the loss can't come
            below :func:`least_loss`: 10.4 for 90,000 classes.

    Returns:
        The mean over rows, a scalar.

    Raises:
        LossError: The batch is not as above, or a label has no class.

    Example:
        >>> round(float(normface_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), 9.0)), 4)
        0.0001

    Reference:
        Wang, Xiang, Cheng, Yuille, "NormFace: L2 Hypersphere Embedding for Face Verification",
        ACM Multimedia 2017, the softmax loss with a scale.
    """
    check_classes(embeddings, labels, weight)
    cosines = linear(normalize(embeddings, dim=1), normalize(weight, dim=1))  # (B, C)
    return cross_entropy(scale * cosines, labels)


@full_precision
def l2_softmax_loss(
    embeddings: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | float = 16.0,
) -> Tensor:
    """Take a plain softmax loss of embeddings that are brought to one length.

    Only the embeddings: the classes keep their own length and bias. All images then weigh alike,
    where a plain softmax makes clear images long and gives blurred ones up.

    Args:
        embeddings: ``(B, D)``; normalised here.
        labels: ``(B,)``, 0 to C - 1.
        weight: ``(C, D)``, as it is.
        bias: ``(C,)``; None is none.
        alpha: The length, above 0: a number, or a scalar to be learned. The default is the
            paper's for 13,403 classes (:func:`least_alpha` is 11.7 there).

    Returns:
        The mean over rows, a scalar.

    Raises:
        LossError: The batch is not as above, or a label has no class.

    Reference:
        Ranjan, Castillo, Chellappa, "L2-constrained Softmax Loss for Discriminative Face
        Verification", 2017, equation 3.
    """
    check_classes(embeddings, labels, weight)
    logits = linear(alpha * normalize(embeddings, dim=1), weight, bias)  # (B, C)
    return cross_entropy(logits, labels)


def least_loss(classes: int, scale: float) -> float:
    """Give the value that :func:`normface_loss` can't come below, whatever the embeddings.

    log(1 + (n - 1) e^{-s n / (n - 1)}): n centres as far from each other as n can be, each face
    on its own. (In D < n - 1 dimensions they can't be, and the least is higher.)

    Args:
        classes: n, 2 or more.
        scale: s.

    Raises:
        LossError: There are fewer than two classes.

    Example:
        >>> round(least_loss(90_000, 1.0), 1), round(least_loss(90_000, 30.0), 4)
        (10.4, 0.0)

    Reference:
        Wang et al. 2017, proposition 2, with ℓ² = s.
    """
    if classes < 2:
        raise LossError("classes", f"are {classes}", "2 or more")
    return math.log1p((classes - 1) * math.exp(-scale * classes / (classes - 1)))


def least_alpha(classes: int, probability: float = 0.9) -> float:
    """Give the length of embeddings that lets a class reach a probability.

    log(p (C - 2) / (1 - p)): classes of unit length, the face on its own, one class opposite, the
    others across.

    Args:
        classes: C, 3 or more.
        probability: p, between 0 and 1; the paper's is 0.9.

    Raises:
        LossError: An argument is outside its range.

    Example:
        >>> round(least_alpha(13_403), 1)
        11.7

    Reference:
        Ranjan et al. 2017, the lower bound on alpha.
    """
    if classes < 3 or not 0 < probability < 1:
        raise LossError(
            "classes, probability", f"are {classes}, {probability}", "3 or more, between 0 and 1"
        )
    return math.log(probability * (classes - 2) / (1 - probability))


class NormFace(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """NormFace with its class centres and its learned scale.

    Args:
        classes: C.
        embedding_dim: D.
        scale: What s starts from, above 0; the default is ours.

    Attributes:
        weight: ``(C, D)``, a parameter.
        scale: s, a scalar parameter, as the paper lets it be learned;
            ``scale.requires_grad_(False)`` keeps it.
    """

    def __init__(self, classes: int, embedding_dim: int, scale: float = 30.0) -> None:
        super().__init__()
        if not scale > 0:
            raise LossError("scale", f"is {scale}", "a number above 0")
        self.weight = nn.Parameter(torch.empty(classes, embedding_dim))
        nn.init.normal_(self.weight)  # any direction alike; lengths don't matter
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of a batch.

        Args:
            embeddings: ``(B, D)``.
            labels: ``(B,)``, 0 to C - 1.

        Returns:
            A scalar.
        """
        return normface_loss(embeddings, labels, self.weight, self.scale)


class L2Softmax(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """The L2-constrained softmax with its classes and, if asked for, a learned length.

    Args:
        classes: C.
        embedding_dim: D.
        alpha: The length, or what it starts from, above 0.
        learn_alpha: Whether it is a parameter. The paper found a fixed, smaller one better.

    Attributes:
        weight: ``(C, D)``, a parameter.
        bias: ``(C,)``, a parameter.
        alpha: A scalar, a parameter or a buffer.
    """

    def __init__(
        self, classes: int, embedding_dim: int, alpha: float = 16.0, *, learn_alpha: bool = False
    ) -> None:
        super().__init__()
        if not alpha > 0:
            raise LossError("alpha", f"is {alpha}", "a length above 0")
        # As a linear layer of torch begins.
        layer = nn.Linear(embedding_dim, classes)
        self.weight, self.bias = layer.weight, layer.bias
        if learn_alpha:
            self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        else:
            self.register_buffer("alpha", torch.tensor(float(alpha)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of a batch.

        Args:
            embeddings: ``(B, D)``.
            labels: ``(B,)``, 0 to C - 1.

        Returns:
            A scalar.
        """
        return l2_softmax_loss(embeddings, labels, self.weight, self.bias, self.alpha)
