"""Videos by OpenCV and its FFmpeg: when their frames are shown, and the frames, front to back.

Frames are named by their times, which the container states for each one: with a variable frame
rate a number and a rate do not give them, and the count in a header may be wrong. A video is
always decoded from its start by one thread, never sought in, so that a frame has the same pixels
in every run, those of a damaged video too.
"""

from __future__ import annotations

import math
import os
from array import array
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

BgrImage: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``(H, W, 3)``, blue first, as OpenCV has it."""

#: Six days at 30 frames a second; bounds the memory that a damaged file can cause.
MAX_FRAMES: Final = 1 << 24

_END: Final = 1 << 62  # a time after every frame's: what is behind the end is asked for once
_HEAD: Final = 189
_MP4_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_SLOW: Final = (  # milliseconds; OpenCV gives up after 30 s, and a busy drive is no damage
    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 600_000,
    cv2.CAP_PROP_READ_TIMEOUT_MSEC, 600_000,
)  # fmt: skip
_DECODED: Final = (
    *_SLOW,
    cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE,  # other chips, other pixels
    cv2.CAP_PROP_N_THREADS, 1,  # workers are processes; threads would only crowd them
)  # fmt: skip
_PACKETS: Final = (*_SLOW, cv2.CAP_PROP_FORMAT, -1)  # as they lie, nothing is decoded

# The second wall behind _check_head: what a playlist or a stream's description names is not opened.
os.environ.setdefault(
    "OPENCV_FFMPEG_CAPTURE_OPTIONS",
    "format_whitelist;avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpeg,mpegts,mpegvideo"
    "|protocol_whitelist;file",
)

# FFmpeg writes to stderr by itself; broken videos become rejects that say what is wrong.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def frame_times(path: Path) -> npt.NDArray[np.int64]:
    """List when the frames of a video are shown, without decoding them.

    Args:
        path: The video.

    Returns:
        Milliseconds from its start, ascending, each once; never empty.

    Raises:
        FormatError: It is no video, has no frame or more than :data:`MAX_FRAMES`, or states no
            times.
    """
    with _Capture(path, _PACKETS) as packets:
        times, count = array("q"), 0
        while packets.grab():
            count += 1
            if count > MAX_FRAMES:
                raise FormatError(path, f"more than {MAX_FRAMES} frames", "fewer", "cut it")
            if (time := packets.time()) >= 0:  # before 0: needed to decode others, never shown
                times.append(time)
    if not times:
        raise FormatError(path, "holds no frames")
    shown = np.unique(np.frombuffer(times, np.int64))  # packets lie in the order of decoding
    if shown.size == 1 and count > 1:
        raise FormatError(path, f"states one time for {count} frames", "a time for each frame")
    return shown


def frame_size(path: Path) -> tuple[int, int]:
    """Read the width and height of a video's upright frames from its header.

    Raises:
        FormatError: It is no video, or has no size.
    """
    with _Capture(path) as video:
        return video.size()


def decode_frames(path: Path) -> Iterator[tuple[int, BgrImage]]:
    """Decode a video from its start to where it ends or breaks off.

    Yields:
        The time of each frame, ms, and its pixels, which are only good until the next one.
        Times ascend; frames whose times do not, as damage leaves them, are passed over.

    Raises:
        FormatError: It is no video.
    """
    latest = -1
    with _Capture(path) as video:
        while video.grab():
            time = video.time()
            if time > latest:
                latest = time
                try:
                    frame = video.frame()
                except FormatError:
                    return
                yield time, frame


class FrameCursor:
    """One open video whose frames are asked for by ascending times.

    Asking for an earlier time than before starts again from the front. What is given depends on
    the time alone, never on what was asked before.
    """

    def __init__(self) -> None:
        self._video: _Capture | None = None
        self._path: Path | None = None
        self._asked = self._time = -1

    def frame(self, path: Path, time_ms: int, late_ms: int) -> BgrImage:
        """Give the first frame that is shown at a time or shortly after it.

        Args:
            path: The video.
            time_ms: When, milliseconds from its start.
            late_ms: How much later the frame may be: hidden and damaged frames are listed, and
                give none.

        Raises:
            FormatError: It is no video, or there is no such frame.
        """
        if self._video is None or path != self._path or time_ms < self._asked:
            self.close()
            self._video, self._path, self._time = _Capture(path), path, -1
        self._asked = time_ms
        while self._time < time_ms:
            self._time = self._video.time() if self._video.grab() else _END
        if self._time == _END:
            raise FormatError(path, f"gives no frame at {time_ms} ms or after it")
        if self._time > time_ms + late_ms:
            raise FormatError(path, f"gives no frame at {time_ms} ms; the next is at {self._time}")
        return self._video.frame()

    def close(self) -> None:
        """Close the video; the cursor can be used again."""
        if self._video is not None:
            self._video.close()
        self._video = None


class _Capture:
    """OpenCV's capture with errors of ours, closed at the end of a ``with``."""

    def __init__(self, path: Path, settings: tuple[int, ...] = _DECODED) -> None:
        self._path = path
        _check_head(path)
        try:
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, settings)
        except cv2.error:
            raise FormatError(path, "can't be opened as a video") from None
        if not self._capture.isOpened():
            raise FormatError(path, "can't be opened as a video")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # upright, as players show it

    def grab(self) -> bool:
        try:
            return bool(self._capture.grab())
        except cv2.error:
            return False

    def time(self) -> int:
        """Give the time of the frame that was grabbed, ms; -1 where damage left none."""
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        return round(time) if math.isfinite(time) and 0 <= time < _END else -1

    def size(self) -> tuple[int, int]:
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if min(width, height) <= 0:
            raise FormatError(self._path, f"frames of {width}x{height} pixels")
        return width, height

    def frame(self) -> BgrImage:
        try:
            done, image = self._capture.retrieve()
        except cv2.error:
            done, image = False, None
        if not done or image is None:
            raise FormatError(self._path, f"the frame at {self.time()} ms does not decode")
        frame: BgrImage = image
        return frame

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_head(path: Path) -> None:
    """Refuse what is no video by its first bytes.

    FFmpeg goes by the content, not the name: a playlist or a list of parts in a file named .mp4
    would have it open other files, and addresses.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as reason:
        raise FormatError(path, f"can't be read ({reason.strerror})") from None
    known: tuple[Any, ...] = (
        head[4:8] in _MP4_BOXES,
        head[:4] == b"RIFF" and head[8:12] == b"AVI ",
        head[:4] == b"\x1a\x45\xdf\xa3",  # Matroska and WebM
        head[:3] == b"\0\0\1",  # MPEG-1 and MPEG-2
        head[:1] == head[188:] == b"G",  # an MPEG transport stream
    )
    if not any(known):
        raise FormatError(path, f"starts with {head[:8]!r}", "mp4, mov, avi, mkv, webm or mpg")
