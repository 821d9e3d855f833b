"""What a loader was asked for, checked: plain values that make the same pipeline anywhere."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import LoaderError
from fusekit.loader.cache import CacheSettings
from fusekit.loader.crops.augment import Augment
from fusekit.loader.order.order import check_world

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusekit.loader.crops.decode import Layout
    from fusekit.loader.crops.verify import Verify
    from fusekit.mixture.mixture import Mixture

_MOST_THREADS: Final = 8


@dataclass(frozen=True)
class LoaderSettings:
    """A loader's settings; :meth:`of` checks them.

    Attributes:
        batch_size: Samples of a batch on this rank.
        rank: This process's rank.
        world_size: How many ranks there are.
        seed: Of the order.
        threads: Threads that read and decode.
        prefetch: Batches made ahead.
        layout: Of the images.
        verify: Which crops are compared with their digests.
        augment: What is done to crops.
        cache: What is kept of shards and crops.
        weights: Of the labeled sources, as the loader was given them.
        sampler: Identities and images of a batch, likewise.
        epochs: Where an epoch ends, likewise.
        grouping: How datasets share a batch, likewise.
        block: Rows that stay together on disk while shuffling.
        window: Blocks that are shuffled together.
    """

    batch_size: int
    rank: int
    world_size: int
    seed: int
    threads: int
    prefetch: int
    layout: Layout
    verify: Verify
    augment: Augment
    cache: CacheSettings
    weights: Any
    sampler: Any
    epochs: Any
    grouping: Any
    block: int
    window: int

    @classmethod
    def of(
        cls,
        mixture: Mixture,
        *,
        batch_size: int | None,
        seed: int | None,
        threads: int | None,
        augment: object,
        cache: CacheSettings | Mapping[str, Any] | str | None,
        **more: Any,  # noqa: ANN401 - the other attributes, checked here or by the order
    ) -> LoaderSettings:
        """Check what a loader is given; None takes the recipe's batch size and seed.

        Raises:
            LoaderError: A setting cannot be.
        """
        checked = dict(more)
        threads = min(_MOST_THREADS, _processors()) if threads is None else threads
        batch_size = mixture.batch_size if batch_size is None else batch_size
        checked["batch_size"] = batch_size = _integer("batch_size", batch_size, 1)
        checked["threads"] = _integer("threads", threads, 1)
        checked["prefetch"] = _integer("prefetch", more["prefetch"], 1)
        for name in ("rank", "world_size", "block", "window"):
            checked[name] = _integer(name, more[name])
        seed = _integer("seed", mixture.seed if seed is None else seed)
        if not 0 <= seed < 1 << 64:
            raise LoaderError("seed", f"is {seed}", "0 or more, under 2^64")
        check_choice("layout", more["layout"], ("chw", "hwc"))
        check_choice("verify", more["verify"], ("none", "sample", "shard"))
        if hasattr(more["weights"], "tolist"):  # an array
            checked["weights"] = tuple(more["weights"].tolist())
        check_world(batch_size * checked["world_size"], checked["rank"], checked["world_size"])
        return cls(seed=seed, augment=Augment.of(augment), cache=CacheSettings.of(cache), **checked)

    @property
    def for_order(self) -> dict[str, Any]:
        """What :func:`fusekit.loader.order.make.make_order` is called with."""
        names = (
            "batch_size", "world_size", "seed", "weights", "sampler", "epochs", "grouping",
            "block", "window",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def _integer(name: str, value: object, least: int | None = None) -> int:
    """Give an integer of any kind, numpy's too, as Python's: states are JSON."""
    try:
        number: int | None = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise LoaderError(name, f"is {value!r}", "an integer")
    if least is not None and number < least:
        raise LoaderError(name, f"is {number}", f"at least {least}")
    return number


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a setting is one of a few words.

    Raises:
        LoaderError: It is not.
    """
    if value not in choices:
        *most, last = [repr(choice) for choice in choices]
        raise LoaderError(name, f"is {value!r}", f"{', '.join(most)} or {last}")


def check_share(name: str, value: object) -> float:
    """Check that a setting is a share.

    Raises:
        LoaderError: It is not from 0 to 1.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        raise LoaderError(name, f"is {value!r}", "a share from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
