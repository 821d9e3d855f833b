"""Check one shard against its manifest: digests, order, places, members, canonical form."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.fingerprint import canonical_json, digest16
from fusekit.formats.tar import TarWriter, read_members
from fusekit.report.problem import Problem
from fusekit.store import layout
from fusekit.store.commit import MEMBER_FIELDS, SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.formats.tar import Member
    from fusekit.storage.folder import Storage
    from fusekit.store.commit import UnitRecord

COLUMNS: Final = ("key", "format", "offset", "length", "content_digest", *MEMBER_FIELDS)


def check_shard(
    storage: Storage, dataset: str, record: UnitRecord, rows: list[dict[str, Any]]
) -> Iterator[Problem]:
    """Read a unit's shard once and check every byte of it.

    Args:
        storage: The store.
        dataset: The dataset's name.
        record: The unit's record.
        rows: The unit's manifest rows with :data:`COLUMNS`.

    Yields:
        Faults. A shard whose digest differs is still looked into, so that the sample is named.

    Raises:
        FormatError: It is no tar; nothing more can be said.
    """
    where = layout.shard(dataset, record.unit)
    if not storage.exists(where):
        if record.samples:
            yield Problem(where, f"is missing, with {record.samples:,} samples")
        return
    data = storage.read(where)
    if len(data) != record.shard_size:
        yield Problem(where, f"has {len(data):,} bytes; expected {record.shard_size:,}")
    found = hashlib.sha256(data).hexdigest()
    if found != record.shard_sha256:
        yield Problem(where, f"has sha256 {found[:16]}…; expected {record.shard_sha256[:16]}…")
    members = list(read_members(io.BytesIO(data), where))
    rows = [row for row in rows if row["length"]]  # erased samples have no members
    expected = [n for row in rows for n in (f"{row['key']}.{SUFFIXES[row['format']]}",
                                            f"{row['key']}.json")]  # fmt: skip
    names = [member.name for member in members]
    if names != expected:
        yield _first_other(where, names, expected)
        return
    view = memoryview(data)
    for row, image, about in zip(rows, members[::2], members[1::2], strict=True):
        yield from _check_sample(where, row, image, _bytes(view, image), _bytes(view, about))
    if len(rows) == record.samples and not _is_canonical(data, view, members):
        yield Problem(where, "is not in the canonical form of tar that fusekit writes")


def _first_other(where: str, names: list[str], expected: list[str]) -> Problem:
    at = next(
        (i for i, (a, b) in enumerate(zip(names, expected, strict=False)) if a != b),
        min(len(names), len(expected)),
    )
    found = repr(names[at]) if at < len(names) else "its end"
    wanted = repr(expected[at]) if at < len(expected) else "its end"
    return Problem(where, f"member {at} is {found}; expected {wanted}")


def _check_sample(
    where: str, row: dict[str, Any], member: Member, image: memoryview, about: memoryview
) -> Iterator[Problem]:
    place = f"{where}: {row['key']}"
    if (member.offset, member.length) != (row["offset"], row["length"]):
        yield Problem(
            place,
            f"stands at byte {member.offset} with {member.length} bytes; "
            f"the manifest says {row['offset']} and {row['length']}",
        )
    elif digest16(image) != row["content_digest"]:
        yield Problem(place, "the image's digest is not the manifest's")
    try:
        values = json.loads(bytes(about))
    except ValueError:
        yield Problem(place, "the .json member is damaged")
        return
    if not isinstance(values, dict) or bytes(about) != canonical_json(values):
        yield Problem(place, "the .json member is not in canonical form")
        return
    for name in sorted(values.keys() | set(MEMBER_FIELDS)):
        if name not in values or name not in MEMBER_FIELDS:
            yield Problem(
                place, f"the .json member {'lacks' if name not in values else 'has'} {name}"
            )
        elif not _same(values[name], row[name]):
            yield Problem(
                place, f"{name} is {values[name]!r} in its .json and {row[name]!r} in the manifest"
            )


def _same(written: Any, stored: Any) -> bool:  # noqa: ANN401 - any column's value
    """Compare a value of the JSON member with the manifest's, which holds floats in 32 bits."""
    if isinstance(stored, list) and isinstance(written, list):
        return len(written) == len(stored) and all(map(_same, written, stored))
    if isinstance(stored, float) and isinstance(written, int | float):
        return bool(np.float32(written) == np.float32(stored))
    return type(written) is type(stored) and bool(written == stored)


def _bytes(view: memoryview, member: Member) -> memoryview:
    return view[member.offset : member.offset + member.length]


def _is_canonical(data: bytes, view: memoryview, members: list[Member]) -> bool:
    again = io.BytesIO()
    tar = TarWriter(again)
    for member in members:
        tar.add(member.name, bytes(_bytes(view, member)))
    tar.finish()
    return again.getbuffer() == data
