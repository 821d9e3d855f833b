"""Progress on stderr: a live bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fusekit.cli.show import size
from fusekit.progress import Progress, Report

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_EVERY_S: Final = 5.0


@contextmanager
def progress() -> Iterator[Report]:
    """Give a callback that shows what it is told, until the block ends."""
    if sys.stderr.isatty():
        with _bars() as bars:
            yield _Live(bars)
    else:
        lines = _Lines()
        yield lines
        lines.close()


def duration(seconds: float) -> str:
    """Spell a duration in its two largest units.

    Example:
        >>> duration(5.4), duration(75), duration(7300)
        ('5 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(value: float, unit: str) -> str:
    """Spell a count in its unit.

    Example:
        >>> amount(12000, "items"), amount(12000, "bytes")
        ('12,000 items', '12.0 kB')
    """
    if unit == "bytes":
        return size(round(value))
    return f"{value:,.0f} {unit}" if value >= 10 or value == round(value) else f"{value:.1f} {unit}"


def _state(told: Progress) -> str:
    if told.total is None:
        return amount(told.done, told.unit)
    done = size(told.done) if told.unit == "bytes" else f"{told.done:,}"
    return f"{done} of {amount(told.total, told.unit)}"


class _Pace:
    """The rate since a stage's first report: work that stood before this run is no speed."""

    def __init__(self, told: Progress) -> None:
        self._start, self._from = time.monotonic(), told.done

    def describe(self, told: Progress) -> str:
        passed = time.monotonic() - self._start
        rate = (told.done - self._from) / passed if passed > 0 else 0.0
        parts = [f"{amount(rate, told.unit)}/s"] if rate else []
        if rate and told.total is not None and told.done < told.total:
            parts.append(f"{duration((told.total - told.done) / rate)} left")
        parts += [f"{name} {count:,}" for name, count in told.counts.items()]
        return ", ".join(parts)


class _Lines:
    """A plain line at a stage's start, then one every few seconds, and its last state."""

    def __init__(self) -> None:
        self._told: Progress | None = None
        self._written: Progress | None = None
        self._pace: _Pace | None = None
        self._due = 0.0

    def __call__(self, told: Progress) -> None:
        if self._told is None or told.stage != self._told.stage or self._pace is None:
            self.close()
            self._pace = _Pace(told)
            self._due = time.monotonic() + _EVERY_S
        self._told = told
        if time.monotonic() >= self._due:
            self._write()

    def close(self) -> None:
        """Write the last state, if it is not there yet."""
        if self._told is not None and self._told is not self._written:
            self._write()

    def _write(self) -> None:
        if self._told is None or self._pace is None:
            return
        told = self._written = self._told
        self._due = time.monotonic() + _EVERY_S
        rest = self._pace.describe(told)
        line = f"{told.stage}: {_state(told)}{', ' if rest else ''}{rest}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Live:
    """One bar for each stage; the counts stand behind it."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._tasks: dict[str, tuple[TaskID, _Pace]] = {}

    def __call__(self, told: Progress) -> None:
        if told.stage not in self._tasks:
            task = self._bars.add_task(told.stage, total=told.total, rest="", amount="")
            self._tasks[told.stage] = (task, _Pace(told))
        task, pace = self._tasks[told.stage]
        self._bars.update(
            task,
            completed=told.done,
            total=told.total,
            amount=_state(told),
            rest=pace.describe(told),
        )


def _bars() -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[amount]}"),
        # The one column that gives way on a narrow terminal, between words: nothing is cut.
        TextColumn("{task.fields[rest]}", style="dim", table_column=Column()),
        console=Console(stderr=True),
        # Results go where stdout goes; only on one screen with the bars must rich place them.
        redirect_stdout=sys.stdout.isatty(),
    )
