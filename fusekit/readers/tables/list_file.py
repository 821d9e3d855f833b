"""A list of pictures, one a line, in one of the forms of ``list_rows``.

Which form it has is decided once, by its first hundred rows; a row that breaks it is an error.
"""

from __future__ import annotations

import stat
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.tables.list_rows import RowForm, is_number, row_columns, row_shape, whole_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusekit.readers.tables.list_rows import ListRow

_SAMPLE: Final = 100
_MAX_LINE: Final = 1 << 16


class ListFile:
    r"""A list of pictures or identities.

    Rows are ``path``, ``path label``, ``label path``, ``path 0 label 0`` (MagFace), a path with
    five points and perhaps a label (Trillion Pairs), or columns between tabs: the path is the
    first one that looks like one, the label stands after it, else before it. Words are split off
    at the ends, so that paths may hold spaces. Lines that are empty or begin with ``#`` are
    passed over.

    Args:
        opener: Opens the file, at its start.
        where: What to call it in errors.

    Attributes:
        form: How its rows are built.

    Raises:
        SourceError: It can't be opened, is no text, has no rows or rows of several forms.
    """

    def __init__(self, opener: Callable[[], IO[bytes]], where: object) -> None:
        self._open = opener
        self.where = str(where)
        self.form = self._decide()

    @classmethod
    def at(cls, path: Path) -> ListFile:
        """Open a list by its path.

        Raises:
            SourceError: As for the class.
        """
        return cls(partial(_open_file, path), path)

    def rows(self) -> Iterator[tuple[int, ListRow]]:
        """Give where each row begins in the file, in bytes, and the row.

        Raises:
            SourceError: A row is of another form than the first ones, or is far too long.
        """
        parse = self.form.parse
        for number, at, line in self._lines():
            row = parse(line)
            if row is None:
                raise self._disagrees(number, line)
            yield at, row

    def row_at(self, file: IO[bytes], at: int) -> ListRow:
        """Read one row again.

        Args:
            file: The list, opened by :meth:`open`.
            at: Where the row begins.

        Raises:
            SourceError: There is no such row any more.
        """
        file.seek(at)
        row = self.form.parse(_text(file.readline(_MAX_LINE)))
        if row is None:
            raise SourceError(self.where, "changed while it was read")
        return row

    def open(self) -> IO[bytes]:
        """Open the file for :meth:`row_at`."""
        return self._open()

    def _decide(self) -> RowForm:
        sample = list(islice(self._lines(), _SAMPLE))
        if not sample:
            raise SourceError(self.where, "has no rows", "a picture or an identity a line")
        tabs = "\t" in sample[0][2]
        forms = [row_columns(line) if tabs else row_shape(line) for _, _, line in sample]
        for (number, _, line), form in zip(sample, forms, strict=True):
            if form != forms[0]:
                raise self._disagrees(number, line, forms[0])
        if forms[0].label is None or forms[0].form != "columns":
            return forms[0]
        labels = [line.split("\t")[forms[0].label] for _, _, line in sample]
        numeric = all(is_number(whole_label(label)) for label in labels)
        return RowForm("columns", forms[0].path, forms[0].label, numeric)

    def _disagrees(self, number: int, line: str, form: RowForm | None = None) -> SourceError:
        form = form or self.form
        expected = f"'{form.form}'"
        if form.form == "columns":
            label = "" if form.label is None else f", a label in column {form.label + 1}"
            expected = f"a path in column {form.path + 1}{label}"
        return SourceError(
            f"{self.where}:{number}", repr(line[:80]), f"{expected}, as in the first row"
        )

    def _lines(self) -> Iterator[tuple[int, int, str]]:
        """Give number, place and text of each row."""
        at = 0
        with self._open() as file:
            for number, data in enumerate(iter(partial(file.readline, _MAX_LINE), b""), 1):
                if len(data) == _MAX_LINE or b"\0" in data:
                    found = "is no text" if b"\0" in data else f"is longer than {_MAX_LINE} bytes"
                    place = f"{self.where}:{number}"
                    raise SourceError(place, found, "a picture a line")
                line = _text(data)
                if line and line[0] != "#":
                    yield number, at, line
                at += len(data)


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace").strip("\r\n ")
    return text.removeprefix("\ufeff")


def _open_file(path: Path) -> IO[bytes]:
    try:
        # A pipe can be read once, or never ends: a second look would find it empty, or wait.
        if stat.S_ISFIFO(path.stat().st_mode):
            raise SourceError(path, "is a pipe", "a file: a list is read more than once")
        return path.open("rb", buffering=1 << 18)
    except OSError as reason:
        raise SourceError(path, f"can't be opened ({reason.strerror})") from None
