"""A layer that is nothing forwards and turns the gradient round backwards.

Reference:
    Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
    equation 8. In the dataset-aware training paper it carries equation 7.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fusekit.errors import LossError


def gradient_reversal(x: torch.Tensor, weight: float) -> torch.Tensor:
    """Give ``x``, whose gradient will be ``-weight`` times the gradient of what is given.

    Args:
        x: Any shape.
        weight: Lambda, 0 or more; the paper's is 0.1.

    Returns:
        The same values.

    Raises:
        LossError: The weight is negative or no number.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> gradient_reversal(x, 0.5).sum().backward()
        >>> x.grad.tolist()
        [-0.5, -0.5]
    """
    check_weight(weight)
    reversed_: torch.Tensor = _Reversal.apply(x, weight)
    return reversed_


def check_weight(weight: float) -> None:
    """Refuse a weight that is negative or no number.

    Raises:
        LossError: It is.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise LossError("gradient reversal", f"has the weight {weight}", "0 or more")


class _Reversal(torch.autograd.Function):  # type: ignore[misc] # torch is not seen by the checker
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: float) -> torch.Tensor:  # noqa: ANN401
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        return -ctx.weight * gradient, None
