"""Where everything stands in a store, as names relative to its root, and the store's version."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from typing import Final

from fusekit.errors import StoreError, UsageError
from fusekit.fingerprint import canonical_json
from fusekit.storage.folder import Storage, open_storage

FORMAT_VERSION: Final = 2
DEFAULT_STORE: Final = "fusekit-store"
STORE_VARIABLE: Final = "FUSEKIT_STORE"
FIRST_FREE_INDEX: Final = 1000

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_KEY_BYTES = 10  # 80 bits, 16 letters of base32


def open_store(store: str | os.PathLike[str] | None, *, create: bool = False) -> Storage:
    """Open a store and check that this release can read it.

    Args:
        store: Its path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        create: Make it when it is not there.

    Raises:
        StoreError: It is not there, is of a newer format, or the folder holds something else.
    """
    where = store_place(store)
    storage = open_storage(where)
    if not storage.exists("store.json"):
        if not create:
            raise StoreError(
                where, "is no fusekit store", None, "fusekit ingest DATASET --from RAW makes one"
            )
        # Another process may make the store right now: look for its mark after its files.
        if storage.names(".") and not storage.exists("store.json"):
            raise StoreError(where, "is a folder of something else", "an empty or new folder")
        storage.create("store.json", canonical_json({"format_version": FORMAT_VERSION}) + b"\n")
    try:
        version = json.loads(storage.read("store.json"))["format_version"]
    except (ValueError, KeyError, TypeError):
        expected = f'{{"format_version": {FORMAT_VERSION}}}'
        raise StoreError(where, "store.json is damaged", expected) from None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            where, f"has store format {version}", f"at most {FORMAT_VERSION}", "update fusekit"
        )
    if version < FORMAT_VERSION:
        raise StoreError(
            where, f"has store format {version}", f"{FORMAT_VERSION}",
            "it was made by an older fusekit; ingest into a new store",
        )  # fmt: skip
    return storage


def store_place(store: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """Give back where a store is; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``."""
    return store if store is not None else os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def check_name(name: str, what: str) -> str:
    """Give back a dataset's or mixture's name if it is one.

    Raises:
        UsageError: It holds anything but a-z, 0-9 and '-', or has no or over 64 characters.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(name, f"can't name a {what}", "1 to 64 of a-z, 0-9 and '-'")
    return name


def sample_key(source: str, face: int) -> str:
    """Give a sample's key: base32 of 80 bits of its source's sha256, and the face's number.

    Args:
        source: The item's source text.
        face: Number of the face in the item, left to right, ``0 <= face < 100``.

    Example:
        >>> sample_key("n000001/0001_01.jpg", 0)
        'px33ogulluhb2jmz_00'
    """
    digest = hashlib.sha256(source.encode()).digest()[:_KEY_BYTES]
    return f"{base64.b32encode(digest).decode().lower()}_{face:02d}"


def dataset(name: str) -> str:
    """Name a dataset's folder."""
    return f"datasets/{name}"


def plan_json(name: str) -> str:
    """Name the file that fixes a dataset's plan."""
    return f"datasets/{name}/plan/plan.json"


def plan_part(name: str, unit: int) -> str:
    """Name the table of a unit's items."""
    return f"datasets/{name}/plan/part-{unit:06d}.parquet"


def identities(name: str) -> str:
    """Name the table of a dataset's identities."""
    return f"datasets/{name}/plan/identities.parquet"


def shard_file(name: str, unit: int) -> str:
    """Name a unit's shard, without its folder, as manifests spell it."""
    return f"{name}-{unit:06d}.tar"


def shard(name: str, unit: int) -> str:
    """Name a unit's shard in the store."""
    return f"datasets/{name}/shards/{shard_file(name, unit)}"


def manifest_part(name: str, unit: int) -> str:
    """Name a unit's manifest, which is its commit record."""
    return f"datasets/{name}/manifest/part-{unit:06d}.parquet"


def rejects_part(name: str, unit: int) -> str:
    """Name the table of a unit's rejects."""
    return f"datasets/{name}/rejects/part-{unit:06d}.parquet"


def samples(name: str, number: int) -> str:
    """Name one compacted manifest."""
    return f"datasets/{name}/samples-{number:06d}.parquet"


def rejects(name: str, number: int) -> str:
    """Name one compacted table of rejects."""
    return f"datasets/{name}/rejects-{number:06d}.parquet"


def protocol_plan(name: str, table: str) -> str:
    """Name a table of an evaluation set's protocol as its release has it."""
    return f"datasets/{name}/plan/{table}.parquet"


def protocol(name: str, table: str) -> str:
    """Name the same table with the keys of its samples: ``pairs`` or ``templates``."""
    return f"datasets/{name}/{table}.parquet"


def dataset_json(name: str) -> str:
    """Name the file whose presence means that a dataset is finished."""
    return f"datasets/{name}/dataset.json"


def sums(folder: str) -> str:
    """Name the file with the digests of a folder's files."""
    return f"{folder}/SHA256SUMS"


def embeddings(name: str, model: str, unit: int) -> str:
    """Name the embeddings of a unit; ``model`` is ``<model>-<sha8>``."""
    return f"datasets/{name}/embeddings/{model}/part-{unit:06d}.parquet"


def finding(kind: str, fingerprint: str) -> str:
    """Name a finding's folder."""
    return f"findings/{kind}/{fingerprint}"


def mixture(name: str) -> str:
    """Name a mixture's folder."""
    return f"mixtures/{name}"


def tombstone(fingerprint: str) -> str:
    """Name a table of erased items, which hold no text of theirs."""
    return f"tombstones/{fingerprint}.parquet"


def index_claim(index: int) -> str:
    """Name the object that claims a dataset index."""
    return f"indexes/{index:06d}.json"
