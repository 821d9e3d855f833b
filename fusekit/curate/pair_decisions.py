"""Decisions on pairs of identities: the cosines that decide, and what the evidence says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from fusekit.curate.thresholds import joint_threshold

if TYPE_CHECKING:
    from fusekit.curate.gallery import Gallery

Decision: TypeAlias = Literal["same", "different", "unsure"]

IMAGE_FALSE_MATCH: Final = 1e-4
"""Share of image pairs of strangers that are counted as votes."""
UNSURE: Final = 100
"""How many times as many strangers may score as an unsure pair does."""
VOTES: Final = 0.15
"""Share of the compared image pairs whose votes make a strong score believed."""


@dataclass(frozen=True)
class Limits:
    """Cosines that decide between two datasets.

    Attributes:
        same: Of templates: strangers score above it at the rate asked for.
        unsure: Of templates: strangers score above it 100 times as often, at most at the root of
            the rate.
        named: Of templates of the same name: strangers score above it at the root of the rate.
        image: Of single images: strangers score above it once in 10,000.
    """

    same: float
    unsure: float
    named: float
    image: float


def limits_between(left: Gallery, right: Gallery, false_match: float) -> Limits:
    """Derive the thresholds between two galleries from what both show of strangers.

    Args:
        left: A gallery.
        right: Another, or the same.
        false_match: Share of the pairs of strangers that may score as one person, over 0, at
            most 0.01.

    Raises:
        FindingError: Neither has two identities.
    """
    kinds = (left.strangers, right.strangers)
    images = (left.image_strangers, right.image_strangers)
    named = float(np.sqrt(false_match))
    return Limits(
        same=joint_threshold(kinds, false_match),
        # Never more often than with one name: 100 times 1e-3 would be.
        unsure=joint_threshold(kinds, min(UNSURE * false_match, named)),
        named=joint_threshold(kinds, named),
        image=joint_threshold(images, IMAGE_FALSE_MATCH),
    )


def decide(
    score: float,
    votes: int,
    compared: int,
    margin: float,
    name_match: bool | None,  # noqa: FBT001 - one piece of evidence among others
    *,
    limits: Limits,
) -> Decision:
    """Decide whether two identities are one person.

    ==================  ============  ============  ==========================================
    score               same name     other name    no name to compare
    ==================  ============  ============  ==========================================
    ``same`` or more    same          unsure        same, if the images vote for it; or unsure
    ``unsure`` or more  same          different     unsure, if each other's nearest and with
                                                    half the votes; or different
    ``named`` or more   same          (not listed)  (not listed)
    less                unsure        (not listed)  (not listed)
    ==================  ============  ============  ==========================================

    The votes must be 0.15 of the image pairs compared.

    Example:
        >>> limits = Limits(same=0.6, unsure=0.5, named=0.4, image=0.45)
        >>> [decide(0.7, 60, 100, 0.2, name, limits=limits) for name in (True, False, None)]
        ['same', 'unsure', 'same']
        >>> [decide(0.5, 9, 100, 0.2, name, limits=limits) for name in (True, False, None)]
        ['same', 'different', 'unsure']
    """
    if name_match is True:
        return "same" if score >= limits.named else "unsure"
    if score >= limits.same:
        believed = votes >= max(1, VOTES * compared)
        return "same" if believed and name_match is None else "unsure"
    nearest_of_both = not margin < 0  # NaN: there is nobody else
    supported = votes >= max(1, VOTES / 2 * compared)
    if score >= limits.unsure and name_match is None and nearest_of_both and supported:
        return "unsure"
    return "different"
