"""What keeps a loss in float32, whatever the network before it computes in."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")


def full_precision(loss: Callable[Given, torch.Tensor]) -> Callable[Given, torch.Tensor]:
    """Run a loss outside autocast, with half-precision tensors lifted to float32.

    Cosines and squared distances near their ends need more than the 8 or 11 bits of a half: in
    bfloat16 every cosine above 0.998 is 1. float64 stays as it is, so that tests can compare.

    Args:
        loss: A function whose arguments, by place or by name, are tensors and settings.

    Returns:
        The same function; gradients reach half-precision arguments in their own type.

    Example:
        >>> @full_precision
        ... def square(x):
        ...     return x @ x
        >>> square(torch.ones(3, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    @functools.wraps(loss)
    def exactly(*args: Given.args, **kwargs: Given.kwargs) -> torch.Tensor:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return loss(*map(_lift, args), **{k: _lift(v) for k, v in kwargs.items()})

    return exactly


def _lift(value: Any) -> Any:  # noqa: ANN401 - an argument of any type
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
