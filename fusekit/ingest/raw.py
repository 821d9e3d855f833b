"""Where the raw data of an ingest is, and which reader opens it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusekit.cards.card import with_finished_crops, with_options
from fusekit.errors import SourceError, StoreError, UsageError
from fusekit.readers.item import EvaluationReader
from fusekit.readers.registry import open_reader
from fusekit.storage.folder import open_storage
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from pydantic import JsonValue

    from fusekit.cards.card import Card
    from fusekit.readers.item import Reader

RAW_VARIABLE: Final = "FUSEKIT_RAW"


def raw_root(raw: str | os.PathLike[str] | None, card: str) -> Path:
    """Find the raw data of a card.

    Raises:
        UsageError: The place is given and empty.
        SourceError: There is nothing.
    """
    if raw is not None and not os.fspath(raw):  # an unset variable, not the current folder
        raise UsageError("--from", "is empty", "the place of the raw data")
    given = Path(raw) if raw is not None else Path(os.environ.get(RAW_VARIABLE, "raw")) / card
    root = given.expanduser()
    if not root.exists():
        fix = None if raw is not None else f"give it with --from, or lay it at {given}"
        raise SourceError(given, "there is no raw data here", None, fix)
    return root


def check_apart(store: str | os.PathLike[str] | None, root: Path) -> None:
    """Refuse a store inside the raw folder: its own files would be read as pictures."""
    where = layout.store_place(store)
    if open_storage(where).root.resolve().is_relative_to(root.resolve()):
        raise StoreError(
            where, f"lies inside the raw data {root}", "a place outside of it",
            "give another with --store",
        )  # fmt: skip


def open_raw(
    card: Card, root: Path, form: str | None, options: Mapping[str, JsonValue], *, aligned: bool
) -> tuple[Card, Reader]:
    """Open the raw data; what is said over the card goes into the card as used."""
    if not (options or aligned):
        return card, open_reader(card, root, form)
    if form is None:
        form = open_reader(card, root).form if len(card.forms) > 1 else card.resolved()[0].name
    card = with_options(card, form, options)
    card = with_finished_crops(card, form) if aligned else card
    return card, open_reader(card, root, form)


def protocol_tables(reader: Reader) -> Mapping[str, Iterator[pa.RecordBatch]]:
    """Give the tables of an evaluation set's protocol; none of other datasets."""
    return reader.tables() if isinstance(reader, EvaluationReader) else {}
