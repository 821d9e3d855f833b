"""Shares of the labeled datasets as integers: exact for images, else rounded once."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fusekit.mixture.drawing import ByValue, Temperature, Weights, check_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

TOTAL: Final = 1 << 20  # what rounded weights sum to

# Ours, not the thread's: another precision would be another order. ln and exp round correctly.
_CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=[])
_SMALLEST: Final = Decimal(-100)  # e to this is far under one part of the total


def weights_by(
    by: ByValue, names: Sequence[str], images: Sequence[int], identities: Sequence[int]
) -> tuple[int, ...]:
    """Give each labeled dataset its weight.

    Args:
        by: What a recipe's ``by`` says.
        names: Of the labeled datasets.
        images: Rows of each.
        identities: Classes of each.

    Returns:
        The images themselves; anything else rounded to integers of sum 2**20.

    Raises:
        ValueError: Weights are given that are not one for each dataset.

    Example:
        >>> weights_by("identities", ["a", "b"], [50, 60], [1, 3])
        (262144, 786432)
    """
    match by:
        case "images":
            return tuple(images)
        case "identities":
            return round_shares([Fraction(n) for n in identities])
        case Weights(of):
            check_weights(by, names)
            return round_shares([of[name] for name in names])
        case Temperature(t):
            return round_shares(tempered(images, t))


def round_shares(shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Round shares to integers of sum 2**20, each at least 1, by largest remainder.

    Shares under one part get one; the others share the rest. Of equal remainders the first wins.

    Args:
        shares: In proportion; none negative, not all 0, at most 2**20 of them.

    Example:
        >>> round_shares([Fraction(1, 3), Fraction(2, 3)])
        (349525, 699051)
    """
    rest, left = list(range(len(shares))), TOTAL
    while True:
        whole = sum(shares[k] for k in rest)
        large = [k for k in rest if shares[k] * left >= whole]
        if len(large) == len(rest):
            break
        rest, left = large, TOTAL - (len(shares) - len(large))
    parts = [1] * len(shares)
    over = {}
    for k in rest:
        exact = shares[k] * left / whole
        parts[k] = exact.numerator // exact.denominator
        over[k] = exact - parts[k]
    missing = TOTAL - sum(parts)
    for k in sorted(rest, key=lambda k: (-over[k], k))[:missing]:
        parts[k] += 1
    return tuple(parts)


def tempered(images: Sequence[int], t: Fraction) -> list[Fraction]:
    """Give ``n ** (1 / t)`` for each n, in parts of the largest, to 40 decimal places.

    Args:
        images: Positive integers.
        t: The temperature, over 0.

    Example:
        >>> tempered([1, 4], Fraction(2))
        [Fraction(1, 2), Fraction(1, 1)]
    """
    context, most = _CONTEXT, max(images)
    if t == 1:
        return [Fraction(n, most) for n in images]
    shares = []
    for n in images:
        ratio = context.divide(Decimal(n), Decimal(most))
        power = context.multiply(context.ln(ratio), Decimal(t.denominator))
        power = context.divide(power, Decimal(t.numerator))
        share = context.exp(power) if power > _SMALLEST else Decimal(0)
        shares.append(Fraction(share.quantize(Decimal("1e-40"), context=context)))
    return shares
