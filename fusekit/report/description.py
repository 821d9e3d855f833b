"""What a description of a dataset or a mixture is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """A small table of a description."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class Description:
    """What is recorded of one dataset or mixture.

    Attributes:
        name: Its name.
        what: ``dataset`` or ``mixture``.
        facts: Names and values, in the order to show them.
        tables: What takes more than one line.
        record: Its own record, as it stands in the store.
    """

    name: str
    what: str
    facts: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit info --json`` prints."""
        tables = {
            table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            for table in self.tables
        }
        return {self.what: self.name, **self.facts, **tables, "record": self.record}
