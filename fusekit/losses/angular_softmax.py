"""A-Softmax (SphereFace): a multiplied angle, eased in from the plain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize

from fusekit.errors import LossError
from fusekit.losses.margins import sphereface_target
from fusekit.losses.pairs import check_classes
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


@full_precision
def a_softmax_loss(
    embeddings: Tensor, labels: Tensor, weight: Tensor, margin: int = 4, easing: float = 0.0
) -> Tensor:
    """Take the softmax loss of ‖x‖ cos θ, the own class's angle multiplied by the margin.

    The own class has ‖x‖ (λ cos θ + ψ(θ)) / (1 + λ) instead of ‖x‖ cos θ; ψ is cos(m θ) extended
    so that it falls up to π, :func:`fusekit.losses.margins.sphereface_target`. Class centres are
    normalised, embeddings keep their length: it is what the loss grows to be certain. (With
    embeddings of one length it is the head's ``sphereface``.)

    Args:
        embeddings: ``(B, D)``, not normalised.
        labels: ``(B,)``, 0 to C - 1.
        weight: ``(C, D)``; normalised here.
        margin: m, a whole number of 1 or more; the paper's is 4. 1 is a softmax without margin.
        easing: λ, 0 or more, see :func:`ease`; 0 is the paper's equation.

    Returns:
        The mean over rows, a scalar.

    Raises:
        LossError: The batch is not as above, a label has no class, or a setting is out of range.

    Example:
        >>> rows, classes = torch.tensor([[3.0, 0.0]]), torch.eye(2)
        >>> label = torch.tensor([1])
        >>> plain, angular = (a_softmax_loss(rows, label, classes, m) for m in (1, 4))
        >>> bool(angular > plain)
        True

    Reference:
        Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017,
        equations 6 and 7. λ: Liu et al., "Large-Margin Softmax Loss for Convolutional Neural
        Networks", ICML 2016, on its optimisation.
    """
    check_classes(embeddings, labels, weight)
    if margin < 1 or margin != int(margin):
        raise LossError("margin", f"is {margin}", "a whole number of 1 or more")
    if not easing >= 0:
        raise LossError("easing", f"is {easing}", "0 or more")
    cosines = linear(normalize(embeddings, dim=1), normalize(weight, dim=1))  # (B, C)
    own = cosines.gather(1, labels[:, None])  # (B, 1)
    target = (easing * own + sphereface_target(own, int(margin))) / (1 + easing)  # (B, 1)
    lengths = embeddings.norm(dim=1, keepdim=True)  # (B, 1)
    logits = lengths * cosines.scatter(1, labels[:, None], target)  # (B, C)
    return cross_entropy(logits, labels)


def ease(
    step: int, start: float = 1000.0, decay: float = 0.12, power: float = 1.0, least: float = 5.0
) -> float:
    """Give λ at a step: max(least, start / (1 + decay · step)^power).

    Without it A-Softmax does not start to learn: ψ with m = 4 is steep where all angles still are.
    The defaults are those of the authors' released training files, which never come below 5: so
    the margin is never more than a sixth of the paper's equation.

    Args:
        step: 0 or more.
        start: λ of step 0.
        decay: Per step.
        power: Above 0.
        least: Where it stays.

    Raises:
        LossError: The step is negative.

    Example:
        >>> ease(0), ease(100_000)
        (1000.0, 5.0)

    Reference:
        Liu et al., sphereface, ``base``, ``gamma``, ``power`` and ``lambda_min`` of its
        MarginInnerProduct layer.
    """
    if step < 0:
        raise LossError("step", f"is {step}", "0 or more")
    eased: float = start / (1 + decay * step) ** power
    return max(least, eased)


class ASoftmax(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """A-Softmax with its class centres.

    Args:
        classes: C.
        embedding_dim: D.
        margin: m, a whole number of 1 or more.

    Attributes:
        weight: ``(C, D)``, a parameter.
    """

    def __init__(self, classes: int, embedding_dim: int, margin: int = 4) -> None:
        super().__init__()
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(classes, embedding_dim))
        nn.init.normal_(self.weight)  # any direction alike; lengths don't matter

    def forward(self, embeddings: Tensor, labels: Tensor, step: int) -> Tensor:
        """Give the loss of a batch, eased by :func:`ease`.

        Args:
            embeddings: ``(B, D)``.
            labels: ``(B,)``, 0 to C - 1.
            step: Of the training; given, not counted, so that it is right after a resume.

        Returns:
            A scalar.
        """
        return a_softmax_loss(embeddings, labels, self.weight, self.margin, ease(step))
