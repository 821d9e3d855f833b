"""Shots of a video: runs of frames between cuts, told by their colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusekit.formats.video import BgrImage

Histogram: TypeAlias = npt.NDArray[np.float32]

#: How far two frames' histograms differ where a shot ends: 0 for the same colours, 1 for none in
#: common. Cuts of two clips gave 0.13 to 0.24, their other frames at most 0.04, and a fade from
#: black to white over two seconds 0.15.
CUT: Final = 0.1
_LOOK: Final = (64, 36)  # colours need no more pixels than this
_LEVELS: Final = 256
# A histogram is smoothed: in hard bins a dark frame that grows lighter would jump as a whole.
_SMOOTH: Final = (33, 1)


def shot_middles(frames: Iterable[tuple[int, BgrImage]]) -> Iterator[int]:
    """Find the middle frame of each shot.

    A shot ends where the smoothed histograms of two frames in succession, of each channel, are
    further apart than :data:`CUT`: half the sum of their differences, the mean of the channels.

    Args:
        frames: Time and pixels of every frame, in order.

    Yields:
        The middle frame's time; of an even number of frames, the earlier of the two.
    """
    times: list[int] = []
    before: Histogram | None = None
    for time, frame in frames:
        colours = _colours(frame)
        if before is not None and _changed(before, colours) > CUT:
            yield times[(len(times) - 1) // 2]
            times = []
        times.append(time)
        before = colours
    if times:
        yield times[(len(times) - 1) // 2]


def _colours(frame: BgrImage) -> Histogram:
    """Count the levels of each channel: ``(3, 256 + borders)``, shares that sum to 1 a row."""
    small = cv2.resize(frame, _LOOK, interpolation=cv2.INTER_AREA)
    channels = small.reshape(-1, 3).T
    counts = np.array([np.bincount(values, minlength=_LEVELS) for values in channels], np.float32)
    # Room for what is smeared over the ends, so that nothing of black or white is lost.
    padded = np.pad(counts, ((0, 0), (_SMOOTH[0], _SMOOTH[0])))
    smooth: Histogram = cv2.blur(padded, _SMOOTH) / np.float32(_LOOK[0] * _LOOK[1])
    return smooth


def _changed(one: Histogram, other: Histogram) -> float:
    return float(np.abs(one - other).sum()) / (2 * len(one))
