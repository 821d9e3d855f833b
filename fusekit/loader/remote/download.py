"""One shard from an object store into its place in the cache."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fusekit.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.loader.remote.shard_cache import Download
    from fusekit.storage.objects import ObjectStore


def download(
    objects: ObjectStore, name: str, place: Download, digest: str, size: int,
    count: Callable[[int], None],
) -> None:  # fmt: skip
    """Fetch a shard and keep it, if its digest is right.

    Args:
        objects: The store.
        name: The shard's, in the store.
        place: Where it goes; whoever made it drops it.
        digest: sha256 that it must have, in hexadecimal digits.
        size: Bytes that it must have.
        count: Told how many bytes came, after each try.

    Raises:
        LoaderError: Twice its bytes were others.
        StorageError: It can't be read.
        OSError: The disk is full, or can't be written.
    """
    for _ in range(2):  # once more: a proxy may have kept what stood there before
        found, done = hashlib.sha256(), 0
        for chunk in objects.stream(name):
            found.update(chunk)
            done += len(chunk)
            if done <= size:
                place.write(chunk)
        count(done)
        if found.hexdigest() == digest:
            place.keep()
            return
        place.again()
    raise LoaderError(
        objects.where(name), f"has the sha256 {found.hexdigest()[:12]}… and {done} bytes",
        f"{digest[:12]}… and {size} bytes, as the mixture was built with",
        "copy the shard there again, or build the mixture again",
    )  # fmt: skip
