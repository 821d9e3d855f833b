"""Show results: tables for people, JSON for machines, both on stdout; remarks on stderr.

A table is as wide as its content and keeps every word whole: on a narrow terminal its columns move
together and texts are folded between words, and if that is not enough each row is shown as pairs;
in a pipe nothing is cut. Colour and weight appear on terminals only, and NO_COLOR turns
colour off (rich does that).
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Row: TypeAlias = Sequence[Any]

_BARE: Final = ("index", "label", "end", "seed", "unit")  # numbers that name, not count
_WIDE: Final = 10_000  # columns of a pipe: wider than any table
_GAPS: Final = (3, 2, 1)  # blanks between columns, the first that fits


def show_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print a JSON value on one line, so that it can be the last line of any output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Row], *, exact: bool = False) -> None:
    """Print a table: numbers to the right, None as a dash; too wide for the terminal, as pairs.

    Args:
        columns: Their headings.
        rows: One value for each column.
        exact: Values as they are, to be copied; else with thousands marked, but for indexes.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=False, highlight=False, width=None if _on_screen() else _WIDE)
    values = [list(row) for row in rows]
    bare = [exact or column.endswith(_BARE) for column in columns]
    cells = [[cell(v, exact=b) for v, b in zip(row, bare, strict=True)] for row in values]
    gap, widths = _fit(columns, cells, console.width)
    if not widths:
        _show_rows_as_pairs(columns, cells)
        return
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold",
        padding=(0, gap // 2, 0, (gap - 1) // 2),
    )  # fmt: skip
    for at, column in enumerate(columns):
        numeric = any(isinstance(row[at], int | float) for row in values)
        table.add_column(column, justify="right" if numeric else "left", width=widths[at])
    for row in cells:
        table.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(table)
    # Rich pads every line to the table's width; in a pipe that is noise.
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().split("\n")))


def show_pairs(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one pair a line, the values in one column."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        spelled = cell(value, exact=name.endswith(_BARE))
        sys.stdout.write(f"{name:<{width}}  {spelled}\n")


def show_line(text: str = "") -> None:
    """Print one line of the result."""
    sys.stdout.write(text + "\n")


def remark(text: str) -> None:
    """Tell something that is no result, on stderr."""
    sys.stderr.write(f"fusekit: {text}\n")


def cell(value: Any, *, exact: bool = False) -> str:  # noqa: ANN401 - whatever a table holds
    """Spell one value for people.

    Example:
        >>> [cell(v) for v in (12345, 0.25, None, True, ["a", "b"], b"\\x01", {"a": 1.5})]
        ['12,345', '0.25', '-', 'yes', 'a, b', '01', 'a 1.5']
    """
    if value is None or value in ([], (), {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if exact else f"{value:,}"
    if isinstance(value, float):
        return repr(value) if exact else f"{value:,.6g}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return ", ".join(cell(v, exact=exact) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(inner, exact=exact)}" for name, inner in value.items())
    return str(value)


def size(count: int) -> str:
    """Spell a count of bytes.

    Example:
        >>> size(999), size(1536), size(5 << 30)
        ('999 B', '1.5 kB', '5.4 GB')
    """
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def _fit(columns: Sequence[str], cells: list[list[str]], room: int) -> tuple[int, list[int]]:
    """Give the blanks between columns and each column's width; no width when none fit."""
    from rich.cells import cell_len

    texts = [[column, *(row[at] for row in cells)] for at, column in enumerate(columns)]
    least = [max(cell_len(w) for t in column for w in (*t.split(), "")) for column in texts]
    for gap in _GAPS:
        widths = [max(map(cell_len, column)) for column in texts]
        over = sum(widths) + gap * (len(columns) - 1) - room
        while over > 0 and widths != least:
            at = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
            widths[at] -= 1
            over -= 1
        if over <= 0:
            return gap, widths
    return 0, []


def _show_rows_as_pairs(columns: Sequence[str], cells: list[list[str]]) -> None:
    for number, row in enumerate(cells):
        if number:
            show_line()
        show_pairs(dict(zip(columns, row, strict=True)))


def _on_screen() -> bool:
    return sys.stdout.isatty()
