"""What archives have in common: members, in whatever container they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a member's name that a system can open; a stranger's tar may give each one a mebibyte.
MAX_NAME: Final = 4_096

MemberKind: TypeAlias = Literal["file", "folder", "link", "other"]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive, as the archive says; nothing of it is to be trusted.

    Attributes:
        name: Its path, as bytes and unchecked.
        kind: ``other`` is a device, a pipe or a kind that only one tool knows.
        offset: Where it is read from: a tar's data, a zip's local header.
        size: Bytes of the file; 0 for what is no file.
    """

    name: bytes
    kind: MemberKind
    offset: int
    size: int


class Archive(Protocol):
    """An archive that is read where it lies.

    Attributes:
        front_to_back: It is compressed as a whole: going back costs as much as starting anew.
    """

    front_to_back: bool

    def members(self) -> Iterator[Member]:
        """List the members in the archive's order.

        Raises:
            FormatError: It is damaged, encrypted or one part of several.
            OSError: It can't be read.
        """
        ...

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """Read a file by its member's offset and size, piece by piece.

        Yields:
            ``size`` bytes in all; never more, whatever the archive says.

        Raises:
            FormatError: There is no member of this size, or its bytes are damaged.
            OSError: The archive can't be read.
        """
        ...

    def close(self) -> None:
        """Close what is open; reading again opens it again."""
        ...
