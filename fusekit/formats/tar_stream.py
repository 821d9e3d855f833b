"""Anyone's tar archives, plain or compressed as a whole, listed and read without unpacking.

USTAR, GNU and pax names and sizes. Only heads are read for a listing; the standard library's
``tarfile`` takes several times as long and keeps an object for each member.

Reference:
    POSIX.1-2001, "pax interchange format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from fusekit.errors import FormatError
from fusekit.formats.archive import Member
from fusekit.formats.compressed import CompressedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusekit.formats.archive import MemberKind
    from fusekit.formats.compressed import Compression

_BLOCK: Final = 512
_ZEROS: Final = bytes(_BLOCK)
_CHECKSUM: Final = slice(148, 156)
_CHUNK: Final = 1 << 20
_MAX_LONG: Final = 1 << 20  # bytes of a long name or of a member's pax records
_MAX_SIZE: Final = 1 << 62
_KINDS: Final[dict[bytes, MemberKind]] = {
    b"0": "file", b"\0": "file", b"7": "file", b"5": "folder", b"1": "link", b"2": "link",
}  # fmt: skip
#: Kinds without data, whatever their size field says.
_WITHOUT_DATA: Final = frozenset(b"123456")
_GNU_NAME, _GNU_LINK, _PAX, _PAX_FOR_ALL = b"L", b"K", b"x", b"g"
_PAX_SPARSE: Final = b"GNU.sparse."
_AGAIN: Final = "fetch it again"


class _File(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def seek(self, position: int, /) -> int: ...

    def close(self) -> None: ...


class TarArchive:
    """A tar: any member at once if it is plain, front to back if it is compressed.

    Args:
        path: The file.
        compression: None: plain.
    """

    def __init__(self, path: Path, compression: Compression | None) -> None:
        self._path, self._compression = path, compression
        self.front_to_back = compression is not None
        self._cursor: _File | None = None

    def members(self) -> Iterator[Member]:
        """List the members; see :class:`fusekit.formats.archive.Archive`."""
        file = self._open()
        try:
            yield from read_heads(file, str(self._path))
        finally:
            file.close()

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """Read a file; see :class:`fusekit.formats.archive.Archive`."""
        if not self.front_to_back:
            with self._path.open("rb", buffering=0) as file:
                yield from self._data(file, offset, size)
            return
        if self._cursor is None:
            self._cursor = self._open()
        yield from self._data(self._cursor, offset, size)

    def close(self) -> None:
        """Close the file; reading again opens it again."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _data(self, file: _File, offset: int, size: int) -> Iterator[bytes]:
        where = f"{self._path} at byte {offset}"
        # A member's data follow its head: the head shows whether the archive is still the same.
        file.seek(max(0, offset - _BLOCK))
        head = file.read(_BLOCK if offset >= _BLOCK else 0)
        if len(head) < _BLOCK or not _is_head(head):
            raise FormatError(where, "no member starts there")
        while size > 0:
            piece = file.read(min(size, _CHUNK))
            if not piece:
                raise FormatError(where, f"the archive ends {size} bytes before the member does")
            size -= len(piece)
            yield piece

    def _open(self) -> _File:
        if self._compression is not None:
            return CompressedFile(self._path, self._compression)
        return self._path.open("rb", buffering=0)


