"""From a loader's settings to what makes its batches, in this process."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fusekit.loader.crops.decoded import DecodedCache
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.crops.memory import BatchMemory
from fusekit.loader.crops.reader import CropReader, ReaderSettings
from fusekit.loader.order.planner import Planner
from fusekit.loader.pipeline import Pipeline
from fusekit.loader.remote.settings import RemoteSettings
from fusekit.loader.remote.shards import RemoteShards

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.loader.cache import CacheSettings
    from fusekit.loader.crops.files import ShardSource
    from fusekit.loader.crops.memory import Memory
    from fusekit.loader.crops.reader import Draft
    from fusekit.loader.crops.verify import Verify
    from fusekit.loader.order.order import Order
    from fusekit.loader.order.shuffle import Rows
    from fusekit.loader.remote.settings import Check
    from fusekit.loader.settings import LoaderSettings
    from fusekit.mixture.mixture import Mixture

    Made = TypeVar("Made", covariant=True)


def open_pipeline(
    mixture: Mixture,
    order: Order,
    settings: LoaderSettings,
    finish: Callable[[int, Draft], Made],
    memory: Memory | None = None,
) -> Pipeline[Made]:
    """Open a mixture's shards and the threads that read them.

    Args:
        mixture: The mixture.
        order: Of its rows.
        settings: The loader's.
        finish: Makes of a step and its filled draft what is handed out; called in the threads.
        memory: Where batches go; None: memory of this process.

    Raises:
        LoaderError: The cache can't be.
        StorageError: The store's endpoint or the credentials' profile can't be used.
        MissingExtraError: The mixture is in an object store and the extra for it is missing.
    """
    # Not a method of the loader: a cycle of references would keep a dropped loader's threads.
    plan = Planner(order, settings.rank, settings.world_size)
    cache = DecodedCache.open(mixture, settings.cache) if settings.cache.decoded else None
    source = _source(mixture, order, settings)
    reader = CropReader(
        mixture, order, source,
        memory or BatchMemory(batch_shape(mixture, settings), settings.prefetch + 2),
        ReaderSettings(settings.layout, _verify(mixture, settings), settings.augment),
        cache,
    )  # fmt: skip
    pipeline = Pipeline(
        plan, reader, finish, batch_size=settings.batch_size, threads=settings.threads,
        prefetch=settings.prefetch,
    )  # fmt: skip
    if isinstance(source, RemoteShards):
        # Its threads hold it while they fetch ahead: they would fetch on for a dropped loader.
        weakref.finalize(pipeline, source.give_up)
    return pipeline


def _verify(mixture: Mixture, settings: LoaderSettings) -> Verify:
    # Shards of an object store are compared whole as they arrive; ranges of them can't be.
    return "sample" if mixture.url is not None and settings.verify == "shard" else settings.verify


def batch_shape(mixture: Mixture, settings: LoaderSettings) -> tuple[int, int, int, int]:
    """Give the shape of a batch's images."""
    width, height = mixture.crop_size
    if settings.layout == "chw":
        return settings.batch_size, 3, height, width
    return settings.batch_size, height, width, 3


def _source(mixture: Mixture, order: Order, settings: LoaderSettings) -> ShardSource:
    plan = Planner(order, settings.rank, settings.world_size)  # of its own: it looks far ahead
    check: Check = "size" if settings.verify == "none" else "sha256"
    return open_source(mixture, lambda step: plan(step).rows, settings.cache, check)


def open_source(
    mixture: Mixture, rows: Callable[[int], Rows], cache: CacheSettings, check: Check = "size"
) -> ShardSource:
    """Open a mixture's shards, wherever they are.

    Args:
        mixture: The mixture.
        rows: Gives the rows that will be read at a step; a pure function.
        cache: Whether and where shards of an object store are kept.
        check: How far shards that an earlier run kept are trusted.

    Raises:
        LoaderError: The cache can't be.
        StorageError: The store's endpoint or the credentials' profile can't be used.
        MissingExtraError: The mixture is in an object store and the extra for it is missing.
    """
    if mixture.url is None:
        return ShardFiles(mixture.shard_paths)
    shard = mixture.index.shard
    return RemoteShards(
        mixture,
        lambda step: shard[rows(step)].astype(np.int64),
        RemoteSettings(
            cache=cache.size if cache.shards else 0,
            folder=None if cache.folder is None else cache.folder / "shards",
            check=check,
        ),
    )  # fmt: skip
