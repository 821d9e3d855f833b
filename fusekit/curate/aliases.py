"""Other names of people, from a table that somebody keeps."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusekit.curate.names import name_key
from fusekit.errors import UsageError

if TYPE_CHECKING:
    import os

_COLUMNS: Final = ("alias", "name")


def read_aliases(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a CSV file with the columns ``alias`` and ``name``, one other name a line.

    Returns:
        Other name to the name it stands for, as spelt.

    Raises:
        UsageError: The file is not there, has other columns, or a line that holds no two names or
            gives one alias two names.
    """
    where = f"--aliases {path}"
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not set(_COLUMNS) <= set(rows.fieldnames or ()):
                found = ", ".join(rows.fieldnames or ()) or "none"
                raise UsageError(where, f"has the columns {found}", " and ".join(_COLUMNS))
            table = [(rows.line_num, row["alias"], row["name"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(where, f"can't be read ({error})", "a CSV file") from None
    known: dict[str, str] = {}
    for line, alias, name in table:
        place = f"{where}:{line}"
        if name_key(alias or "") is None or name_key(name or "") is None:
            raise UsageError(place, f"{alias!r}, {name!r} are no two names")
        if known.setdefault(alias, name) != name:
            raise UsageError(place, f"{alias!r} stands for {known[alias]!r} already")
    return known
