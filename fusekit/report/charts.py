"""Charts as inline SVG: text in, text out, crisp at any size, the same bytes for the same numbers.

Colours, fonts and line widths are the page's: the charts only carry classes. Each has a title that
screen readers speak and a tooltip on every mark. Charts are 400 units wide with letters of 12, so
that they can still be read on a telephone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusekit.report.spread import Histogram

_WIDTH: Final = 400
_LETTER: Final = 6.4  # mean width of a letter of 12
_SERIES: Final = 8  # colours that the page has; further series take them again, dashed
_THOUSAND: Final = 1000


@dataclass(frozen=True)
class _Axis:
    """Where a value lies between two ends of a chart; logarithmic when it starts over 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low) if high > low else 0.0
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            return _linear_ticks(self.low, self.high)
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return [10.0**power for power in range(first, last + 1)]


def draw_histogram(title: str, histogram: Histogram, unit: str) -> str:
    """Draw counts between edges as bars, empty bins at both ends left out.

    Args:
        title: What is counted.
        histogram: Its bins are drawn equally wide, whatever their edges.
        unit: Of the edges.
    """
    height, top, left, bottom = 150, 12, 44, 34
    counts, edges = histogram.counts, histogram.edges
    used = [i for i, count in enumerate(counts) if count]
    first, last = (used[0], used[-1]) if used else (0, len(counts) - 1)
    bins = range(first, last + 1)
    most = max(counts, default=0)
    step = (_WIDTH - left - 8) / max(len(bins), 1)
    up = _Axis(0, max(most, 1), height - bottom, top)
    marks = _grid(up, left)
    for place, i in enumerate(bins):
        x, y = left + place * step, up(counts[i])
        tall = max(height - bottom - y, 1.0 if counts[i] else 0.0)
        words = f"{_number(edges[i])} to {_number(edges[i + 1])}: {counts[i]:,}"
        marks.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{height - bottom - tall:.1f}" '
            f'width="{max(step - 1, 1):.1f}" height="{tall:.1f}"><title>{words}</title></rect>'
        )
    every = max(1, -(-len(bins) // 8))
    for place, i in enumerate([*bins, last + 1]):
        if place % every == 0:
            marks.append(_text(left + place * step, height - bottom + 15, _number(edges[i]), "mid"))
    marks.append(_text(left + (_WIDTH - left) / 2, height - 3, unit, "mid soft"))
    return _svg(title, height, marks)


def draw_tails(title: str, tails: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    """Draw images per identity against the rank of the identity, both axes logarithmic.

    Args:
        title: What is drawn.
        tails: Name of a dataset to its ranks and images, ascending ranks from 1.
    """
    height, left, top, bottom = 270, 44, 12, 40
    points = [point for tail in tails.values() for point in tail] or [(1, 1)]
    across = _Axis(1, max(2, *(x for x, _ in points)), left, _WIDTH - 10, log=True)
    up = _Axis(1, max(2, *(y for _, y in points)) * 1.15, height - bottom, top, log=True)
    marks = _grid(up, left) + _foot(across, height - bottom, "identities, most images first")
    marks.append(_text(left, 9, "images", "soft"))
    for number, (name, tail) in enumerate(tails.items()):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in tail)
        marks.append(
            f'<polyline class="line {_colour(number)}" points="{path}">'
            f"<title>{escape(name)}</title></polyline>"
        )
    return _svg(title, height, marks) + _legend(tails)


def draw_width_and_depth(title: str, datasets: Mapping[str, tuple[int, float]]) -> str:
    """Draw each dataset as a point: how many identities, and how many images each has on average.

    Args:
        title: What is drawn.
        datasets: Name to identities, from 1, and mean images of one, from 1.
    """
    height, left, top, bottom = 270, 44, 20, 40
    wide = [width for width, _ in datasets.values()] or [1]
    deep = [depth for _, depth in datasets.values()] or [1.0]
    across = _Axis(
        10.0 ** math.floor(math.log10(min(wide))), 10.0 ** math.ceil(math.log10(max(wide) + 1)),
        left, _WIDTH - 10, log=True,
    )  # fmt: skip
    up = _Axis(
        10.0 ** math.floor(math.log10(min(deep))), 10.0 ** math.ceil(math.log10(max(deep) + 1)),
        height - bottom, top, log=True,
    )  # fmt: skip
    marks = _grid(up, left) + _foot(across, height - bottom, "identities (width)")
    marks.append(_text(left, 12, "images of each (depth)", "soft"))
    taken: list[tuple[float, float, float]] = []
    for number, (name, (width, depth)) in enumerate(datasets.items()):
        x, y = across(width), up(depth)
        words = f"{escape(name)}: {width:,} identities, {depth:,.1f} images each"
        marks.append(
            f'<circle class="dot {_colour(number)}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
            f"<title>{words}</title></circle>"
        )
        marks.append(_label(name, x, y, taken))
    return _svg(title, height, marks)


def draw_bars(
    title: str,
    values: Mapping[str, float],
    *,
    most: float | None = None,
    line: tuple[float, str] | None = None,
    spell: Callable[[float], str] = lambda value: f"{value:,.0f}",
) -> str:
    """Draw named values as lying bars.

    Args:
        title: What is drawn.
        values: Name to value, from 0.
        most: What the whole width stands for; None: the largest value.
        line: A value to mark across all bars, and what it is.
        spell: How to write a value.
    """
    row, left, right = 24, 116, 58
    height = len(values) * row + (26 if line else 6)
    across = _Axis(0, most or max(values.values(), default=0) or 1, left, _WIDTH - right)
    marks = []
    for number, (name, value) in enumerate(values.items()):
        y, end = number * row + 4, across(value)
        room = int((left - 8) / _LETTER)
        shown = name if len(name) <= room else name[: room - 1] + "…"
        marks.append(_text(left - 8, y + 13, shown, "end"))
        marks.append(
            f'<rect class="bar" x="{left}" y="{y}" width="{max(end - left, 0.5):.1f}" '
            f'height="{row - 7}"><title>{escape(name)}: {escape(spell(value))}</title></rect>'
        )
        marks.append(_text(end + 6, y + 13, spell(value), ""))
    if line:
        x = across(line[0])
        marks.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 20}"/>')
        marks.append(_text(x, height - 5, line[1], "mid soft"))
    return _svg(title, height, marks)


def _svg(title: str, height: float, marks: Sequence[str]) -> str:
    name = escape(title, quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}">'
        f"<title>{escape(title)}</title>{''.join(marks)}</svg>"
    )


