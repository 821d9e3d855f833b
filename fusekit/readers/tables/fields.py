"""What the fields of a table or a JSON record mean, by their names and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Box: TypeAlias = tuple[float, float, float, float]

#: Names that a person goes by, first found first. ``id`` is often a row's, so it stands late.
IDENTITY_FIELDS: Final = ("identity", "person", "label", "class", "target", "id", "name")
#: Names that a picture goes by, first found first.
IMAGE_FIELDS: Final = (
    "image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "face", "image_bytes",
    "image/encoded", "bytes",
)  # fmt: skip
NAME_FIELD, SPLIT_FIELD, URL_FIELD = "name", "split", "url"
_POINTS: Final = 5
_MAX_TEXT: Final = 4_096  # characters; compressed, a megabyte of label a row costs next to nothing
_FAR: Final = 1e9  # pixels; more is no place in a picture

_SPLITS: Final = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def first_field(fields: Iterable[str], names: Iterable[str]) -> str | None:
    """Give the field whose name comes first among ``names``, upper or lower case.

    Example:
        >>> first_field(["Label", "image"], IDENTITY_FIELDS)
        'Label'
    """
    by_name = {field.lower(): field for field in reversed(list(fields))}
    return next((by_name[name] for name in names if name in by_name), None)


def identity_text(value: object) -> str | None:
    """Spell an identity: text as it is, whole numbers as digits; None for anything else.

    Example:
        >>> identity_text("007"), identity_text(7), identity_text(7.0), identity_text("")
        ('007', '7', '7', None)
    """
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():  # integers with gaps, as pandas writes
        return str(int(value))
    return None


def plain_text(value: object) -> str | None:
    """Give text that is not empty and not far too long; None for anything else.

    JSON may spell halves of characters, which no file can hold: they are no text either.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def split_name(value: object) -> str | None:
    """Spell a split as the manifest does: ``train``, ``val``, ``test``; others as they are.

    Example:
        >>> split_name("validation"), split_name("gallery"), split_name(3)
        ('val', 'gallery', None)
    """
    text = plain_text(value)
    return None if text is None else _SPLITS.get(text.lower(), text)


def is_split(name: str) -> bool:
    """Say whether a name, of a folder say, is one that splits go by."""
    return name.lower() in _SPLITS


def box_of(value: object) -> Box | None:
    """Read a box (x0, y0, x1, y1), pixels; None for anything else."""
    numbers = _numbers(value)
    if len(numbers) != 4:
        return None
    x0, y0, x1, y1 = numbers
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def landmarks_of(value: object) -> tuple[float, ...] | None:
    """Read five points, as ten numbers x, y in turn or as five pairs; None for anything else.

    Example:
        >>> landmarks_of([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]])
        (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
    """
    if isinstance(value, list) and len(value) == _POINTS:
        pairs = [_numbers(point) for point in value]
        value = [x for pair in pairs for x in pair] if all(len(p) == 2 for p in pairs) else None
    numbers = _numbers(value)
    return numbers if len(numbers) == 2 * _POINTS else None


def _numbers(value: object) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)):
        return ()
    good = all(
        isinstance(x, (int, float)) and not isinstance(x, bool) and -_FAR < x < _FAR for x in value
    )  # infinities and what is no number fail too
    return tuple(map(float, value)) if good else ()
