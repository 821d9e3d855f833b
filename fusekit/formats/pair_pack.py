"""InsightFace's verification packs: pairs of encoded images, and whether they show one person.

A pack (``lfw.bin``) is a pickle of two lists: two images a pair, and one boolean a pair. It is
read without running anything of it, see :mod:`fusekit.formats.pickle_machine`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from fusekit.errors import FormatError
from fusekit.formats.pickle_machine import read_pickle
from fusekit.formats.pickle_values import Array, Text, array_numbers, text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from fusekit.formats.pickle_values import Value

FOLDS: Final = 10
_MAX_PAIRS: Final = 1 << 22
_FEATURES: Final = struct.Struct("<4i")
_FLOAT32: Final = 5  # MegaFace's own number for the type of a feature file's values


@dataclass(frozen=True)
class PackedImage:
    """One image of a pack: where its bytes are spelt in the file, and how many they are."""

    text: Text
    size: int


@dataclass(frozen=True)
class PairPack:
    """What a pack holds.

    Attributes:
        images: Two a pair, in order.
        same: One a pair.
        end: Where the pickle ends in the file.
    """

    images: list[PackedImage]
    same: npt.NDArray[np.bool_]
    end: int


def read_pair_pack(file: IO[bytes], where: str) -> PairPack:
    """Find the images and labels of a pack; no image is kept in memory.

    Args:
        file: The pack; it can seek.
        where: What to call it in errors.

    Raises:
        FormatError: It is no such pickle, is cut off, or its lists don't fit together.
    """
    _check_no_features(file, where)
    value, end = read_pickle(file, where)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise FormatError(where, "the pickle is no pack of pairs", "two lists: images and labels")
    images, labels = value
    if not isinstance(images, tuple | list):
        raise FormatError(where, f"its images are {_kind(images)}", "a list")
    same = _labels(file, labels, where)
    if len(images) != 2 * len(same):
        raise FormatError(
            where, f"holds {len(images)} images and {len(same)} labels", "two images a label"
        )
    return PairPack([_image(file, i, each, where) for i, each in enumerate(images)], same, end)


def read_packed_image(file: IO[bytes], image: PackedImage, where: str) -> bytes:
    """Read one image file out of a pack.

    Raises:
        FormatError: The pack is another file by now.
    """
    data = text_bytes(image.text, _read_from(file), where)
    if len(data) != image.size:
        raise FormatError(where, f"{len(data)} bytes at byte {image.text.offset}", f"{image.size}")
    return data


def is_pair_pack(head: bytes) -> bool:
    """Say by its first 16 bytes or more whether a file may be a pack: a pickle of a tuple.

    Example:
        >>> is_pair_pack(bytes([0x80, 4, 0x95]) + bytes(13))
        True
    """
    if _features(head):
        return False
    return head[:1] in (b"(", b"]") or (head[:1] == b"\x80" and 2 <= head[1] <= 5)


def pair_folds(pairs: int) -> npt.NDArray[np.int16]:
    """Give each pair's fold: ten runs of pairs, the first ones longer by one where that is needed.

    Args:
        pairs: How many; fewer than ten have no folds.

    Returns:
        From 1; 0 where there are no folds.

    Reference:
        scikit-learn's ``KFold(10, shuffle=False)``, as InsightFace's ``verification.py`` uses it.

    Example:
        >>> pair_folds(12).tolist()
        [1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    """
    if pairs < FOLDS:
        return np.zeros(pairs, np.int16)
    lengths = [pairs // FOLDS + (fold < pairs % FOLDS) for fold in range(FOLDS)]
    return np.repeat(np.arange(1, FOLDS + 1, dtype=np.int16), lengths)


def _labels(file: IO[bytes], labels: Value, where: str) -> npt.NDArray[np.bool_]:
    if isinstance(labels, Array):
        count = labels.count()
        if count is None or count > _MAX_PAIRS:
            raise FormatError(where, f"its labels have the shape {labels.shape}", "one a pair")
        numbers: Sequence[Value] = array_numbers(labels, _read_from(file), where).tolist()
    elif isinstance(labels, tuple | list):
        numbers = labels
    else:
        raise FormatError(where, f"its labels are {_kind(labels)}", "a list")
    for i, number in enumerate(numbers):
        if not isinstance(number, int) or number not in (0, 1):
            found = number if isinstance(number, int) else _kind(number)
            raise FormatError(where, f"label {i} is {found}", "True or False")
    return np.array(numbers, np.bool_)


def _image(file: IO[bytes], number: int, value: Value, where: str) -> PackedImage:
    text, count = value, None
    if isinstance(value, Array):
        text, count = value.data, value.count()
        if count is None or value.dtype is None or value.dtype.code != "u1":
            kind = value.dtype.code if value.dtype else "nothing"
            raise FormatError(
                where, f"image {number} is an array of {kind}, shape {value.shape}",
                "the bytes of an image file",
            )  # fmt: skip
    if not isinstance(text, Text) or not text.is_bytes:
        raise FormatError(where, f"image {number} is {_kind(value)}", "the bytes of an image file")
    size = text.length
    if text.spelling != "plain":
        size = len(text_bytes(text, _read_from(file), where))
    if count not in (None, size):
        raise FormatError(where, f"image {number} has {size} bytes", f"{count}, as its shape says")
    return PackedImage(text, size)


def _read_from(file: IO[bytes]) -> Callable[[Text], bytes]:
    def read(text: Text) -> bytes:
        file.seek(text.offset)
        return file.read(text.length)

    return read


def _check_no_features(file: IO[bytes], where: str) -> None:
    file.seek(0)
    if found := _features(file.read(_FEATURES.size)):
        raise FormatError(
            where, f"holds {found[0]:,} x {found[1]:,} features, no images",
            "a pickle of images and labels", "it is a model's output, as MegaFace's tools write it",
        )  # fmt: skip


def _features(head: bytes) -> tuple[int, int] | None:
    """Give rows and columns of a feature file's head; None: it is none."""
    if len(head) < _FEATURES.size:
        return None
    rows, columns, stride, kind = _FEATURES.unpack_from(head)
    fits = rows > 0 and columns > 0 and stride == 4 * columns and kind == _FLOAT32
    return (rows, columns) if fits else None


def _kind(value: Value) -> str:
    """Say what a value is, never what it holds: it may be endless."""
    if isinstance(value, Text):
        return "bytes" if value.is_bytes else "text"
    return {"NoneType": "None", "DType": "a numpy type", "Global": "a function"}.get(
        type(value).__name__, f"a {type(value).__name__.lower()}"
    )
