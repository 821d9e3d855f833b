"""Tables that say what the people of a dataset are called."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal, TypeAlias

NamesFormat: TypeAlias = Literal["vggface2", "space", "label"]

_MAX_LINE: Final = 1_000  # bounds the work that a damaged file can cause
# Spaces, quotes, commas inside names and trailing commas differ between copies of the file.
_VGGFACE2: Final = re.compile(r"\s*(n\d{6})\s*,\s*(.*?)\s*,\s*\d+\s*,\s*[01]\s*,\s*[mf]\s*,?\s*")
_SPACE: Final = re.compile(r"(\S+)\s+(\S.*?)\s*")
_LABEL: Final = re.compile(r"(\d+)\t([^\t]*)(?:\t.*)?")


def parse_names(data: bytes, table: NamesFormat) -> tuple[dict[str, str], int]:
    r"""Read a table of names; the first row of an identity counts.

    Args:
        data: The file, UTF-8.
        table: ``vggface2``: ``identity_meta.csv``; ``space``: identity, spaces, name;
            ``label``: label, tab, name, or one name a line for labels 0, 1, ….

    Returns:
        Identity to name, both NFC, and the number of rows that could not be read.

    Example:
        >>> parse_names(b'Class_ID, Name\nn000001, "Anne,_Princess_Royal", 4, 0, f,\n', "vggface2")
        ({'n000001': 'Anne,_Princess_Royal'}, 0)
    """
    text = unicodedata.normalize("NFC", data.decode("utf-8-sig", errors="replace"))
    lines = [line.rstrip("\r")[:_MAX_LINE] for line in text.split("\n")]
    if table == "label" and "\t" not in lines[0]:
        return {str(label): line for label, line in enumerate(lines) if line}, 0
    row = {"vggface2": _VGGFACE2, "space": _SPACE, "label": _LABEL}[table]
    names: dict[str, str] = {}
    unread = 0
    for number, line in enumerate(lines):
        match = row.fullmatch(line)
        if match:
            names.setdefault(match[1], _unquoted(match[2]))
        elif line.strip() and not (number == 0 and table == "vggface2"):  # 0: its head
            unread += 1
    return names, unread


def _unquoted(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name
