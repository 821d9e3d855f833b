"""How a trained head treats strangers: their activations, and how far apart its centres lie.

Reference:
    Yu et al., "Unknown Identity Rejection Loss: Utilizing Unlabeled Data for Face Recognition",
    ICCV Workshops 2019: table 7 (cumulative distribution of the largest activation of faces whose
    identities are not in the training set), table 9 (its mean), table 8 and the equation in
    section 4.3 (mean cosine distance between centres).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import UsageError
from fusekit.evaluation.scores import unit_rows

if TYPE_CHECKING:
    from fusekit.evaluation.scores import Scores, Vectors

EDGES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The activations of table 7."""
_ROWS: Final = 256
_CLASSES: Final = 16_384


def max_activations(vectors: Vectors, weight: Vectors, scale: float) -> Scores:
    """Give each embedding's largest softmax activation over all classes of a head.

    Args:
        vectors: ``(N, D)`` of any length but zero.
        weight: ``(C, D)`` class centres, of any length but zero.
        scale: What cosines are multiplied by.

    Returns:
        ``(N,)``, above 0, at most 1.
    """
    unit, centres = unit_rows(vectors), unit_rows(weight)
    out = np.empty(len(unit))
    for first in range(0, len(unit), _ROWS):
        rows = unit[first : first + _ROWS]
        peak = np.full(len(rows), -np.inf)
        total = np.zeros(len(rows))  # of exp(logit - peak)
        for start in range(0, len(centres), _CLASSES):
            logits = scale * (rows @ centres[start : start + _CLASSES].T).astype(np.float64)
            higher = np.maximum(peak, logits.max(axis=1))
            total = total * np.exp(peak - higher) + np.exp(logits - higher[:, None]).sum(axis=1)
            peak = higher
        out[first : first + len(rows)] = 1 / total
    return out


def activation_table(activations: Scores) -> dict[str, Any]:
    """Give the share of activations under each tenth, and their mean.

    Args:
        activations: ``(N,)``, from :func:`max_activations`.

    Returns:
        ``samples``, ``below`` by edge as table 7 and ``mean`` as table 9; None of no samples.

    Example:
        >>> table = activation_table(np.array([0.05, 0.25, 0.95, 0.95]))
        >>> table["below"]["0.1"], table["below"]["0.3"], table["below"]["0.9"]
        (0.25, 0.5, 0.5)
    """
    below = {f"{e:g}": float((activations < e).mean()) if len(activations) else None for e in EDGES}
    mean = float(activations.mean()) if len(activations) else None
    return {"samples": len(activations), "below": below, "mean": mean}


def centre_distance(weight: Vectors) -> float:
    """Give the mean cosine distance between different centres, over all pairs.

    The sum of all cosines is the squared length of the sum of unit centres, so this takes C * D
    steps, not C * C.

    Args:
        weight: ``(C, D)`` class centres, of any length but zero; ``C >= 2``.

    Raises:
        UsageError: There are fewer than two.

    Example:
        >>> centre_distance(np.array([[1, 0], [0, 2], [-3, 0]], np.float32))
        1.3333333333333333
    """
    if len(weight) < 2:
        raise UsageError("--head", f"has {len(weight)} centres", "two or more")
    n = len(weight)
    rows = weight.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    total = rows.sum(axis=0)
    # The n cosines of a centre with itself are 1 each.
    return float(1 - (total @ total - n) / (n * (n - 1)))
