"""The samples of a WebDataset shard: members of a tar that share a key and follow each other.

Reference:
    webdataset, ``src/webdataset/tariterators.py``: a key is a member's path up to the first dot
    after the last slash, the rest is the suffix, in lower case.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from fusekit.formats.archive import MAX_NAME
from fusekit.formats.tar_stream import read_heads
from fusekit.readers.trees.walk import JUNK

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from fusekit.formats.archive import Member

IMAGE_SUFFIXES: Final = frozenset(
    {"jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff", "avif",
     "heic", "npy"}
)  # fmt: skip
_META: Final = re.compile(r"__[^/]*__($|/)")
_MAX_PARTS: Final = 64  # of a sample; more under one key are no sample
_MAX_TEXT: Final = 1 << 20
_NOT_READ: Final = {
    "folder": None,  # says nothing that its files' names don't
    "link": "links",
    "other": "members that are no files, or are erased",
}


@dataclass(slots=True)
class Sample:
    """Members of one key.

    Attributes:
        key: Their path up to the first dot after the last slash.
        parts: Suffix and member of each, in file order.
        is_cut: More members than a sample can have share the key.
    """

    key: str
    parts: list[tuple[str, Member]] = field(default_factory=list)
    is_cut: bool = False

    def part(self, suffix: str) -> Member | None:
        """Give the member of a suffix; None: there is none."""
        return next((member for own, member in self.parts if own == suffix), None)


def read_samples(file: IO[bytes], where: str, ignored: Counter[str]) -> Iterator[Sample]:
    """Group a shard's members into samples, in file order.

    Args:
        file: The open tar.
        where: What to call it in errors.
        ignored: Gets a count for every member that is part of no sample.

    Raises:
        FormatError: The tar is damaged.
    """
    sample = Sample("")
    for member in read_heads(file, where):
        found = _key(member, ignored)
        if found is None:
            continue
        key, suffix = found
        if key != sample.key or len(sample.parts) == _MAX_PARTS:
            is_rest = key == sample.key
            sample.is_cut |= is_rest
            if sample.parts:
                yield sample
            sample = Sample(key, is_cut=is_rest)
        sample.parts.append((suffix, member))
    if sample.parts:
        yield sample


def image_parts(sample: Sample, suffix: str | None) -> list[Member]:
    """Find a sample's images.

    Args:
        sample: The sample.
        suffix: Of the image; None: whatever names a picture. A plain ``jpg`` then comes before
            suffixes such as ``mask.png``.

    Returns:
        One member where all is well; none or several otherwise.
    """
    if suffix is not None:
        return [member for own, member in sample.parts if own == suffix]
    plain = [m for own, m in sample.parts if own in IMAGE_SUFFIXES]
    return plain or [m for own, m in sample.parts if own.rpartition(".")[2] in IMAGE_SUFFIXES]


def fault_of(sample: Sample, images: list[Member]) -> str | None:
    """Say what is wrong with a sample that has images; None: nothing is."""
    if sample.is_cut:
        return f"more than {_MAX_PARTS} members share the key {sample.key!r}"
    if len(images) > 1:
        return f"{len(images)} images share the key {sample.key!r}, which ends at the first dot"
    suffixes = [suffix for suffix, _ in sample.parts]
    again = next((s for s in suffixes if suffixes.count(s) > 1), None)
    return None if again is None else f"two members of {sample.key!r} end in .{again}"


def read_text(file: IO[bytes], member: Member) -> str | None:
    """Read a small member as text, without white space around it; None: it is none."""
    if member.size > _MAX_TEXT:
        return None
    file.seek(member.offset)
    try:
        return file.read(member.size).decode().strip()
    except UnicodeDecodeError:
        return None


def read_record(file: IO[bytes], member: Member) -> dict[str, Any] | None:
    """Read a JSON member; None: it is no JSON object, or too large for what describes a picture."""
    text = read_text(file, member)
    try:
        record = None if text is None else json.loads(text)
    except (ValueError, RecursionError):  # the latter for brackets nested without end
        return None
    return record if isinstance(record, dict) else None


def member_name(member: Member) -> str | None:
    """Give a member's name as text; None: it is no UTF-8."""
    try:
        return member.name.decode().removeprefix("./")
    except UnicodeDecodeError:
        return None


def _key(member: Member, ignored: Counter[str]) -> tuple[str, str] | None:
    reason: str | None
    if member.kind != "file":
        reason = _NOT_READ[member.kind]
    elif len(member.name) > MAX_NAME:
        reason = "members whose names no file can have"
    elif (name := member_name(member)) is None:
        reason = "names that are no UTF-8"
    else:
        folder, slash, base = name.rpartition("/")
        stem, dot, suffix = base.partition(".")
        if name.startswith("/") or ".." in folder.split("/"):
            reason = "members that lead out of their shard"
        elif base.lower() in JUNK or base.startswith("._"):
            reason = "desktop files"
        elif _META.match(name):
            reason = "members named __…__"
        elif not (stem and dot):
            reason = "members without a key and a suffix"
        else:
            return f"{folder}{slash}{stem}", suffix.lower()
    if reason is not None:
        ignored[reason] += 1
    return None
