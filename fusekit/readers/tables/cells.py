"""The cells of a row: in the places of a table, or under the keys of a JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A row's cells: by place in a CSV, by key in a JSON object.
Cells: TypeAlias = "list[str] | dict[str, Any]"


def text_of(cells: Cells, column: Any) -> str | None:  # noqa: ANN401 - a place or a key
    """Give a cell's text; None where it is empty, not there, or JSON's true, list or object."""
    if column is None:
        return None
    value = cells.get(column) if isinstance(cells, dict) else cells[column]
    text = value if isinstance(value, str) else ""  # numbers of JSON stay text
    if not text.isascii():  # JSON may spell half a character
        text = text.encode("utf-8", "backslashreplace").decode()
    return text.strip() or None


def several_of(cells: Cells, columns: Sequence[Any], column: Any) -> list[object]:  # noqa: ANN401
    """Give the texts of several numbers, of their columns or out of one."""
    if columns:
        texts = [text_of(cells, each) for each in columns]
        return [] if None in texts else list(texts)
    if column is None:
        return []
    value = cells.get(column) if isinstance(cells, dict) else None
    if isinstance(value, list):  # pairs of a point are taken apart
        return [number for each in value for number in (each if isinstance(each, list) else [each])]
    text = text_of(cells, column)
    return list(text.strip("[]()").replace(",", " ").split()) if text else []
