"""What a margin makes of the cosine between an embedding and the centre of its own class.

Each function is pure: cosines in, cosines out, of any shape. A softmax over ``s`` times these
cosines is the loss that the margin is named after. All stay finite, values and gradients, for
every cosine in [-1, 1] and for the little beyond that rounding gives.

Reference:
    Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017.
    Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018.
    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import torch

from fusekit.errors import LossError

Loss: TypeAlias = Literal["softmax", "cosine", "arcface", "cosface", "sphereface"]
BeyondPi: TypeAlias = Literal["insightface", "continuous"]
MarginGradient: TypeAlias = Literal["exact", "straight_through"]

_LEAST_SQUARE = 1e-9  # of a sine: its root's slope stays finite where the angle is 0 or pi


def sine(cosine: torch.Tensor) -> torch.Tensor:
    """Give the sine of angles in [0, pi] by their cosines, at least 3e-5.

    Args:
        cosine: Any shape.

    Example:
        >>> sine(torch.tensor([0.0, 0.6])).tolist() == [1.0, torch.tensor(0.8).item()]
        True
    """
    return (1 - cosine * cosine).clamp_min(_LEAST_SQUARE).sqrt()


def arcface_target(
    cosine: torch.Tensor, margin: float, beyond_pi: BeyondPi = "insightface"
) -> torch.Tensor:
    """Give cos(theta + margin).

    Where theta + margin passes pi the cosine would rise again, so that a worse angle had a
    smaller loss. There, both forms go on with the cosine itself, moved down.

    Args:
        cosine: cos(theta), any shape.
        margin: In radians, ``[0, pi)``; the paper's is 0.5.
        beyond_pi: ``insightface``: cosine - margin * sin(margin), as InsightFace, which jumps
            down by ``cos(margin) + margin * sin(margin) - 1`` (0.12 for 0.5) at pi;
            ``continuous``: cosine - (1 - cos(margin)), which doesn't.

    Returns:
        Of the same shape.

    Example:
        >>> arcface_target(torch.tensor([1.0, -1.0]), 0.0).tolist()
        [1.0, -1.0]

    Reference:
        Deng et al., CVPR 2019, equation 3; the part beyond pi: InsightFace, arcface_torch,
        CombinedMarginLoss.
    """
    turned = cosine * math.cos(margin) - sine(cosine) * math.sin(margin)  # cos(theta + margin)
    shift = margin * math.sin(margin) if beyond_pi == "insightface" else 1 - math.cos(margin)
    return torch.where(cosine > -math.cos(margin), turned, cosine - shift)


def cosface_target(cosine: torch.Tensor, margin: float) -> torch.Tensor:
    """Give cos(theta) - margin.

    Args:
        cosine: cos(theta), any shape.
        margin: 0 or more; the paper's is 0.35.

    Reference:
        Wang et al., CVPR 2018, equation 4.
    """
    return cosine - margin


def sphereface_target(cosine: torch.Tensor, margin: int) -> torch.Tensor:
    """Give psi(theta) = (-1)^k cos(margin * theta) - 2k, k = floor(margin * theta / pi).

    It falls over all of [0, pi]: the monotone extension of cos(margin * theta). The cosine of a
    multiple is taken as a polynomial of the cosine, whose slope is at most margin squared.

    Args:
        cosine: cos(theta), any shape.
        margin: A whole number of 1 or more; the paper's is 4. With 1 it is the cosine.

    Returns:
        Of the same shape, in [1 - 2 * margin, 1].

    Example:
        >>> sphereface_target(torch.tensor([1.0, 0.0, -1.0]), 2).tolist()
        [1.0, -1.0, -3.0]

    Reference:
        Liu et al., CVPR 2017, equation 7. Chebyshev: T_{n+1}(c) = 2c T_n(c) - T_{n-1}(c).
    """
    before, multiple = torch.ones_like(cosine), cosine
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosine * multiple - before  # cos(n * theta)
    with torch.no_grad():
        angle = cosine.clamp(-1, 1).arccos()
        # Both neighbours meet with slope 0 at a bound, so rounding k there does no harm.
        k = (margin * angle / math.pi).floor().clamp(0, margin - 1)
        sign = 1 - 2 * (k % 2)
    return sign * multiple - 2 * k


def straight_through(target: torch.Tensor, cosine: torch.Tensor) -> torch.Tensor:
    """Give the target's value with the cosine's gradient, as InsightFace's losses have it.

    Args:
        target: What a margin made of ``cosine``.
        cosine: The same shape.

    Example:
        >>> cosine = torch.tensor([0.5], requires_grad=True)
        >>> straight_through(arcface_target(cosine, 0.5), cosine).backward()
        >>> cosine.grad.tolist()
        [1.0]
    """
    return target.detach() + (cosine - cosine.detach())


def target_cosine(
    cosine: torch.Tensor,
    loss: Loss,
    margin: float,
    *,
    beyond_pi: BeyondPi = "insightface",
    gradient: MarginGradient = "exact",
) -> torch.Tensor:
    """Give what a loss makes of the cosine with the own class.

    Args:
        cosine: cos(theta), any shape; for ``softmax`` any product.
        loss: ``softmax`` and ``cosine`` have no margin and give the cosine.
        margin: As the loss' function wants it.
        beyond_pi: As :func:`arcface_target`; no matter to others.
        gradient: ``exact``: of what is given; ``straight_through``: the cosine's.

    Returns:
        Of the same shape.
    """
    if loss == "arcface":
        target = arcface_target(cosine, margin, beyond_pi)
    elif loss == "cosface":
        target = cosface_target(cosine, margin)
    elif loss == "sphereface":
        target = sphereface_target(cosine, int(margin))
    else:
        return cosine
    return target if gradient == "exact" else straight_through(target, cosine)


def check_margin(loss: str, margin: float, scale: float, beyond_pi: str, gradient: str) -> None:
    """Refuse a margin that a loss can't have.

    Raises:
        LossError: A name is unknown, the scale is not above 0, or the margin is out of range.
    """
    for where, found, known in (
        ("loss", loss, Loss), ("beyond_pi", beyond_pi, BeyondPi),
        ("margin_gradient", gradient, MarginGradient),
    ):  # fmt: skip
        if found not in get_args(known):
            raise LossError(where, f"is {found!r}", ", ".join(get_args(known)))
    if not (math.isfinite(scale) and scale > 0):
        raise LossError("scale", f"is {scale}", "a number above 0")
    if loss == "sphereface" and not (margin >= 1 and margin == int(margin)):
        raise LossError(
            "margin", f"is {margin} with sphereface", "a whole number of 1 or more",
            "the paper's is 4",
        )  # fmt: skip
    if loss == "arcface" and not 0 <= margin < math.pi:
        raise LossError("margin", f"is {margin} with arcface", "radians from 0 to below pi")
    if loss == "cosface" and not (math.isfinite(margin) and margin >= 0):
        raise LossError("margin", f"is {margin} with cosface", "0 or more")
