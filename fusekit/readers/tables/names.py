"""Tables that say what the people of a dataset are called."""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from io import BytesIO
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container

NamesFormat: TypeAlias = Literal["vggface2", "space", "label", "freebase"]

_MAX_LINE: Final = 1_000  # bounds the work that a damaged file can cause
# Spaces, quotes, commas inside names and trailing commas differ between copies of the file.
# The last column is not there in vggface2_identity_trans.csv.
_VGGFACE2: Final = re.compile(
    r"\s*(n\d{6})\s*,\s*(.*?)\s*,\s*\d+\s*,\s*(?:[01]|[01]\s*,\s*[mf]|[mf])\s*,?\s*"
)
_SPACE: Final = re.compile(r"(\S+)\s+(\S.*?)\s*")
_LABEL: Final = re.compile(r"(\d+)\t([^\t]*)(?:\t.*)?")


def parse_names(data: bytes, table: NamesFormat) -> tuple[dict[str, str], int]:
    r"""Read a table of names; the first row of an identity counts.

    Args:
        data: The file, UTF-8.
        table: ``vggface2``: ``identity_meta.csv`` or its copy ``vggface2_identity_trans.csv``;
            ``space``: identity, spaces, name; ``label``: label, tab, name, or one name a line for
            labels 0, 1, …; ``freebase``: see :func:`freebase_names`.

    Returns:
        Identity to name, both NFC, and the number of rows that could not be read.

    Example:
        >>> parse_names(b'Class_ID, Name\nn000001, "Anne,_Princess_Royal", 4, 0, f,\n', "vggface2")
        ({'n000001': 'Anne,_Princess_Royal'}, 0)
    """
    if table == "freebase":
        return freebase_names(BytesIO(data))
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


def freebase_names(
    file: IO[bytes], wanted: Container[str] | None = None
) -> tuple[dict[str, str], int]:
    r"""Read MS-Celeb-1M's table of names: ``m.xxx``, tab, ``"name"@lang``, several rows a person.

    Args:
        file: The table; it has millions of rows and is never held whole.
        wanted: The identities to name; None: all.

    Returns:
        Identity to its English name, else its first one, both NFC; and the number of rows that
        could not be read.

    Example:
        >>> freebase_names(BytesIO(b'm.01\t"Anne"@fr\nm.01\t"Ann"@en\n'))
        ({'m.01': 'Ann'}, 0)
    """
    names: dict[str, str] = {}
    english: set[str] = set()
    unread = 0
    for data in iter(partial(file.readline, _MAX_LINE), b""):
        line = unicodedata.normalize("NFC", data.decode("utf-8-sig", "replace")).rstrip("\r\n")
        identity, tab, rest = line.partition("\t")
        name, at, language = rest.rpartition("@")
        if not (tab and rest):
            unread += bool(line)
        elif wanted is None or identity in wanted:
            if at and language == "en" and identity not in english:
                english.add(identity)
                names[identity] = _unquoted(name)
            else:
                names.setdefault(identity, _unquoted(name if at else rest))
    return names, unread


def _unquoted(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name
