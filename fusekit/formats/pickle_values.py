"""What the pickle of a verification pack may be made of, and what its few calls come to.

Nothing is ever imported, called or built: a class or function that the pickle names is a word,
and the words of the allow-list below have the meanings that this module gives them.
"""

from __future__ import annotations

import codecs
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Gives a text's bytes as they stand in the file.
    ReadText: TypeAlias = Callable[["Text"], bytes]

#: How a text's bytes are spelt in the file: as they are, as UTF-8, as the escapes of a protocol 0
#: text, or as a Python 2 literal.
Spelling: TypeAlias = Literal["plain", "utf-8", "escapes", "literal"]
Value: TypeAlias = "int | list[Value] | tuple[Value, ...] | Text | Global | DType | Array | None"

_MEANINGS: Final = {
    "numpy.core.multiarray._reconstruct": "reconstruct",
    "numpy._core.multiarray._reconstruct": "reconstruct",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy._core.numeric._frombuffer": "frombuffer",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
}
_TYPES: Final = frozenset({"b1", "?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"})
_MAX_WORD: Final = 256


@dataclass(frozen=True, slots=True)
class Text:
    """A text or bytes of the pickle: where they stand in the file.

    Attributes:
        offset: First byte.
        length: Bytes in the file.
        spelling: How they are spelt there.
        is_bytes: They are bytes and no text.
    """

    offset: int
    length: int
    spelling: Spelling
    is_bytes: bool


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the pickle names; ``meaning`` is ours."""

    name: str
    meaning: str


@dataclass(slots=True)
class DType:
    """A numpy type: ``u1``, ``b1`` and so on, and its byte order."""

    code: str
    order: str = "|"

    def numpy(self) -> np.dtype[Any]:
        """Give the type itself."""
        return np.dtype(f"{'<' if self.order == '|' else self.order}{self.code}")


@dataclass(slots=True)
class Array:
    """A numpy array; ``data`` is None until its state is set."""

    shape: tuple[int, ...] = ()
    dtype: DType | None = None
    data: Text | None = None

    def count(self) -> int | None:
        """Give how many numbers it holds, if it is one run of them: (n,) or (n, 1)."""
        flat = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)
        return self.shape[0] if flat else None


def named(name: str, where: str) -> Global:
    """Give the class or function that a pickle asks for, as a word.

    Raises:
        FormatError: It is none that verification packs are made of.
    """
    if name not in _MEANINGS:
        shown = name if name.isprintable() else ascii(name)
        raise FormatError(
            where, f"the pickle asks for {shown}", "images and booleans, as bytes or numpy arrays",
            "it was not run, and no good pack has it",
        )  # fmt: skip
    return Global(name, _MEANINGS[name])


def spelt(data: bytes, spelling: Spelling) -> bytes:
    r"""Give the bytes that a text of the pickle stands for.

    Raises:
        ValueError: The spelling is broken, or a character is no byte.

    Example:
        >>> spelt(b"\xc3\xbf", "utf-8"), spelt(b"'\\xff'", "literal")
        (b'\xff', b'\xff')
    """
    if spelling == "plain":
        return data
    if spelling == "utf-8":
        return data.decode("utf-8").encode("latin-1")
    if spelling == "escapes":
        return data.decode("raw-unicode-escape").encode("latin-1")
    if len(data) < 2 or data[:1] not in (b"'", b'"') or data[-1:] != data[:1]:
        msg = "no quotes"
        raise ValueError(msg)
    return bytes(codecs.escape_decode(data[1:-1])[0])


def text_bytes(text: Text, read: ReadText, where: str) -> bytes:
    """Read the bytes that a text of the pickle stands for.

    Raises:
        FormatError: It can't be decoded.
    """
    try:
        return spelt(read(text), text.spelling)
    except ValueError:
        raise FormatError(where, f"the text at byte {text.offset} can't be decoded") from None


def array_numbers(array: Array, read: ReadText, where: str) -> np.ndarray[Any, Any]:
    """Read an array's numbers, one after another.

    Raises:
        FormatError: It has other bytes than its shape needs.
    """
    if array.data is None or array.dtype is None:
        raise FormatError(where, "holds a numpy array without its data")
    dtype, data = array.dtype.numpy(), text_bytes(array.data, read, where)
    if len(data) != math.prod(array.shape) * dtype.itemsize:
        raise FormatError(
            where, f"a numpy array of shape {array.shape} has {len(data)} bytes",
            f"{dtype.itemsize} for each of its numbers",
        )  # fmt: skip
    return np.frombuffer(data, dtype)


class Meanings:
    """What calling a word of the allow-list, or setting an object's state, comes to.

    Args:
        read: Gives a text's bytes as they stand in the file.
        where: The file, for errors.
    """

    def __init__(self, read: ReadText, where: str) -> None:
        self._read, self._where = read, where

    def call(self, function: Value, arguments: Value) -> Value:
        """Give what a call comes to.

        Raises:
            FormatError: It is no call that makes an image, an array or a number.
        """
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise FormatError(self._where, "the pickle calls what is no function")
        match function.meaning, arguments:
            case "reconstruct", (Global(meaning="ndarray"), tuple(), Text()):
                return Array()
            case "dtype", (Text() as code, *_):
                return DType(self._code(code))
            case "frombuffer", (
                Text(is_bytes=True) as data,
                DType() as dtype,
                tuple() as shape,
                *_,
            ):
                return self._array(Array(), shape, dtype, data)
            case "scalar", (DType() as dtype, Text(is_bytes=True) as data):
                number = self._array(Array(), (1,), dtype, data)
                return int(array_numbers(number, self._read, self._where)[0])
            case "encode", (Text(is_bytes=False) as text, Text() as encoding):
                if self.word(encoding) in ("latin1", "latin-1"):
                    return Text(text.offset, text.length, text.spelling, is_bytes=True)
        raise FormatError(self._where, f"the pickle calls {function.name} in an unknown way")

    def build(self, target: Value, state: Value) -> None:
        """Set an object's state.

        Raises:
            FormatError: It is no state of an array or a type.
        """
        match target, state:
            case DType(), (int(), Text() as order, *_):
                target.order = self.word(order)
                if target.order not in ("|", "<", ">", "="):
                    raise FormatError(self._where, f"a numpy type of byte order {target.order!r}")
            case Array(), (int(), tuple() as shape, DType() as dtype, int(), Text() as data):
                self._array(target, shape, dtype, data)
            case _:
                raise FormatError(self._where, "the pickle sets the state of what has none")

    def word(self, text: Value) -> str:
        """Read a short text; empty when it is too long or none."""
        if not isinstance(text, Text) or text.length > _MAX_WORD:
            return ""
        return text_bytes(text, self._read, self._where).decode("latin-1")

    def _array(self, array: Array, shape: Sequence[Value], dtype: DType, data: Text) -> Array:
        sizes = tuple(n for n in shape if isinstance(n, int) and 0 <= n < 1 << 40)
        if len(sizes) != len(shape) or not 1 <= len(sizes) <= 4:
            raise FormatError(self._where, "holds a numpy array of an impossible shape")
        array.shape, array.dtype, array.data = sizes, dtype, data
        return array

    def _code(self, text: Text) -> str:
        code = self.word(text).lstrip("|<>=")
        if code not in _TYPES:
            raise FormatError(
                self._where, f"holds numpy values of the type {code!r}", "bytes or booleans"
            )
        return code
