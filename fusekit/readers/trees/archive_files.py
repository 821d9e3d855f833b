"""Which files are archives, and which archives make up a folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.formats.compressed import compression_of
from fusekit.formats.tar_stream import TarArchive, is_tar_head
from fusekit.formats.zip import ZipArchive
from fusekit.readers.trees.walk import is_desktop_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from fusekit.formats.archive import Archive

_SUFFIX: Final = re.compile(
    r".+?(\.zip|\.tar|\.tar\.(?:gz|bz2|xz)|\.t(?:gz|bz2?|xz))", re.IGNORECASE
)
#: The first of several parts: ``x.z01``, ``x.zip.001``, ``glint360k_00``.
_PART: Final = re.compile(
    r".+\.z01|.+(?:\.zip|\.tar|\.gz|\.tgz)\.0*[01]|[^.]+_0[01]", re.IGNORECASE
)
_HEAD: Final = 512  # bytes that tell what a file is: a tar's head
_MAX_BESIDE: Final = 1 << 16  # with more files, or more folders than the next, none is looked for
_MAX_FOLDERS: Final = 64
_DEPTH: Final = 4  # folders down to an archive that is looked for by its name
_MAX_LOOKS: Final = 512  # folders looked at on each level on the way
_PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


def archive_suffix(name: str) -> str:
    """Give the suffix by which a file is an archive, or nothing.

    Example:
        >>> [archive_suffix(name) for name in ("train.tar.gz", "a.ZIP", "a.jpg")]
        ['.tar.gz', '.ZIP', '']
    """
    match = _SUFFIX.fullmatch(name)
    return match[1] if match else ""


def find_archives(raw: Path) -> list[str]:
    """Find the archives that make up a folder, so that each counts as a folder.

    They do where no folder stands beside them: what was unpacked is not read twice. Where the
    raw folder holds no archive, its folders are looked into; there no picture may stand beside.

    Args:
        raw: A folder.

    Returns:
        Their paths from it, in bytewise order; empty: none are to be opened.

    Raises:
        SourceError: One is the first of several parts, to be joined first.
    """
    here = _look(raw)
    found = [] if here.folders else here.archives
    if here.folders and not here.archives and len(here.folders) <= _MAX_FOLDERS:
        for folder in here.folders:
            below = _look(raw / folder)
            if not (below.folders or below.pictures):
                found += [f"{folder}/{name}" for name in below.archives]
    for part in [] if here.folders else here.parts:
        check_whole(raw / part)
    return _in_order(found)


def find_named_archives(raw: Path, names: Collection[str]) -> list[str]:
    """Find archives by their names, whatever stands beside them.

    Args:
        raw: A folder.
        names: In lower case, without the suffix.

    Returns:
        Their paths from it, in bytewise order.
    """
    found, level = [], [""]
    for _ in range(_DEPTH + 1):
        below: list[str] = []
        for folder in level[:_MAX_LOOKS]:
            here, head = _look(raw / folder), f"{folder}/" if folder else ""
            found += [
                head + name
                for name in here.archives
                if name.removesuffix(archive_suffix(name)).lower() in names
            ]
            if len(here.folders) <= _MAX_FOLDERS:
                below += [head + name for name in sorted(here.folders)]
        level = below
    return _in_order(found)


def is_first_part(path: Path) -> bool:
    """Say whether a file is the first part of an archive that was cut into several."""
    return bool(_PART.fullmatch(path.name)) and path.is_file() and _begins_archive(_head(path))


def check_whole(path: Path) -> None:
    """Check that a file is not the first part of an archive that was cut into several.

    Raises:
        SourceError: It is; says how to join them.
    """
    if not is_first_part(path):
        return
    stem = re.sub(r"[._]z?\d+$", "", path.name, flags=re.IGNORECASE)
    command = f"cat {stem}[._][0-9]* > whole{archive_suffix(stem) or '.tar.gz'}"
    if path.suffix.lower() == ".z01":
        command = f"zip -s 0 {stem}.zip --out whole.zip"
    raise SourceError(path, "is one part of an archive", None, f"join the parts first: {command}")


def _in_order(sources: list[str]) -> list[str]:
    return sorted(sources, key=lambda source: os.fsencode(f"{source}/"))


@dataclass
class _Beside:
    """What stands in one folder, by name."""

    archives: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    pictures: bool = False


def _look(folder: Path) -> _Beside:
    found = _Beside()
    try:
        with os.scandir(folder) as scan:
            for number, entry in enumerate(scan):
                if number >= _MAX_BESIDE:
                    return _Beside(pictures=True)
                if is_desktop_file(entry.name) or entry.is_symlink():
                    continue
                if entry.is_dir():
                    found.folders += [] if entry.name.startswith(".") else [entry.name]
                elif not entry.is_file():
                    continue  # opening a pipe would wait for whoever writes to it
                elif archive_suffix(entry.name):
                    found.archives.append(entry.name)
                elif _PART.fullmatch(entry.name):
                    found.parts.append(entry.name)
                else:
                    found.pictures |= os.path.splitext(entry.name)[1].lower() in _PICTURES  # noqa: PTH122
    except OSError:
        return _Beside(pictures=True)  # listing it will say so, if it is listed at all
    return found


def open_archive(path: Path) -> Archive:
    """Open an archive by what it begins with.

    Raises:
        SourceError: It can't be read, or is no archive.
    """
    head = _head(path)
    compression = compression_of(head)
    if compression is not None or is_tar_head(head):
        return TarArchive(path, compression)
    if head[:2] == b"PK" or archive_suffix(path.name).lower() == ".zip":
        return ZipArchive(path)
    raise SourceError(path, f"is no archive: it begins with {head[:16]!r}", "a zip or a tar")


def _begins_archive(head: bytes) -> bool:
    return head[:2] == b"PK" or compression_of(head) is not None or is_tar_head(head)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(_HEAD)
    except OSError as reason:
        raise unreadable(path, reason) from None


def unreadable(path: Path, reason: OSError) -> SourceError:
    """Give the error for a file that the system does not give."""
    return SourceError(path, f"can't be read ({reason.strerror or reason})")
