"""WebDataset shards: tars whose neighbouring members with one key are a sample."""

from __future__ import annotations

import re
from collections import Counter
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import StringConstraints

from fusekit.errors import SourceError
from fusekit.readers.containers.container_reader import ContainerReader
from fusekit.readers.containers.files import as_source_error, checked_items
from fusekit.readers.containers.samples import (
    Sample,
    fault_of,
    image_parts,
    member_name,
    read_record,
    read_samples,
    read_text,
)
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.tables.fields import (
    IDENTITY_FIELDS,
    NAME_FIELD,
    SPLIT_FIELD,
    URL_FIELD,
    box_of,
    identity_text,
    landmarks_of,
    plain_text,
    split_name,
)
from fusekit.readers.trees.walk import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.formats.archive import Member
    from fusekit.readers.trees.walk import Entry

_SUFFIX: Final = ".tar"
_NUMBERED: Final = re.compile(r"(^|[^0-9])[0-9]{3,}\.tar$")
_OWN_FIELDS: Final = frozenset({"dataset_index", "identity_index", "source"})
_GLANCE: Final = 32  # samples of a shard


class WebdatasetOptions(Options):
    """What the members of a sample are.

    Attributes:
        shards: ``fusekit``: only shards that fusekit wrote; ``any``: all.
        image: Suffix of the image, such as ``jpg``; None: the one that names a picture.
        identity: Suffix of the member, or field of the JSON, that says who it is; None: the
            member ``cls``, else the first of the usual fields.
    """

    shards: Literal["any", "fusekit"] = "any"
    image: Annotated[str, StringConstraints(min_length=1, to_lower=True)] | None = None
    identity: Annotated[str, StringConstraints(min_length=1)] | None = None


class WebdatasetReader(ContainerReader[WebdatasetOptions]):
    """Reader of shards in a folder and below, or of one; an item is ``shard#key``.

    A key that comes again in its shard is read too, named by its place: writers that take the
    file's name alone as the key do that.
    """

    looks_for = "shards (*-000000.tar) of pictures with .json, .cls or .txt beside them"
    options = WebdatasetOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._names: dict[str, str] = {}

    @staticmethod
    def is_container(name: str) -> bool:
        """Tell a shard by its name."""
        return name.endswith(_SUFFIX)

    @classmethod
    def looks_right(cls, path: Path, options: WebdatasetOptions) -> bool:
        """Say whether a shard's first samples are whole and look like samples."""
        with path.open("rb", buffering=0) as file:
            return _looks_right(file, path.name, options)

    def items(self) -> Iterator[Item]:
        """List the samples; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._names.clear()
        self.numeric_identities = True
        listed = (i for shard in self._files.entries() for i in self._shard_items(shard))
        who = f"a member .cls, or a .json with {', '.join(IDENTITY_FIELDS[:4])}, …"
        yield from checked_items(listed, self._kind, self._files.raw, who, self.looks_for)

    def names(self) -> Mapping[str, str]:
        """Give the names that samples state; complete when :meth:`items` has ended."""
        return dict(self._names)

    def _shard_items(self, shard: Entry) -> Iterator[Item]:
        path = self._files.path(shard.source)
        seen: set[str] = set()
        with as_source_error(path), path.open("rb", buffering=0) as file:
            for sample in read_samples(file, str(path), self._ignored):
                images = image_parts(sample, self._options.image)
                fault = fault_of(sample, images)
                if fault is None:
                    name = self._unique(sample.key, sample.parts[0][1], seen)
                    yield self._item(f"{shard.source}#{name}", sample, images, file)
                    continue
                for member in images or [sample.parts[0][1]]:
                    name = self._unique(member_name(member) or sample.key, member, seen)
                    source = f"{shard.source}#{name}"
                    yield Item(source, 0, None, reject="unreadable", reject_detail=fault)

    def _unique(self, name: str, member: Member, seen: set[str]) -> str:
        if name in seen:
            self._ignored["keys that come again in their shard (named by their place)"] += 1
            name = f"{name}@{member.offset}"
        if name in seen:
            raise SourceError(self._files.raw, f"the key {name!r} is there twice", "each key once")
        seen.add(name)
        return name

    def _item(self, source: str, sample: Sample, images: list[Member], file: IO[bytes]) -> Item:
        record = self._record(sample, file)
        identity = None if self._kind == "unlabeled" else self._identity(sample, record, file)
        split, url = split_name(record.get(SPLIT_FIELD)), plain_text(record.get(URL_FIELD))
        if not images:
            others = ", ".join(f".{suffix}" for suffix, _ in sample.parts[:4])
            return Item(
                source, 0, identity, split, url=url, reject="missing",
                reject_detail=f"the sample has {others} but no image",
            )  # fmt: skip
        image = images[0]
        reject = self._reject(identity, image)
        # The box in a shard of fusekit's is in pixels of the picture that the crop is from.
        hints = {} if record.keys() >= _OWN_FIELDS and not self.form_spec.aligned else record
        return Item(
            source, 0 if reject else image.size, identity, split, image.offset,
            box_of(hints.get("bbox")), landmarks_of(hints.get("landmarks")), url=url,
            reject=reject[0] if reject else None, reject_detail=reject[1] if reject else None,
        )  # fmt: skip

    def _reject(self, identity: str | None, image: Member) -> tuple[str, str] | None:
        if identity is None and self._kind == "labeled":
            return "unlisted", "nothing in the sample says who it shows"
        if image.size > MAX_BYTES:
            return "too_large", f"{image.size} bytes, more than {MAX_BYTES}"
        return None

    def _record(self, sample: Sample, file: IO[bytes]) -> dict[str, Any]:
        member = sample.part("json")
        if member is None:
            return {}
        record = read_record(file, member)
        if record is None:
            self._ignored["members .json that can't be read"] += 1
        return record or {}

    def _identity(self, sample: Sample, record: dict[str, Any], file: IO[bytes]) -> str | None:
        wanted = self._options.identity
        member = sample.part("cls" if wanted is None else wanted.lower())
        if member is not None:
            text = plain_text(read_text(file, member))
            self.numeric_identities &= text is None or (text.isascii() and text.isdigit())
            return text
        names = IDENTITY_FIELDS if wanted is None else (wanted,)
        field = next((name for name in names if record.get(name) is not None), "")
        value = record.get(field)
        identity = identity_text(value)
        self.numeric_identities &= identity is None or (isinstance(value, int) and value >= 0)
        name = plain_text(record.get(NAME_FIELD))
        if identity is not None and name is not None and field != NAME_FIELD:
            self._names.setdefault(identity, name)
        return identity


def _looks_right(file: IO[bytes], name: str, options: WebdatasetOptions) -> bool:
    """Tell shards from tars of plain pictures, which have no labels and dots in their names."""
    described, pictures, own = 0, 0, 0
    for _, sample in zip(range(_GLANCE), read_samples(file, name, Counter()), strict=False):
        images = image_parts(sample, options.image)
        if fault_of(sample, images) is not None:
            return False
        pictures += bool(images)
        described += bool(images) and len(sample.parts) > 1
        record = sample.part("json")
        own += record is not None and (read_record(file, record) or {}).keys() >= _OWN_FIELDS
    if options.shards == "fusekit":
        return own > 0
    return described > 0 or (pictures > 0 and _NUMBERED.search(name) is not None)
