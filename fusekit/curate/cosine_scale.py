"""A scale of the cosine on which strangers are spread like a normal distribution.

Cosines end at 1, and the nearer they are to it the less they spread. A model whose embeddings
share a common part gives strangers cosines around 0.9; "so many standard deviations above" then
lies beyond 1 on the cosine's own scale, where nobody is. On this one it never does: it is
``sqrt(-ln(1 - c²))``, with the sign of c, on which the density of the cosine of two random
directions, ``(1 - c²)^((D - 3) / 2)``, is the normal distribution's in any number of dimensions.

Reference:
    Linfoot, "An informational measure of correlation", Information and Control 1957: its square is
    twice the information that one of two normal variables of correlation c has on the other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_MOST: Final = 1 - 2.5e-5  # of two equal vectors: they would be at infinity


def to_scale(cosines: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give the places of cosines on the scale; those beyond ±0.999975 count as that.

    Example:
        >>> to_scale([-0.5, 0, 0.5, 1]).round(3).tolist()
        [-0.536, 0.0, 0.536, 3.147]
    """
    c = np.clip(np.asarray(cosines, np.float64), -_MOST, _MOST)
    return np.asarray(np.copysign(np.sqrt(-np.log1p(-c * c)), c))


def to_cosine(place: float) -> float:
    """Give the cosine of a place on the scale, rounded to 1/10,000: at most 1.

    Example:
        >>> to_cosine(0.536), to_cosine(-0.536), to_cosine(9.0)
        (0.4997, -0.4997, 1.0)
    """
    return round(float(np.copysign(np.sqrt(-np.expm1(-place * place)), place)), 4)