def _grid(up: _Axis, left: float) -> list[str]:
    marks = []
    for tick in up.ticks():
        y = up(tick)
        marks.append(
            f'<line class="grid" x1="{left}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        marks.append(_text(left - 6, y + 4, _number(tick), "end soft"))
    return marks


def _foot(across: _Axis, bottom: float, words: str) -> list[str]:
    marks = [
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom - 4}" y2="{bottom}"/>'
        + _text(x, bottom + 15, _number(tick), "mid soft")
        for tick in across.ticks()
        for x in (across(tick),)
    ]
    return [*marks, _text((across.start + across.end) / 2, bottom + 34, words, "mid soft")]


def _label(name: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """Write a point's name beside it, where no other name is."""
    wide = len(name) * _LETTER
    left = x + 9 if x + 9 + wide < _WIDTH else x - 9 - wide
    for shift in (4, -9, 17, -22, 30):
        at = y + shift
        if all(abs(at - b) > 12 or left > r or left + wide < a for a, r, b in taken):
            break
    taken.append((left, left + wide, at))
    return _text(left, at, name, "")


def _legend(names: Mapping[str, object]) -> str:
    items = [
        f'<li><i class="{_colour(number)}"></i>{escape(name)}</li>'
        for number, name in enumerate(names)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _colour(number: int) -> str:
    again = " dashed" if number >= _SERIES else ""
    return f"s{number % _SERIES}{again}"


def _text(x: float, y: float, words: str, classes: str) -> str:
    kind = f' class="{classes}"' if classes else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _linear_ticks(low: float, high: float) -> list[float]:
    """Give round numbers from low to high, at most six of them.

    Example:
        >>> _linear_ticks(0, 870)
        [0.0, 200.0, 400.0, 600.0, 800.0]
    """
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= raw)
    if high >= 1:
        step = max(step, 1.0)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float) -> str:
    """Spell a number in few letters.

    Example:
        >>> [_number(v) for v in (0, 0.05, 12, 1500, 20_000_000)]
        ['0', '0.05', '12', '1.5k', '20M']
    """
    for limit, unit in ((_THOUSAND**3, "G"), (_THOUSAND**2, "M"), (_THOUSAND, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
