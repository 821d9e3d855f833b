"""A mixture in an object store: its tables are fetched once and kept by digest."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import MixtureError, StorageError
from fusekit.fingerprint import file_sha256
from fusekit.storage.cache import cache_root
from fusekit.storage.folder import Storage, writing_folder
from fusekit.storage.objects import ObjectStore
from fusekit.storage.url import split_url
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# What opening and loading read; the tables of rows are larger, and only SQL and exports read them.
FETCHED: Final = (
    "index.arrow",
    "shards.parquet",
    "keys.arrow",
    "by_class.arrow",
    "classes.parquet",
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FIX: Final = "copy the store there again, or build the mixture again"


def fetch_mixture(url: str, *, digests: bool = False) -> tuple[str, Path]:
    """Fetch what a mixture's loading needs, unless it is here already.

    The files are kept under the digest of ``mixture.json``, which is always fetched: a mixture that
    was built anew is fetched anew, one that was not costs one small request. Several processes may
    open it at once; one fetches.

    Args:
        url: ``STORE/mixtures/NAME``.
        digests: Check the digests of what is here already, not only the sizes.

    Returns:
        The store's URL, and a folder laid out as the store, with the mixture and its tables in it.

    Raises:
        MixtureError: The URL leads to no mixture, or a file's digest is not the mixture's.
        StorageError: Something can't be read, or the cache can't be written.
        MissingExtraError: The extra for object stores is missing.
    """
    place = split_url(url)
    head, _, name = place.path.rpartition("/")
    store, _, folder = head.rpartition("/")
    if folder != "mixtures" or not name:
        raise MixtureError(place.url, "is no mixture's URL", "STORE/mixtures/NAME")
    objects = ObjectStore.open(place._replace(path=store).url)
    data = _record(objects, place.url, name)
    files = _files(place.url, data)
    home = cache_root() / "mixtures" / hashlib.sha256(data).hexdigest()[:32]
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _waiting_lock(home.with_name(f".{home.name}.lock")):
            if not _is_whole(home / layout.mixture(name), files, digests=digests):
                shutil.rmtree(home, ignore_errors=True)
                with writing_folder(home) as filling:
                    for file, about in files.items():
                        _fetch(objects, filling, f"{layout.mixture(name)}/{file}", about)
                    filling.write("store.json", objects.get("store.json"))
                    filling.write(f"{layout.mixture(name)}/mixture.json", data)
    except OSError as error:
        raise StorageError(
            home.parent, f"can't keep the mixture's tables: {error.strerror or error}", None,
            "free some space, or set FUSEKIT_CACHE to another folder",
        ) from error  # fmt: skip
    return objects.url, home


def _record(objects: ObjectStore, url: str, name: str) -> bytes:
    try:
        return objects.get(f"{layout.mixture(name)}/mixture.json")
    except StorageError as error:
        if "(404)" not in error.found:
            raise
        raise MixtureError(
            url, "holds no finished mixture", None,
            "build it with fusekit build-mixture, then copy the store there",
        ) from None  # fmt: skip


def _files(url: str, data: bytes) -> dict[str, Mapping[str, Any]]:
    try:
        files = json.loads(data)["files"]
        found = {name: files[name] for name in FETCHED}
        sound = all(_SHA256.fullmatch(f["sha256"]) and f["size"] >= 0 for f in found.values())
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise MixtureError(url, "mixture.json is damaged", None, _FIX)
    return found


def _is_whole(folder: Path, files: Mapping[str, Mapping[str, Any]], *, digests: bool) -> bool:
    for name, about in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != about["size"]:
            return False
        if digests and file_sha256(path) != about["sha256"]:
            return False
    return True


def _fetch(objects: ObjectStore, filling: Storage, name: str, about: Mapping[str, Any]) -> None:
    for _ in range(2):  # once more: a proxy may have kept what stood there before
        digest = hashlib.sha256()
        with filling.writing(name) as file:
            for chunk in objects.stream(name):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() == about["sha256"]:
            return
    raise MixtureError(
        objects.where(name), "has another sha256 than the mixture was built with", None, _FIX
    )


@contextmanager
def _waiting_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
