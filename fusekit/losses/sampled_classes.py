"""Classes of a dataset that stand in for all of them: for heads of hundreds of thousands.

Reference:
    An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face
    Recognition CNNs by Partial FC", CVPR 2022, section 3.2: the classes of the batch, and others
    drawn anew each step up to a share of all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fusekit.rng import permute

if TYPE_CHECKING:
    from fusekit.losses.class_sets import I64


def sample_classes(count: int, positives: I64, rate: float, key: int) -> I64:
    """Choose classes: those of the batch, and others up to a share.

    Args:
        count: How many classes there are.
        positives: Those of the batch, ascending, each once, ``(P,)``, below ``count``.
        rate: Share to choose, above 0 and up to 1. Where the batch alone has more, these.
        key: From :func:`fusekit.rng.derive`.

    Returns:
        Ascending, each once, ``max(P, ceil(rate * count))`` of them.

    Example:
        >>> chosen = sample_classes(100, np.array([7, 70]), 0.05, key=1)
        >>> len(chosen), set(chosen.tolist()) >= {7, 70}
        (5, True)
    """
    wanted = max(len(positives), math.ceil(rate * count))
    drawn = permute(np.arange(wanted), count, key).astype(np.int64)
    # At most P of the drawn are positives, so enough others are left.
    others = drawn[~np.isin(drawn, positives)][: wanted - len(positives)]
    chosen: I64 = np.sort(np.concatenate([positives, others]))
    return chosen
