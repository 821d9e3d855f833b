"""Write RecordIO packs as MXNet and InsightFace do; what they hold is told in ``recordio``."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from fusekit.errors import FormatError
from fusekit.formats.frames import MAX_LENGTH, frame_payload
from fusekit.formats.recordio import pack_record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class RecordWriter:
    """Write records one after another, with their index.

    Args:
        rec: Where the records go, at its start.
        idx: Where the index rows go.
    """

    def __init__(self, rec: IO[bytes], idx: IO[bytes]) -> None:
        self._rec = rec
        self._idx = idx
        self._at = 0

    def add(self, key: int, data: bytes) -> int:
        """Write one record.

        Args:
            key: Its key in the index, at least 0.
            data: Its payload, under 2**29 bytes.

        Returns:
            The offset of its first frame.

        Raises:
            FormatError: The payload is too long for a frame.
        """
        if len(data) > MAX_LENGTH:
            raise FormatError(
                "a record", f"{len(data)} bytes for key {key}", f"at most {MAX_LENGTH}"
            )
        offset = self._at
        self._idx.write(b"%d\t%d\n" % (key, offset))
        for piece in frame_payload(data):
            self._rec.write(piece)
            self._at += len(piece)
        return offset


class PackWriter:
    """Write a pack as InsightFace's record builder does: images, identity records, key 0 last.

    Args:
        rec: As for :class:`RecordWriter`.
        idx: As for :class:`RecordWriter`.
        num_classes: Labels lie in ``[0, num_classes)``.
    """

    def __init__(self, rec: IO[bytes], idx: IO[bytes], num_classes: int) -> None:
        self._writer = RecordWriter(rec, idx)
        self._classes = num_classes
        self._runs: dict[int, tuple[int, int]] = {}
        self._key, self._last = 1, -1

    def add(self, label: int, image: bytes) -> int:
        """Write an image; all images of a label come in one run.

        Returns:
            Its key: 1 for the first image, and so on.

        Raises:
            FormatError: The label lies outside its range or comes again after another one.
        """
        if not 0 <= label < self._classes:
            raise FormatError("the pack", f"label {label}", f"0 to {self._classes - 1}")
        if label in self._runs and label != self._last:
            found = f"label {label} comes again"
            raise FormatError("the pack", found, "all its images in one run")
        key = self._key
        self._writer.add(key, pack_record(float(label), key, image))
        self._runs[label] = (self._runs.get(label, (key, key))[0], key + 1)
        self._key, self._last = key + 1, label
        return key

    def finish(self) -> None:
        """Write the records that say which images an identity has, then key 0."""
        for key, (first, end) in enumerate(self._runs.values(), self._key):
            self._writer.add(key, pack_record((float(first), float(end)), key))
        end = self._key + len(self._runs)
        self._writer.add(0, pack_record((float(self._key), float(end)), 0))


def write_pack(
    folder: Path,
    images: Iterable[tuple[int, bytes]],
    num_classes: int,
    name: str = "train",
    size: tuple[int, int] = (112, 112),
) -> int:
    """Write the files of a pack with :class:`PackWriter`.

    Args:
        folder: Where ``<name>.rec``, ``<name>.idx`` and ``property`` go; made if needed.
        images: Label and image file's bytes, all images of a label in one run.
        num_classes: Labels lie in ``[0, num_classes)``.
        name: Stem of the files.
        size: Height and width in pixels, for ``property``.

    Returns:
        How many images were written.

    Raises:
        FormatError: As :meth:`PackWriter.add`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / f"{name}.rec").open("wb") as rec, (folder / f"{name}.idx").open("wb") as idx:
        pack = PackWriter(rec, idx, num_classes)
        for label, image in images:
            count = pack.add(label, image)
        pack.finish()
    (folder / "property").write_text(property_text(num_classes, size))
    return count


def property_text(num_classes: int, size: tuple[int, int]) -> str:
    """Spell a ``property`` file: classes, height, width; without a newline, as InsightFace does.

    Example:
        >>> property_text(85742, (112, 112))
        '85742,112,112'
    """
    return f"{num_classes},{size[0]},{size[1]}"
