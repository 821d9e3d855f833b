"""What tests of evaluation readers ask of them."""

from pathlib import Path
from typing import Any

from fusekit.cards.card import load_card, with_options
from fusekit.readers.item import EvaluationReader, Item, RemarkingReader
from fusekit.readers.registry import open_reader


def listed(
    card: str, raw: Path, form: str | None = None, **options: Any
) -> tuple[EvaluationReader, list[Item]]:
    """Open raw data and list it; sizes and the order of sources are checked."""
    known = load_card(card)
    if options:
        known = with_options(known, form or "originals", options)
    reader = open_reader(known, raw, form)
    assert isinstance(reader, EvaluationReader)
    assert isinstance(reader, RemarkingReader)
    items = list(reader.items())
    for there in (True, False):  # missing ones stand last
        sources = [item.source for item in items if (item.reject is None) == there]
        assert sources == sorted(sources, key=str.encode)
    assert len({item.source for item in items}) == len(items)
    assert all(len(reader.read(item)) == item.size for item in items if not item.reject)
    return reader, items


def pairs(reader: EvaluationReader) -> list[dict[str, Any]]:
    """The pairs of a reader that has listed its items."""
    return [row for batch in reader.tables().get("pairs", ()) for row in batch.to_pylist()]


def short(rows: list[dict[str, Any]]) -> list[tuple[int, bool, str, str]]:
    """Fold, same, and the stems of both pictures of each pair."""
    return [
        (row["fold"], row["same"], Path(row["source_a"]).stem, Path(row["source_b"]).stem)
        for row in rows
    ]
