"""MATLAB's MAT files of level 5, as far as lists of cells, structures, text and numbers go.

Written for files of strangers: nesting, sizes and what compressed parts unfold to are bounded.
(SciPy's reader ends the process on a file of a megabyte that nests deeply enough.)

Reference: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

MatValue: TypeAlias = Union["Cells", "Structs", str, "npt.NDArray[np.generic]"]

_HEAD: Final = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC: Final = range(6, 16)  # classes of arrays of numbers
_NOTHING: Final[npt.NDArray[np.generic]] = np.empty(0)
_MAX_UNFOLDED: Final = 1 << 25  # a protocol of 12,000 pictures takes some 5 MB
_MAX_DEPTH: Final = 32
_MAX_DIMS: Final = 8
_NUMBERS: Final = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS: Final = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


@dataclass(frozen=True)
class Cells:
    """A cell array: its shape, and its values column after column."""

    shape: tuple[int, ...]
    values: tuple[MatValue, ...]


@dataclass(frozen=True)
class Structs:
    """An array of structures: its shape, its fields' names, and the fields of each element."""

    shape: tuple[int, ...]
    fields: tuple[str, ...]
    values: tuple[tuple[MatValue, ...], ...]


def read_mat(data: bytes, name: str, where: object) -> MatValue:
    """Read one variable of a MAT file.

    Args:
        data: The file.
        name: The variable's.
        where: What errors call the file.

    Raises:
        FormatError: It is no such file, it is damaged or too large when unfolded, or has no such
            variable.
    """
    try:
        return _find(data, name)
    except (struct.error, zlib.error, ValueError, IndexError, OverflowError) as reason:
        found = str(reason) if isinstance(reason, _BadMatError) else "is damaged"
        raise FormatError(where, found, "a MAT file of level 5") from None


class _BadMatError(ValueError):
    """What is wrong with the file, without its name; never leaves this module."""


def _find(data: bytes, name: str) -> MatValue:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        msg = "is of MATLAB 7.3 (HDF5)" if data[:16] == b"MATLAB 7.3 MAT-f" else "is no MAT file"
        raise _BadMatError(msg)
    top = _Reader(memoryview(data)[_HEAD:], order)
    budget = _MAX_UNFOLDED
    while not top.at_end():
        kind, body = top.element(padded=False)
        if kind == _COMPRESSED:
            unfolded = _unfold(body, budget)
            budget -= len(unfolded)
            kind, body = _Reader(memoryview(unfolded), order).element()
        if kind == _MATRIX:
            found, value = _matrix(_Reader(body, order), 0, name)
            if found == name and value is not None:
                return value
    msg = f"has no variable {name!r}"
    raise _BadMatError(msg)


def _unfold(body: memoryview, most: int) -> bytes:
    inflate = zlib.decompressobj()
    unfolded = inflate.decompress(body, most + 1)
    if len(unfolded) > most:
        msg = f"unfolds to more than {_MAX_UNFOLDED} bytes"
        raise _BadMatError(msg)
    return unfolded


class _Reader:
    """Reads elements one after another; each is a type and its bytes."""

    def __init__(self, data: memoryview, order: str) -> None:
        self._data, self.order = data, order
        self._at = 0

    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def left(self) -> int:
        return len(self._data) - self._at

    def element(self, *, padded: bool = True) -> tuple[int, memoryview]:
        kind, size = struct.unpack_from(f"{self.order}II", self._data, self._at)
        start = self._at + 8
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, self._at + 4
            self._at += 8
        else:
            self._at = start + (size + 7 & ~7 if padded and kind != _COMPRESSED else size)
        if start + size > len(self._data):
            msg = "ends too early"
            raise _BadMatError(msg)
        return kind, self._data[start : start + size]

    def numbers(self) -> npt.NDArray[np.generic]:
        kind, body = self.element()
        if kind not in _NUMBERS:
            msg = f"has numbers of the unknown type {kind}"
            raise _BadMatError(msg)
        return np.frombuffer(body, self.order + _NUMBERS[kind])

    def text(self) -> str:
        kind, body = self.element()
        codec = _TEXTS.get(kind)
        if codec is None:
            msg = f"has text of the unknown type {kind}"
            raise _BadMatError(msg)
        side = "-le" if self.order == "<" else "-be"
        return bytes(body).decode(codec + side if codec in ("utf-16", "utf-32") else codec)


def _matrix(data: _Reader, depth: int, only: str | None = None) -> tuple[str, MatValue | None]:
    """Read an array's name and its value; None when it has another name than ``only``."""
    if data.at_end():  # how an empty cell is written
        return "", _NOTHING
    if depth > _MAX_DEPTH:
        msg = f"nests more than {_MAX_DEPTH} deep"
        raise _BadMatError(msg)
    kind = int(data.numbers()[0]) & 0xFF
    shape = tuple(int(n) for n in data.numbers())
    name = data.text()
    if only is not None and name != only:
        return name, None
    if not (1 <= len(shape) <= _MAX_DIMS and min(shape) >= 0):
        msg = f"has an array of the shape {shape}"
        raise _BadMatError(msg)
    return name, _value(data, kind, shape, depth)


def _value(data: _Reader, kind: int, shape: tuple[int, ...], depth: int) -> MatValue:
    if kind == _CELL:
        return Cells(shape, tuple(_inner(data, math.prod(shape), depth)))
    if kind == _STRUCT:
        width = int(data.numbers()[0])
        names = bytes(data.element()[1])
        if width < 1 or len(names) % width:
            msg = "has a structure with a damaged list of fields"
            raise _BadMatError(msg)
        fields = tuple(
            names[at : at + width].partition(b"\0")[0].decode("latin-1")
            for at in range(0, len(names), width)
        )
        values = tuple(_inner(data, math.prod(shape) * len(fields), depth))
        step = max(len(fields), 1)
        rows = tuple(values[at : at + step] for at in range(0, len(values), step))
        return Structs(shape, fields, rows)
    if kind == _CHAR:
        return "" if data.at_end() else data.text()
    if kind in _NUMERIC:
        return data.numbers()
    msg = f"has an array of the class {kind}"
    raise _BadMatError(msg)


def _inner(data: _Reader, count: int, depth: int) -> Iterator[MatValue]:
    if count * 8 > data.left():  # each has a tag at least
        msg = "ends too early"
        raise _BadMatError(msg)
    for _ in range(count):
        kind, body = data.element()
        if kind != _MATRIX:
            msg = f"has an element of the type {kind} where an array should be"
            raise _BadMatError(msg)
        value = _matrix(_Reader(body, data.order), depth + 1)[1]
        assert value is not None  # only a name that is asked for leaves it out
        yield value
