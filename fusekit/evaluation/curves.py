"""ROC and DET curves, drawn as one SVG file: the same bytes for the same scores.

Both have the false accept rate across. ROC shows the true accept rate above a logarithmic FAR; DET
shows the false reject rate with both rates on the scale of normal deviates, on which the scores of
two normal distributions give a straight line. A rate of zero is drawn at that of one pair.

Reference:
    Martin, Doddington, Kamm, Ordowski and Przybocki, "The DET curve in assessment of detection
    task performance", Eurospeech 1997.
"""

from __future__ import annotations

import math
from html import escape
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fusekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fusekit.evaluation.scores import Scores

_COLOURS: Final = ("#1f6fb2", "#c8501e", "#2a8a57", "#8a4fb0", "#a07000", "#c02f5c", "#40808a")
_POINTS: Final = 400  # of one line: more can't be seen
_LEAST: Final = 1e-9
_SIDE: Final = 300
_LEFT: Final = 62
_TOP: Final = 34
_GAP: Final = 90
_BELOW: Final = 52
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.frame{fill:none;stroke:#888}"
    ".line{fill:none;stroke-width:1.6}"
)


def roc_points(genuine: Scores, top: Scores, impostors: int) -> tuple[Scores, Scores]:
    """Give FAR and TAR at every distinct score, from the highest to the lowest that is known.

    Args:
        genuine: ``(g,)`` ascending; minus infinity is never accepted.
        top: The highest impostor scores or all of them, descending.
        impostors: How many impostor pairs there are.

    Returns:
        Both ``(u,)``, starting where nothing is accepted.

    Example:
        >>> far, tar = roc_points(np.array([0.4, 0.8]), np.array([0.5, 0.1]), 2)
        >>> far.tolist(), tar.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    lowest = top[-1] if 0 < len(top) < impostors else -np.inf
    scores = np.unique(np.concatenate([genuine, top]))
    scores = scores[(scores >= lowest) & (scores > -np.inf)][::-1]  # (u,)
    accepted = len(genuine) - np.searchsorted(genuine, scores, side="left")
    passed = len(top) - np.searchsorted(top[::-1], scores, side="left")
    far = np.concatenate([[0.0], passed / max(impostors, 1)])
    return far, np.concatenate([[0.0], accepted / max(len(genuine), 1)])


def check_plot(path: Path) -> Path:
    """Give the path back if it is one of an SVG file.

    Raises:
        UsageError: It is not.
    """
    if path.suffix.lower() != ".svg":
        raise UsageError("--plot", f"'{path}'", "a file name that ends in .svg")
    return path


def draw_curves(curves: Mapping[str, tuple[Scores, Scores, int]]) -> str:
    """Draw ROC and DET beside each other.

    Args:
        curves: Name of a set to its genuine scores ascending, impostor scores descending, and
            count of impostor pairs. Sets without genuine or impostor pairs are left out.

    Returns:
        The SVG file's text.
    """
    lines = {
        name: (roc_points(*curve), len(curve[0]), curve[2])
        for name, curve in curves.items()
        if len(curve[0]) and len(curve[1])
    }
    least = 10.0 ** math.floor(
        math.log10(max(_LEAST, min([1 / n for _, _, n in lines.values()], default=1e-3)))
    )
    across = _log_axis(least, _LEFT)
    marks = _frame("ROC", _LEFT, across, "false accept rate", "true accept rate", _share_axis())
    det_left = _LEFT + _SIDE + _GAP
    det_across, up = _deviate_axis(least, det_left, _SIDE), _deviate_up(least)
    marks += _frame("DET", det_left, det_across, "false accept rate", "false reject rate", up)
    for number, (name, ((far, tar), genuine, impostors)) in enumerate(lines.items()):
        shown = _thinned(far)
        x, y = np.maximum(far[shown], 1 / impostors), tar[shown]
        missed = np.maximum(1 - y, 1 / genuine)
        colour = _COLOURS[number % len(_COLOURS)]
        marks.append(_line(name, colour, x, y, across[0], _share_axis()[0]))
        marks.append(_line(name, colour, x, missed, det_across[0], up[0]))
        at = _TOP + _SIDE + _BELOW + 18 * number
        ends = f'x1="{_LEFT}" x2="{_LEFT + 24}" y1="{at}" y2="{at}"'
        marks.append(f'<line {ends} stroke="{colour}"/>')
        marks.append(_text(_LEFT + 32, at + 4, name, "start"))
    width, height = det_left + _SIDE + 20, _TOP + _SIDE + _BELOW + 18 * len(lines) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>ROC and DET</title><style>{_STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(marks)}</svg>\n'
    )


_Axis: TypeAlias = "tuple[Callable[[float], float], Sequence[float]]"


def _log_axis(least: float, left: float) -> _Axis:
    decades = -math.log10(least)

    def place(value: float) -> float:
        return left + _SIDE * (1 + math.log10(max(value, least)) / decades)

    return place, [10.0**-power for power in range(round(decades), -1, -1)]


def _share_axis() -> _Axis:
    return lambda value: _TOP + _SIDE * (1 - value), [0, 0.2, 0.4, 0.6, 0.8, 1]


def _deviate_axis(least: float, start: float, length: float) -> _Axis:
    normal = NormalDist()
    low, high = normal.inv_cdf(least), normal.inv_cdf(0.5)

    def place(value: float) -> float:
        at = normal.inv_cdf(min(max(value, least), 0.5))
        return start + length * (at - low) / (high - low)

    powers = range(round(-math.log10(least)), 0, -1)
    return place, [*(10.0**-power for power in powers), 0.5]


def _deviate_up(least: float) -> _Axis:
    place, ticks = _deviate_axis(least, 0, _SIDE)
    return lambda value: _TOP + _SIDE - place(value), ticks


def _frame(title: str, left: float, across: _Axis, below: str, beside: str, up: _Axis) -> list[str]:
    bottom = _TOP + _SIDE
    marks = [_text(left + _SIDE / 2, _TOP - 14, title, "middle")]
    for tick in across[1]:
        x = across[0](tick)
        marks.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(_text(x, bottom + 16, f"{tick:g}", "middle"))
    for tick in up[1]:
        y = up[0](tick)
        marks.append(
            f'<line class="grid" x1="{left}" x2="{left + _SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        marks.append(_text(left - 6, y + 4, f"{tick:g}", "end"))
    marks.append(f'<rect class="frame" x="{left}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/>')
    marks.append(_text(left + _SIDE / 2, bottom + 34, below, "middle"))
    x, y = left - 48, _TOP + _SIDE / 2
    marks.append(f'<g transform="rotate(-90 {x} {y})">{_text(x, y, beside, "middle")}</g>')
    return marks


def _line(
    name: str, colour: str, x: Scores, y: Scores, across: Callable[[float], float],
    up: Callable[[float], float],
) -> str:  # fmt: skip
    points = " ".join(
        f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True)
    )
    return (
        f'<polyline class="line" stroke="{colour}" points="{points}">'
        f"<title>{escape(name)}</title></polyline>"
    )


def _thinned(far: Scores) -> list[int]:
    """Choose points of a line: the ends, and those nearest to steps of equal ratio of FAR."""
    positive = far[far > 0]
    if len(far) <= _POINTS or not len(positive):
        return list(range(len(far)))
    steps = np.geomspace(positive[0], far[-1], _POINTS)
    near = np.minimum(np.searchsorted(far, steps, side="left"), len(far) - 1)
    return sorted({0, *near.tolist(), len(far) - 1})


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
