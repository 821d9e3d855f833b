"""Which readers there are, and which of a card's forms lies on disk.

A new reader is a file of its own and a line in ``_READERS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusekit.cards.checking import nearest
from fusekit.errors import CardError, SourceError
from fusekit.readers.folders import FoldersReader
from fusekit.readers.recordio import RecordioReader
from fusekit.readers.unlabeled import UnlabeledReader

if TYPE_CHECKING:
    from pathlib import Path

    from fusekit.cards.card import Card, Form
    from fusekit.readers.item import Reader, ReaderType

_READERS: Final[dict[str, ReaderType]] = {
    "folders": FoldersReader,
    "recordio": RecordioReader,
    "unlabeled": UnlabeledReader,
}

#: Readers that cards name already and that a later release brings.
_LATER: Final = frozenset(
    {"agedb", "celeba", "cfp", "lfw", "pair-bin", "trillion-pairs", "tsv", "umdfaces"}
)


def reader_names() -> list[str]:
    """Give the names of the readers that there are, sorted."""
    return sorted(_READERS)


def open_reader(card: Card, raw: Path, form: str | None = None) -> Reader:
    """Open raw data by its card.

    Args:
        card: The dataset's.
        raw: A folder, or a file such as a ``.rec``.
        form: Name of the card's form; None: the first one that the raw data looks like.

    Returns:
        The reader; ``reader.form`` says which form was found.

    Raises:
        CardError: The card has no such form, or names a reader or an option that is unknown.
        SourceError: The raw data is not there, has none of the card's forms, or has one whose
            reader arrives with a later release.
    """
    forms = (card.form(form),) if form else card.resolved()
    _check_known(card, forms)
    now = [each for each in forms if each.reader in _READERS]
    later = [each.reader for each in forms if each.reader in _LATER]
    if not now:
        raise _arrives_later(card, later, None)
    if not raw.exists():
        raise SourceError(raw, "there is no such file or folder", f"the raw data of {card.name}")
    here = raw.resolve()
    if len(forms) == 1:
        # With one way to read it, the reader itself says best what does not fit.
        return _READERS[now[0].reader](here, card.kind, now[0])
    for each in now:
        if _READERS[each.reader].fits(here, each):
            return _READERS[each.reader](here, card.kind, each)
    known = " or ".join(f"{each.name}: {_READERS[each.reader].looks_for}" for each in now)
    if later:
        raise _arrives_later(card, later, f"{raw} holds nothing that can be read now ({known})")
    raise SourceError(raw, f"holds no form of {card.name}", known)


def _arrives_later(card: Card, readers: list[str], fix: str | None) -> SourceError:
    names = " and ".join(repr(reader) for reader in readers)
    what = f"the reader {names} arrives" if len(readers) == 1 else f"the readers {names} arrive"
    return SourceError(card.name, f"{what} with a later release", None, fix)


def _check_known(card: Card, forms: tuple[Form, ...]) -> None:
    for form in forms:
        if form.reader not in _READERS and form.reader not in _LATER:
            near = nearest(form.reader, _READERS)
            raise CardError(
                card.name, f"there is no reader {form.reader!r}", " or ".join(reader_names()),
                f"did you mean {near!r}?" if near else None,
            )  # fmt: skip
