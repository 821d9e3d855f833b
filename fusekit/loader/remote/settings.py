"""How shards of an object store are read, and the cache that the settings ask for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from fusekit.errors import LoaderError
from fusekit.loader.remote.shard_cache import ShardCache
from fusekit.storage.cache import cache_root
from fusekit.storage.retry import Retry

if TYPE_CHECKING:
    from pathlib import Path

CACHE_BYTES: Final = 20_000_000_000
_LEAST_CACHE: Final = 65_536


Check: TypeAlias = Literal["size", "sha256"]


@dataclass(frozen=True)
class RemoteSettings:
    """How shards of an object store are read.

    Attributes:
        cache: Most bytes of the shards that are kept on this machine; 0 keeps none and reads
            every crop by a range request; None takes 20 GB, at most half of what is free.
        folder: Where they are kept; None takes ``FUSEKIT_CACHE``, else the user's cache.
        threads: Threads that fetch shards.
        horizon: Most steps that are looked ahead.
        at_once: What is needed within so many steps is never evicted.
        check: ``"size"`` trusts a shard of the right size that an earlier run fetched;
            ``"sha256"`` reads it once before it is used. What is fetched is always checked.
        retry: When to give up on an object.
    """

    cache: int | None = None
    folder: Path | None = None
    threads: int = 4
    horizon: int = 512
    at_once: int = 32
    check: Check = "size"
    retry: Retry = field(default_factory=Retry)


def open_cache(settings: RemoteSettings) -> ShardCache | None:
    """Open the folder of shards that some settings ask for; None where they ask for none.

    Raises:
        LoaderError: The folder can't be written, or its bound is under 64 KB.
    """
    if settings.cache == 0:
        return None
    folder = settings.folder or cache_root() / "shards"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        bound = settings.cache
        if bound is None:
            bound = min(CACHE_BYTES, _fair_share(folder))
        if bound < _LEAST_CACHE:
            raise LoaderError("cache.size", f"is {bound}", f"at least {_LEAST_CACHE}, or no cache")
        return ShardCache(folder, bound, settings.at_once)
    except OSError as error:
        raise LoaderError(
            folder, f"can't hold the shard cache: {error.strerror or error}", None,
            "give the cache another folder, or none",
        ) from None  # fmt: skip


def _fair_share(folder: Path) -> int:
    """Give half of what is free, counting what the cache holds already as free."""
    held = sum(path.stat().st_size for path in folder.glob("*.tar"))
    return (shutil.disk_usage(folder).free + held) // 2
