"""The bytes of a pickle, taken piece by piece: lengths, numbers, lines and texts."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, NoReturn

from fusekit.errors import FormatError
from fusekit.formats.pickle_values import Text

if TYPE_CHECKING:
    from fusekit.formats.pickle_values import Spelling

_MAX_LINE: Final = 256  # of a number or a name; texts have no bound but the file
_MAX_LITERAL: Final = 1 << 29
_MAX_DIGITS: Final = 20


class PickleBytes:
    """The pickle's file, read from front to back, every length checked against its size.

    Args:
        file: The pickle; it can seek.
        where: What to call it in errors.

    Attributes:
        at: How many bytes were taken.

    Every method raises FormatError where the pickle is cut off or not as it should be.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self.where = file, where
        self._size = file.seek(0, 2)
        file.seek(0)
        self.at = 0

    def take(self, count: int) -> bytes:
        """Take the next bytes."""
        data = self._file.read(count)
        self.at += count
        if len(data) < count:
            raise FormatError(self.where, f"the pickle is cut off at byte {self._size}")
        return data

    def unsigned(self, width: int) -> int:
        """Take a number of ``width`` bytes, 0 or more."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        """Take a number of ``width`` bytes."""
        return int.from_bytes(self.take(width), "little", signed=True)

    def line(self, most: int = _MAX_LINE) -> bytes:
        """Take a line of at most so many bytes, without its end."""
        line = self._file.readline(most)
        self.at += len(line)
        if not line.endswith(b"\n"):
            self.fail("is cut off" if self.at >= self._size else "has an endless line")
        return line[:-1].removesuffix(b"\r")

    def number_line(self) -> int:
        """Take a number that is spelt on a line of its own."""
        digits = self.line().removesuffix(b"L")
        if len(digits) > _MAX_DIGITS or not digits.removeprefix(b"-").isdigit():
            self.fail(f"has {digits[:_MAX_DIGITS]!r} where a number should be")
        return int(digits)

    def text(self, length: int, spelling: Spelling, *, is_bytes: bool) -> Text:
        """Pass over a text, and say where it is."""
        text = Text(self.at, length, spelling, is_bytes)
        self.check_left(length)
        self.at += length
        self._file.seek(length, 1)
        return text

    def text_line(self, spelling: Spelling, *, is_bytes: bool) -> Text:
        """Pass over a text that ends with its line, and say where it is."""
        start = self.at
        return Text(start, len(self.line(_MAX_LITERAL)), spelling, is_bytes)

    def content(self, text: Text) -> bytes:
        """Read a text that was passed over."""
        self._file.seek(text.offset)
        data = self._file.read(text.length)
        self._file.seek(self.at)
        return data

    def check_left(self, length: int) -> None:
        """See that a length does not lead beyond the end of the file."""
        left = self._size - self.at
        if length > left:
            raise FormatError(
                self.where, f"{length:,} bytes should follow byte {self.at} of the pickle",
                f"at most {left:,}", "it is cut off: fetch it again",
            )  # fmt: skip

    def fail(self, found: str) -> NoReturn:
        """Say what is wrong with the pickle, and where."""
        raise FormatError(self.where, f"the pickle {found}, at byte {self.at}")
