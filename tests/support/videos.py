"""Small videos, written by OpenCV, of drawn frames or of photographs."""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

CODECS = {".avi": "MJPG"}  # every other kind: MPEG-4


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float = 25) -> Path:
    """Write uint8 ``(H, W, 3)`` RGB frames as the kind of video that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    codec = cv2.VideoWriter_fourcc(*CODECS.get(path.suffix, "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, (width, height))
    assert writer.isOpened(), path
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def draw_frames(count: int, size: tuple[int, int] = (64, 48), first: int = 0) -> list[np.ndarray]:
    """Frames that show their number, from ``first`` on, as six stripes, black or white."""
    frames = []
    for number in range(first, first + count):
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        for bit, stripe in enumerate(_stripes(frame)):
            stripe[:] = 255 * (number >> bit & 1)
        frames.append(frame)
    return frames


def number_of(frame: np.ndarray) -> int:
    """The number that a drawn frame shows, whatever a codec did to it."""
    return sum((stripe.mean() > 128) << bit for bit, stripe in enumerate(_stripes(frame)))


def _stripes(frame: np.ndarray) -> list[np.ndarray]:
    return np.array_split(frame, 6, axis=1)


def plain_frames(*colours: int, count: int = 10) -> list[np.ndarray]:
    """``count`` frames of each level of grey: shots with hard cuts."""
    return [np.full((48, 64, 3), colour, np.uint8) for colour in colours for _ in range(count)]


def turn_upright(path: Path) -> Path:
    """Say in an mp4's header that its frames are to be turned a quarter clockwise."""
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 8
    one = 1 << 16
    turn = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:matrix] + turn + data[matrix + 36 :])
    return path


def spread_times(path: Path, ticks: Sequence[int], lasts: Sequence[int]) -> Path:
    """Give the frames of an mp4 other durations: ``ticks`` frames that last ``lasts`` each.

    A variable frame rate: the time-to-sample table is written anew, in a box as large as before.
    """
    data = bytearray(path.read_bytes().replace(b"edts", b"free"))  # else it ends where it did
    at = data.index(b"stts") - 4
    length = struct.unpack_from(">I", data, at)[0]
    table = struct.pack(">4sII", b"stts", 0, len(ticks))
    table += b"".join(struct.pack(">II", n, last) for n, last in zip(ticks, lasts, strict=True))
    # What is larger than the old table shifts everything behind it, so every box around it too.
    box = struct.pack(">I", len(table) + 4) + table
    grown = len(box) - length
    data[at : at + length] = box
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        where = data.index(name) - 4
        data[where : where + 4] = struct.pack(
            ">I", struct.unpack_from(">I", data, where)[0] + grown
        )
    path.write_bytes(data)
    return path
