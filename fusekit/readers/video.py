"""Videos, sampled every so many milliseconds or once a shot: each frame taken is an item."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Final, Literal

import cv2
import numpy as np
from pydantic import Field

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats.video import FrameCursor, decode_frames, frame_size, frame_times
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.shots import shot_middles
from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.walk import MAX_BYTES, first_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.trees.walk import Entry

SUFFIXES: Final = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
_ARCHIVES: Final = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_PACKED: Final = "archives (not looked into for videos)"
_OUTSIDE: Final = "files outside identity folders"
_LOOKED_AT: Final = 256
_BMP_HEAD: Final = 54
_LATE_MS: Final = 100  # a frame that is listed but hidden: the next one stands for it
_NUMBER_BITS: Final = 32  # of an offset: the video's number above, the frame's below


class VideoOptions(Options):
    """Which frames of a video are items.

    Attributes:
        sample: ``interval``: one every so many milliseconds; ``shots``: the middle one of each
            shot, for which the listing decodes every video once.
        every_ms: The interval: the first frame at or after each multiple of it.
        max_frames: Most frames of a video, spread evenly over those sampled; None: all.
    """

    sample: Literal["interval", "shots"] = "interval"
    every_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 1000
    max_frames: Annotated[int, Field(ge=1)] | None = None


class VideoReader:
    """Reader of videos: ``<identity>/<clip>.mp4``, or anywhere where the dataset is unlabeled.

    A frame's source is ``<path>#t=<ms>``, its file a BMP of its pixels, upright. A video that
    can't be listed is one rejected item of its own path.
    """

    looks_for = "videos (mp4, avi, mov, mkv, webm, m4v, mpg)"
    options = VideoOptions
    numeric_identities = False
    front_to_back = True

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self._kind = kind
        self._ignored: Counter[str] = Counter()
        if not raw.is_dir():
            raise SourceError(
                raw, "is no folder", f"a folder of {self.looks_for}",
                "unpack an archive first: videos are read from plain files",
            )  # fmt: skip
        # Never through archives: OpenCV opens paths.
        self._tree = FolderTree(raw, self._ignored)
        self._cursor = FrameCursor()

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - no option changes it
        """Say whether most of the first files that are found are videos."""
        if not raw.is_dir():
            return False
        files = first_files(FolderTree(raw, Counter()), _LOOKED_AT)
        videos = [_is_video(file) for file in files]
        return any(videos) and 2 * sum(videos) >= len(videos)

    def items(self) -> Iterator[Item]:
        """List the frames; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        found = False
        for number, (video, identity) in enumerate(self._videos()):
            found = True
            yield from self._video_items(number, video, identity)
        if not found:
            raise self._without_videos()

    def read(self, item: Item) -> bytes:
        """Read a frame as a BMP file; see :class:`fusekit.readers.item.Reader`."""
        assert item.video is not None
        assert item.time_ms is not None
        late = min(_LATE_MS, self._options.every_ms - 1)
        try:
            frame = self._cursor.frame(self._path(item.video), item.time_ms, late)
        except FormatError as error:
            if not self._tree.is_file(item.video):
                self._tree.read(item.video)  # says whether all of the raw data is gone
            raise ItemError(self._why(item.video), item.source, error.found) from None
        height, width = frame.shape[:2]
        if _bmp_size(width, height) != item.size:
            raise ItemError("unreadable", item.source, f"{width}x{height}, unlike its video")
        return bytes(cv2.imencode(".bmp", frame)[1].tobytes())

    def names(self) -> Mapping[str, str]:
        """Give no names: an identity is its folder's name."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def _without_videos(self) -> SourceError:
        expected = "videos" if self._kind == "unlabeled" else "a folder of videos for each identity"
        packed = self._ignored[_PACKED]
        if packed:
            found = f"holds no videos but {packed} archives"
            return SourceError(self._tree.root, found, expected, "unpack them first")
        outside = self._ignored[_OUTSIDE]
        if outside:
            return SourceError(
                self._tree.root, f"holds no folders of videos but {outside} files", expected,
                "videos of nobody in particular: fusekit ingest unlabeled --form video",
            )  # fmt: skip
        return SourceError(self._tree.root, "holds no videos", expected)

    def _videos(self) -> Iterator[tuple[Entry, str | None]]:
        """List the videos with their identities, and count everything else."""
        if self._kind == "unlabeled":
            for file in self._tree.files():
                if self._is_taken(file):
                    yield file, None
            return
        for person in self._tree.entries():
            if not person.is_folder:
                self._ignored[_OUTSIDE] += 1
                continue
            identity = unicodedata.normalize("NFC", person.name)
            for file in self._tree.files(person.source):
                if self._is_taken(file):
                    yield file, identity

    def _is_taken(self, file: Entry) -> bool:
        if _is_video(file):
            return True
        packed = PurePosixPath(file.name).suffix.lower() in _ARCHIVES
        self._ignored[_PACKED if packed else "files that are no videos"] += 1
        return False

    def _video_items(self, number: int, video: Entry, identity: str | None) -> Iterator[Item]:
        first = number << _NUMBER_BITS
        whole = Item(video.source, 0, identity, offset=first, media="video", video=video.source)
        try:
            size = self._frame_bytes(video)
            frames = self._sampled(self._path(video.source))
        except (ItemError, FormatError) as error:
            reason = error.reason if isinstance(error, ItemError) else self._why(video.source)
            yield replace(whole, reject=reason, reject_detail=_plain(error))
            return
        for frame, time in frames:
            yield replace(
                whole, source=f"{video.source}#t={time}", size=size, offset=first + frame,
                time_ms=time, frame=frame,
            )  # fmt: skip

    def _why(self, source: str) -> str:
        return "undecodable" if os.access(self._path(source), os.R_OK) else "unreadable"

    def _frame_bytes(self, video: Entry) -> int:
        """Give the size of each frame's BMP file."""
        if not video.size:
            raise ItemError("empty", video.source, "has no bytes")
        width, height = frame_size(self._path(video.source))
        size = _bmp_size(width, height)
        if size > MAX_BYTES:
            raise ItemError("too_large", video.source, f"frames of {width}x{height} pixels")
        return size

    def _sampled(self, path: Path) -> list[tuple[int, int]]:
        """Give number and time of each frame that is taken."""
        times = frame_times(path)
        if self._options.sample == "shots":
            taken = np.fromiter(shot_middles(decode_frames(path)), np.int64)
            if not taken.size:
                raise FormatError(path, "no frame of it decodes")
        else:
            taken = _every(times, self._options.every_ms)
        most = self._options.max_frames
        if most is not None and taken.size > most:
            taken = taken[np.arange(most) * taken.size // most]
        numbers = np.searchsorted(times, taken)
        return list(zip(numbers.tolist(), taken.tolist(), strict=True))

    def _path(self, source: str) -> Path:
        return Path(self._tree.path(source))


def _every(times: npt.NDArray[np.int64], every_ms: int) -> npt.NDArray[np.int64]:
    """Give the first time in each stretch of ``every_ms`` that has any."""
    stretches = times // every_ms
    return times[np.flatnonzero(np.diff(stretches, prepend=-1))]


def _bmp_size(width: int, height: int) -> int:
    return _BMP_HEAD + (3 * width + 3) // 4 * 4 * height  # rows are padded to four bytes


def _is_video(file: Entry) -> bool:
    return PurePosixPath(file.name).suffix.lower() in SUFFIXES


def _plain(error: ItemError | FormatError) -> str:
    return f"{error.found}; expected {error.expected}" if error.expected else error.found
