"""How an embedding and a class centre become a product: plain, or a scaled cosine with a margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.losses.margins import BeyondPi, Loss, MarginGradient, check_margin, target_cosine
from fusekit.losses.products import group_products

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Similarity:
    """How an embedding and a class centre become a product z.

    Attributes:
        loss: ``softmax``: the plain product W x, without bias; else ``scale`` times the cosine,
            with the margin of that name on the own class (``cosine``: none).
        scale: s; no matter to ``softmax``.
        margin: m: radians for ``arcface``, a cosine for ``cosface``, a whole multiple for
            ``sphereface``.
        beyond_pi: As :func:`fusekit.losses.margins.arcface_target`.
        margin_gradient: As :func:`fusekit.losses.margins.target_cosine`.
        product_dtype: Type that embeddings and centres are multiplied in, such as
            ``torch.bfloat16``; what comes before and after stays float32. None: float32.

    Raises:
        LossError: A value is out of range.
    """

    loss: Loss = "arcface"
    scale: float = 64.0
    margin: float = 0.5
    beyond_pi: BeyondPi = "insightface"
    margin_gradient: MarginGradient = "exact"
    product_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_margin(self.loss, self.margin, self.scale, self.beyond_pi, self.margin_gradient)

    def products(
        self, x: torch.Tensor, weight: torch.Tensor, sizes: Sequence[int], slices: Sequence[slice]
    ) -> Sequence[torch.Tensor]:
        """Multiply groups of rows with slices of the weights: cosines, but for ``softmax``.

        Args:
            x: Group after group, ``(B, D)``.
            weight: ``(C, D)``.
            sizes: Rows of each group.
            slices: Rows of the weights of each group, disjoint.

        Returns:
            For each group ``(rows, centres)``, of ``x``'s type.
        """
        cosine = self.loss != "softmax"
        return group_products(
            F.normalize(x) if cosine else x, weight, sizes, slices,
            cosine=cosine, dtype=self.product_dtype,
        )  # fmt: skip

    def pairs(
        self, x: torch.Tensor, weight: torch.Tensor, row: torch.Tensor, column: torch.Tensor
    ) -> torch.Tensor:
        """Multiply chosen rows with chosen centres, as :meth:`product`.

        Args:
            x: ``(B, D)``.
            weight: ``(n, D)``.
            row: Into ``x``, ``(M,)``.
            column: Into ``weight``, ``(M,)``.

        Returns:
            ``(M,)``, of ``x``'s type.
        """
        if self.loss != "softmax":
            x, weight = F.normalize(x), F.normalize(weight)
        dtype = self.product_dtype or x.dtype
        a, b = x.to(dtype)[row], weight.to(dtype)[column]  # (M, D)
        return torch.einsum("md,md->m", a, b).to(x.dtype)

    def logits(self, product: torch.Tensor) -> torch.Tensor:
        """Scale products of other classes, any shape."""
        return product if self.loss == "softmax" else self.scale * product

    def target(self, product: torch.Tensor) -> torch.Tensor:
        """Put the margin on products of the own class, and scale them, any shape."""
        return self.logits(
            target_cosine(
                product, self.loss, self.margin,
                beyond_pi=self.beyond_pi, gradient=self.margin_gradient,
            )
        )  # fmt: skip