def read_heads(file: _File, where: str) -> Iterator[Member]:
    """List a tar by its heads, in the order of the file; archives behind one another too.

    Args:
        file: A tar, from its start.
        where: What to call it in errors.

    Raises:
        FormatError: A damaged head, a name or size that can't be, or no end mark.
        OSError: It can't be read.
    """
    at = 0
    ended = False
    name: bytes | None = None
    pax: dict[bytes, bytes] = {}
    while True:
        file.seek(at)
        head = file.read(_BLOCK)
        if not head and ended:
            return
        if not head or (len(head) < _BLOCK and head != _ZEROS[: len(head)]):
            raise _cut_off(where, at)
        at += _BLOCK
        if head == _ZEROS[: len(head)]:
            ended = True  # what follows is padding, or another tar (cat, tar --append)
            continue
        if not _is_head(head):
            raise FormatError(where, f"no tar head at byte {at - _BLOCK}", "a whole tar", _AGAIN)
        ended = False
        kind = head[156:157]
        size = _number(head[124:136], where, at)
        if kind in {_GNU_NAME, _GNU_LINK, _PAX, _PAX_FOR_ALL}:
            data = _long(file, size, where, at)
            if kind == _GNU_NAME:
                name = data.partition(b"\0")[0]
            elif kind == _PAX:
                pax = _pax_records(data, where, at)
            at += size + -size % _BLOCK
            continue
        size = _pax_size(pax, where, at) if b"size" in pax else size
        given = pax.get(b"path", name)
        member_name = _name(head) if given is None else given
        yield Member(member_name, *_placed(kind, member_name, size, pax, at))
        if kind[0] not in _WITHOUT_DATA:
            at += size + -size % _BLOCK  # past a file that is cut off, no head follows
        name, pax = None, {}


def is_tar_head(head: bytes) -> bool:
    """Say whether a file that begins so is a plain tar, an empty one too."""
    return len(head) == _BLOCK and (head == _ZEROS or _is_head(head))


def _placed(
    kind: bytes, name: bytes, size: int, pax: dict[bytes, bytes], at: int
) -> tuple[MemberKind, int, int]:
    """Give kind, offset and size of a member."""
    found = _KINDS.get(kind, "other")
    if found == "file" and name.endswith(b"/"):
        found = "folder"  # as tars from before POSIX spell one
    if found == "file" and any(key.startswith(_PAX_SPARSE) for key in pax):
        found = "other"
    return (found, at, size if found == "file" else 0)


def _cut_off(where: str, at: int) -> FormatError:
    return FormatError(where, f"ends early, near byte {at}", "a whole tar", _AGAIN)


def _is_head(head: bytes) -> bool:
    stated = head[_CHECKSUM].strip(b" \0")
    try:
        # The checksum's own field counts as eight spaces.
        return int(stated or b"0", 8) == sum(head) - sum(head[_CHECKSUM]) + 8 * ord(" ")
    except ValueError:
        return False


def _number(field: bytes, where: str, at: int) -> int:
    """Read a size: octal text, or GNU's binary form for more than 8 GiB."""
    try:
        if field[0] & 0x80:
            value = int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
        else:
            value = int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        value = -1
    if not 0 <= value < _MAX_SIZE:
        raise FormatError(where, f"a size that can't be, at byte {at - _BLOCK}", None, _AGAIN)
    return value


def _name(head: bytes) -> bytes:
    name = head[:100].partition(b"\0")[0]
    prefix = head[345:500].partition(b"\0")[0] if head[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _long(file: _File, size: int, where: str, at: int) -> bytes:
    if size > _MAX_LONG:
        raise FormatError(where, f"a name of {size} bytes at byte {at}", f"at most {_MAX_LONG}")
    data = file.read(size)
    if len(data) < size:
        raise _cut_off(where, at)
    return data


def _pax_records(data: bytes, where: str, at: int) -> dict[bytes, bytes]:
    """Read records ``length key=value``, the length counting all of the record."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(data) and data[start]:
        digits = data[start : start + 8].partition(b" ")[0]
        end = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = data[start + len(digits) + 1 : max(start, end - 1)].partition(b"=")
        if not start < end <= len(data) or not equals:
            raise FormatError(where, f"a damaged pax record at byte {at}", None, _AGAIN)
        records[key] = value
        start = end
    return records


def _pax_size(pax: dict[bytes, bytes], where: str, at: int) -> int:
    text = pax[b"size"]
    if not (text.isdigit() and len(text) < 20 and int(text) < _MAX_SIZE):
        raise FormatError(where, f"a size that can't be, at byte {at - _BLOCK}", None, _AGAIN)
    return int(text)
