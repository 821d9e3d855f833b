"""Lists and tables of releases, read line by line: text, CSV, JSON lines."""

from __future__ import annotations

import csv
import json
import math
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

from fusekit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Box: TypeAlias = tuple[float, float, float, float]

#: A longer line is no row of a list: a file without line ends, or no text at all.
MAX_LINE: Final = 1 << 20
_SIXTEEN: Final = (b"\xff\xfe", b"\xfe\xff")


def read_lines(file: IO[bytes], where: object) -> Iterator[str]:
    r"""Read a text file line by line, its line ends taken off.

    Bytes that are no UTF-8 are spelt out, ``\xe9``, so that two names that differ in them stay
    two names.

    Args:
        file: The file, from its beginning.
        where: Its name, for errors.

    Raises:
        SourceError: A line is far too long, or the text is UTF-16.

    Example:
        >>> import io
        >>> list(read_lines(io.BytesIO(b"\xef\xbb\xbfa 1\r\nb\xe9 2"), "list.txt"))
        ['a 1', 'b\\xe9 2']
    """
    number = 0
    while line := _next_line(file, where, number):
        if number == 0:
            if line[:2] in _SIXTEEN:
                raise SourceError(where, "is UTF-16", "UTF-8 text", "convert it, as with iconv")
            line = line.removeprefix(b"\xef\xbb\xbf")
        number += 1
        if len(line) > MAX_LINE:
            at = f"{where}:{number}"
            raise SourceError(at, f"has over {MAX_LINE} bytes", "a line of text")
        yield line.decode("utf-8", "backslashreplace").rstrip("\r\n")


def read_csv(file: IO[bytes], where: object, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    r"""Read a CSV row by row; empty lines, and those of spaces only, are no rows.

    Args:
        file: The file, from its beginning.
        where: Its name, for errors.
        delimiter: Between the cells. Quotes mean something only between commas and semicolons:
            in a TAB file a name may begin with one.

    Yields:
        The line that a row ends in, from 1, and its cells.

    Raises:
        SourceError: A cell or a line is far too long, or the text is UTF-16.

    Example:
        >>> import io
        >>> list(read_csv(io.BytesIO(b'a,"b, c"\n\nd,e\n'), "t.csv", ","))
        [(1, ['a', 'b, c']), (3, ['d', 'e'])]
    """
    # The reader is given line ends back, so that a quoted cell keeps its own.
    lines = (f"{line}\n" for line in read_lines(file, where))
    if delimiter == "\t":
        rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as reason:
            at = f"{where}:{rows.line_num}"
            raise SourceError(at, f"is no row of a table ({reason})") from None
        if len(row) > 1 or "".join(row).strip():
            yield rows.line_num, row


def read_jsonl(file: IO[bytes], where: object) -> Iterator[tuple[int, dict[str, Any]]]:
    r"""Read JSON objects, one a line; numbers stay text, spelt as the file spells them.

    Args:
        file: The file, from its beginning.
        where: Its name, for errors.

    Yields:
        The line, from 1, and the object.

    Raises:
        SourceError: A line is no JSON object, or the text can't be read as :func:`read_lines`
            says.

    Example:
        >>> import io
        >>> list(read_jsonl(io.BytesIO(b'{"file": "a.jpg", "label": 7}\n'), "t.jsonl"))
        [(1, {'file': 'a.jpg', 'label': '7'})]
    """
    for number, line in enumerate(read_lines(file, where), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            at = f"{where}:{number}"
            raise SourceError(at, repr(line[:60]), "a JSON object")
        yield number, row


def numbers(cells: Sequence[object], count: int) -> tuple[float, ...] | None:
    """Read coordinates.

    Args:
        cells: Their texts.
        count: How many there must be.

    Returns:
        None where there are more or fewer, or one is no finite number.

    Example:
        >>> numbers(["1", " 2.5"], 2), numbers(["1", "nan"], 2)
        ((1.0, 2.5), None)
    """
    if len(cells) != count:
        return None
    try:
        values = tuple(float(str(cell)) for cell in cells)
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def box_of(x: float, y: float, width: float, height: float) -> Box | None:
    """Give the corners of a box; None where it has no area, so says nothing of a face.

    Example:
        >>> box_of(10, 20, 30, 40), box_of(10, 20, 0, 40)
        ((10, 20, 40, 60), None)
    """
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _next_line(file: IO[bytes], where: object, number: int) -> bytes:
    try:
        return file.readline(MAX_LINE + 1)
    except OSError as reason:
        why = reason.strerror or "can't be read"
        at = f"{where}:{number + 1}"
        raise SourceError(at, f"can't be read ({why})") from None
