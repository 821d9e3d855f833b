"""The CSV file in which a person decides on a finding's rows, written and read back.

A row is named by its finding and its number there; all other columns are for reading. A
spreadsheet may save the file in its own way: with a byte order mark, as UTF-16, with semicolons
or tabs, with ``sep=;`` above, in another order of rows and columns. Texts that a spreadsheet
would run as a formula are written behind an apostrophe.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import FindingError
from fusekit.store.reviews import DECISIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fusekit.store.findings import Finding

NAMED: Final = 16  # digits of a fingerprint that name a finding in the file
_NEEDED: Final = ("finding", "row", "decision")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
_MARKS: Final = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Decisions:
    """What a person decided.

    Attributes:
        finding: Kind and first digits, as the file names its finding.
        rows: Row number to decision, ascending; rows left empty are not in it.
        lines: Lines of the file that name a row.
    """

    finding: str
    rows: dict[int, str]
    lines: int


def file_name_of(kind: str, fingerprint: str) -> str:
    """Name a finding as the file does: never a text that a spreadsheet takes for a number.

    Example:
        >>> file_name_of("overlap", "1234e5" * 10)
        'overlap-1234e51234e51234'
    """
    return f"{kind}-{fingerprint[:NAMED]}"


def decisions_csv(
    finding: Finding, rows: Iterable[tuple[int, Mapping[str, Any], str]], columns: Sequence[str]
) -> bytes:
    """Write the file to be filled in.

    Args:
        finding: The finding.
        rows: Number, values by column, and the sheet that shows it.
        columns: The table's, in order; ``decision`` is shown as ``proposed``.

    Returns:
        UTF-8 with a byte order mark, without which Excel reads accents wrongly.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    shown = [c for c in columns if c != "decision"]
    writer.writerow(["finding", "row", *shown, "proposed", "sheet", "decision"])
    name = file_name_of(finding.kind, finding.fingerprint)
    for number, values, sheet in rows:
        cells = [_cell(values[column]) for column in shown]
        writer.writerow([name, number, *cells, values["decision"], sheet, ""])
    return out.getvalue().encode("utf-8-sig")


def read_decisions(file: Path, finding: Finding, known: Sequence[str], rows: int) -> Decisions:
    """Read the file back and check every line of it.

    Args:
        file: The file.
        finding: What its rows must be of.
        known: Fingerprints that it may name: the finding's and those of its earlier versions.
        rows: How many the finding has.

    Raises:
        FindingError: It can't be read, lacks a column, is of another finding, or a line names no
            row, a row twice, or a decision that there is not.
    """
    names = [file_name_of(finding.kind, each) for each in known]
    allowed = DECISIONS[finding.kind]
    found: dict[int, str] = {}
    seen: dict[int, int] = {}
    for line, (name, row, decision) in _lines(file):
        where = f"{file}:{line}"
        if name not in names:
            raise FindingError(where, f"is of the finding {name or '(none)'}", names[0])
        number = int(row) if row.isascii() and row.isdecimal() else -1
        if not 0 <= number < rows:
            raise FindingError(where, f"row {row!r}", f"a number from 0 to {rows - 1}")
        if number in seen:
            raise FindingError(where, f"row {number} again", f"once, as on line {seen[number]}")
        seen[number] = line
        answer = decision.lower()
        if answer and answer not in allowed:
            raise FindingError(where, f"decision {decision!r}", f"{', '.join(allowed)} or nothing")
        if answer:
            found[number] = answer
    return Decisions(names[0], dict(sorted(found.items())), len(seen))


def _lines(file: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Give the line number and finding, row and decision of each row that is not empty."""
    text = _text(file)
    skipped = 0
    if text.lower().startswith("sep="):
        text, skipped = text.partition("\n")[2], 1
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        lacking = [column for column in _NEEDED if header.count(column) != 1]
        if lacking:
            raise FindingError(
                file, f"has not one column {lacking[0]!r}", ", ".join(_NEEDED),
                "fill in the file that fusekit review writes",
            )  # fmt: skip
        at = [header.index(column) for column in _NEEDED]
        for cells in reader:
            name, row, decision = (cells[i].strip() if i < len(cells) else "" for i in at)
            if any(cell.strip() for cell in cells):
                yield reader.line_num + skipped, (name, row, decision)
    except csv.Error as error:
        where = f"{file}:{reader.line_num + skipped}"
        raise FindingError(where, f"is no CSV ({error})", "the file as it was written") from None


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise FindingError(file, f"can't be read ({error.strerror})") from None
    mark = next((mark for mark in _MARKS if data.startswith(mark)), None)
    try:
        return data.decode(_MARKS[mark] if mark else "utf-8")
    except UnicodeDecodeError:
        # Saved in the code page of some Windows: what is read of it is ASCII in all of them.
        return data.decode("latin-1")


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever a table holds
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 5e-5 or value == 0 else f"{value:.3g}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
