"""Published overlaps: people that the makers or users of a dataset listed as also in another.

The lists stand in the cards (``overlaps`` with ``ids``). A stored dataset does not say its card's
name, since it may have any name of its own; its card is found by its dataset index, its name, or
the form it was read in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from fusekit.cards.card import Card, list_cards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.store.datasets import DatasetInfo


@dataclass(frozen=True)
class PublishedList:
    """Which of a dataset's people are said to be in an evaluation set too.

    Attributes:
        listed_for: The card's dataset that the list names: the evaluation set's own, or the one
            whose people it shows again.
        ids: As the release names its people.
        source: Where the list is from.
    """

    listed_for: str
    ids: frozenset[str]
    source: str


def published_list(training: DatasetInfo, evaluation: DatasetInfo) -> PublishedList | None:
    """Give the published list of a training dataset's people who are in an evaluation set.

    An evaluation set that shows the people of another under the same names (CALFW and CPLFW show
    LFW's) has that one's lists too.

    Args:
        training: A dataset of the store, under any name.
        evaluation: Another.

    Returns:
        None when no list is known, or when it names nobody one by one.

    Raises:
        CardError: fusekit's cards are not installed.
    """
    cards = _cards()
    mine, other = card_of(training, cards), card_of(evaluation, cards)
    if mine is None or other is None:
        return None
    same_people = {o.dataset for o in other.overlaps if o.same_people}
    for overlap in mine.overlaps:
        if overlap.ids and overlap.dataset in {other.name, *same_people}:
            return PublishedList(overlap.dataset, frozenset(overlap.ids), overlap.note)
    return None


def card_of(info: DatasetInfo, cards: Sequence[Card]) -> Card | None:
    """Find the card that a stored dataset was ingested by.

    Args:
        info: The dataset.
        cards: Where to look.

    Returns:
        Of the cards that have the form it was read in, the one of its dataset index, else the
        one of its name, else the only one; None when nothing tells.
    """
    able = [card for card in cards if card.kind == info.kind and _has_form(card, info)]
    by_index = [card for card in able if card.index is not None and card.index == info.index]
    by_name = [card for card in able if card.name == info.name]
    found = by_index or by_name or able
    return found[0] if len(found) == 1 else None


@cache
def _cards() -> tuple[Card, ...]:
    # All of them are parsed to find one: a second, once.
    return tuple(list_cards())


def _has_form(card: Card, info: DatasetInfo) -> bool:
    used = info.card.get("form", {})
    return any(
        (form.name, form.reader) == (used.get("name"), used.get("reader"))
        for form in card.resolved()
    )
