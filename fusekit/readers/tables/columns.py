"""Find the columns of a table that hold a picture and what is said of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types as pt
from pydantic import StringConstraints

from fusekit.errors import SourceError
from fusekit.readers.options import Options
from fusekit.readers.tables.fields import (
    IDENTITY_FIELDS,
    IMAGE_FIELDS,
    NAME_FIELD,
    SPLIT_FIELD,
    URL_FIELD,
    first_field,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Schema: TypeAlias = "pa.Schema"
DataType: TypeAlias = "pa.DataType"
ColumnName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255)]

_PATHS: Final = ("path", "file", "image", "filename", "file_name", "image_path", "img_path")
_SEVERAL_DATASETS: Final = frozenset({"dataset", "label", "identity"})  # as fusekit exports them
_MAX_ABOUT: Final = 1 << 26  # bytes of JSON about the columns; class names of millions of people


class ColumnOptions(Options):
    """Which column is what; None: found by its name.

    Attributes:
        image: The picture: bytes, bytes and path, or a path.
        identity: The person.
    """

    image: ColumnName | None = None
    identity: ColumnName | None = None


@dataclass(frozen=True)
class Columns:
    """The columns that are read, by what they are; None: there is none.

    Attributes:
        image: The picture.
        identity: The person.
        classes: Names of the numbers in ``identity``; None: they stand for themselves.
        same: Whether the rows of a pair show one person.
        status: How fetching the picture went.
    """

    image: str
    identity: str | None
    classes: tuple[str, ...] | None
    name: str | None
    split: str | None
    url: str | None
    bbox: str | None
    landmarks: str | None
    same: str | None
    status: str | None
    error: str | None

    def names(self) -> list[str]:
        """Give the names of all, each once."""
        found = (
            self.image, self.identity, self.name, self.split, self.url, self.bbox,
            self.landmarks, self.same, self.status, self.error,
        )  # fmt: skip
        return list(dict.fromkeys(name for name in found if name is not None))


def find_columns(schema: Schema, options: ColumnOptions, where: object) -> Columns:
    """Find the columns of a table by their names and types.

    Raises:
        SourceError: There is no picture, or no column that an option names.
    """
    about = _features(schema)
    # A name that is there twice can't be read by its name.
    fields = [f for f in schema if schema.get_field_index(f.name) >= 0]
    known = [f.name for f in fields]
    for wanted in (options.image, options.identity):
        if wanted is not None and wanted not in known:
            raise SourceError(where, f"has no column {wanted!r}", ", ".join(map(repr, known[:20])))
    image = options.image or _image_column(fields, about)
    if image is None:
        raise SourceError(
            where, f"no column holds pictures, of {', '.join(map(repr, known[:20]))}",
            "bytes, or bytes and a path, as Hugging Face has them",
            "the reader's option 'image' names the column",
        )  # fmt: skip
    others = [name for name in known if name != image]
    identity = options.identity or _identity_column(others)

    def other(*names: str) -> str | None:
        found = first_field(others, names)
        return found if found != identity else None

    return Columns(
        image=image, identity=identity, classes=_classes(about.get(identity or "")),
        name=other(NAME_FIELD), split=other(SPLIT_FIELD), url=other(URL_FIELD),
        bbox=other("bbox"), landmarks=other("landmarks"), same=other("is_same"),
        status=other("status"), error=other("error_message"),
    )  # fmt: skip


def is_bytes(kind: DataType) -> bool:
    """Say whether a column's type is bytes of any length."""
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def is_text(kind: DataType) -> bool:
    """Say whether a column's type is text."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def struct_fields(kind: DataType) -> dict[str, DataType]:
    """Give the fields of a struct; none where the type is another."""
    if not pt.is_struct(kind):
        return {}
    return {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}


def _image_column(fields: Iterable[pa.Field], about: dict[str, Any]) -> str | None:
    binary = [field.name for field in fields if _holds_bytes(field.type)]
    marked = [n for n in binary if isinstance(about.get(n), dict) and about[n]["_type"] == "Image"]
    paths = [field.name for field in fields if is_text(field.type)]
    return (
        (marked[0] if marked else None)
        or first_field(binary, IMAGE_FIELDS)
        or (binary[0] if len(binary) == 1 else None)
        or first_field(paths, _PATHS)
    )


def _identity_column(names: list[str]) -> str | None:
    if {name.lower() for name in names} >= _SEVERAL_DATASETS:
        # One dataset may spell a person as another spells somebody else; labels are apart.
        return first_field(names, ("label",))
    return first_field(names, IDENTITY_FIELDS)


def _holds_bytes(kind: DataType) -> bool:
    inner = struct_fields(kind).get("bytes")
    return is_bytes(kind) or (inner is not None and is_bytes(inner))


def _features(schema: Schema) -> dict[str, Any]:
    """Read what Hugging Face says of the columns; empty where nothing is said."""
    data = (schema.metadata or {}).get(b"huggingface", b"")
    try:
        features = json.loads(data)["info"]["features"] if len(data) <= _MAX_ABOUT else {}
        return {n: f for n, f in features.items() if isinstance(f, dict) and "_type" in f}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _classes(feature: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - a value of someone's JSON
    names = feature.get("names") if isinstance(feature, dict) else None
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if good and names else None
