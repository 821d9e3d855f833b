"""The order of a mixture: what its recipe says, but where a loader is told otherwise."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from fusekit.cards.checking import checked, nearest
from fusekit.errors import LoaderError
from fusekit.loader.order.identities import ClassRows, Drawing
from fusekit.loader.order.order import BLOCK, WINDOW, Order, OrderSettings
from fusekit.loader.order.weights import weights_by
from fusekit.mixture.drawing import (
    GROUPINGS,
    Grouping,
    SamplerSettings,
    check_identities,
    check_named,
    parse_by,
    parse_epochs,
)
from fusekit.schema import CLASSES_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.mixture.mixture import Mixture, Source

POOLED: Final = "pooled"
SINGLE: Final = "none"


def make_order(
    mixture: Mixture,
    *,
    batch_size: int,
    world_size: int,
    seed: int | None = None,
    weights: object = None,
    sampler: object = None,
    epochs: object = None,
    grouping: str | None = None,
    block: int = BLOCK,
    window: int = WINDOW,
) -> Order:
    """Make the order of a mixture.

    What is None is taken from the mixture's recipe. Of weights, a sampler and one dataset a
    batch, of which only one can be, what is given here goes before what the recipe says.

    Args:
        mixture: An opened mixture.
        batch_size: Samples of a device batch.
        world_size: How many ranks there are.
        seed: Of the order.
        weights: The labeled datasets' shares: one positive integer each, what a recipe's
            ``by`` may be, or ``"pooled"`` for one pooled stream.
        sampler: ``{"identities": P, "images": K}`` of a device batch, optionally with
            ``datasets`` and ``min_images``, or :class:`SamplerSettings`; ``"none"`` for single
            rows.
        epochs: ``"cycle"``, ``"stop_first"`` or ``{"steps": N}``.
        grouping: ``"mixed"``, ``"sub_batches"`` or ``"one_dataset"``.
        block: Rows that stay together on disk.
        window: Blocks that are shuffled together.

    Raises:
        LoaderError: A setting cannot be, or does not fit the mixture or another one.
    """
    weights = weights.tolist() if isinstance(weights, np.ndarray) else weights
    grouped = _grouping(mixture.recipe.batch.grouping if grouping is None else grouping)
    sampled = _sampler(sampler)
    if sampler is None and weights is None and grouping != "one_dataset":
        sampled = mixture.recipe.sampler
    elif sampled is not None:
        _check_alone(weights, grouping)
        grouped = "mixed" if grouped == "one_dataset" else grouped
    labeled = [source for source in mixture.sources if source.kind == "labeled"]
    unlabeled = [source.rows for source in mixture.sources if source.kind == "unlabeled"]
    share = mixture.unlabeled_fraction if unlabeled else Fraction(0)
    settings = OrderSettings(
        seed=mixture.seed if seed is None else seed,
        global_batch=batch_size * world_size,
        unlabeled_fraction=share,
        weights=_weights(mixture, weights, labeled) if sampled is None else None,
        block=block,
        window=window,
        grouping=grouped,
    )
    if sampled is not None:
        drawing = _drawing(sampled, labeled, batch_size, world_size, share)
        settings = replace(settings, sampler=drawing)
    return Order(
        [source.rows for source in labeled],
        unlabeled,
        settings,
        None if sampled is None else class_rows(mixture),
        _said("epochs", parse_epochs, mixture.recipe.epochs if epochs is None else epochs),
    )


def class_rows(mixture: Mixture) -> ClassRows:
    """Find which rows each class of a mixture has, without one Python object a class.

    Raises:
        StorageError: A table of the mixture is damaged.
    """
    table = read_table(
        mixture.store,
        f"{layout.mixture(mixture.name)}/classes.parquet",
        CLASSES_SCHEMA,
        ["images", "first_row"],
    )
    return ClassRows(
        table["images"].to_numpy(), table["first_row"].to_numpy(), mixture.by_class,
        _labels_of(mixture),
    )  # fmt: skip


def _labels_of(mixture: Mixture) -> list[npt.NDArray[np.int64]]:
    labeled = [source.index for source in mixture.sources if source.kind == "labeled"]
    return [mixture.dataset_classes(source) for source in labeled]


def _grouping(given: str) -> Grouping:
    if given not in GROUPINGS:
        near = nearest(given, GROUPINGS) if isinstance(given, str) else None
        raise LoaderError(
            "grouping", f"is {given!r}", "'mixed', 'sub_batches' or 'one_dataset'",
            f"did you mean {near!r}?" if near else None,
        )  # fmt: skip
    return given


def _check_alone(weights: object, grouping: str | None) -> None:
    if weights is not None and weights != POOLED:
        raise LoaderError("sampler", "draws identities whatever their dataset", "no weights")
    if grouping == "one_dataset":
        raise LoaderError(
            "sampler", "does not go with one dataset a batch", None,
            "sampler.datasets can be one dataset",
        )  # fmt: skip


def _sampler(sampler: object) -> SamplerSettings | None:
    if sampler is None or sampler == SINGLE:
        return None
    if isinstance(sampler, SamplerSettings):
        return sampler
    if not isinstance(sampler, Mapping):
        raise LoaderError("sampler", f"is {sampler!r}", "{'identities': P, 'images': K} or 'none'")
    plain = {str(key): _plain(value) for key, value in sampler.items()}
    return checked(SamplerSettings, plain, "sampler", LoaderError)


def _weights(
    mixture: Mixture, weights: object, labeled: Sequence[Source]
) -> tuple[int, ...] | None:
    by = mixture.recipe.batch.by if weights is None else weights
    if by is None or by == POOLED:
        return None
    if isinstance(by, Sequence) and not isinstance(by, str):
        return tuple(_integer(weight) for weight in by)
    names, images = [s.name for s in labeled], [s.rows for s in labeled]
    identities = [0] * len(labeled)
    if by == "identities":
        identities = [len(labels) for labels in _labels_of(mixture)]
    return cast(
        "tuple[int, ...]",
        _said("weights", lambda: weights_by(parse_by(by), names, images, identities)),
    )


def _drawing(
    sampler: SamplerSettings,
    labeled: Sequence[Source],
    batch_size: int,
    world_size: int,
    share: Fraction,
) -> Drawing:
    _said("sampler", check_identities, sampler, batch_size, share)
    names = [source.name for source in labeled]
    sources = None
    if sampler.datasets is not None:
        _said("sampler.datasets", check_named, sampler.datasets, names)
        sources = tuple(sorted(names.index(name) for name in sampler.datasets))
    return Drawing(
        sampler.identities * world_size, sampler.images, sources, sampler.min_images or 1
    )


def _said(where: str, function: Any, *args: object) -> Any:  # noqa: ANN401 - what it gives
    """Call what raises ValueError and name the setting that it is about."""
    try:
        return function(*args)
    except ValueError as error:
        raise LoaderError(where, str(error)) from None


def _integer(weight: Any) -> int:  # noqa: ANN401 - checked here
    try:
        number = operator.index(weight)
    except TypeError:
        number = None
    if number is None or isinstance(weight, bool):
        raise LoaderError("a weight", f"is {weight!r}", "an integer")
    return number


def _plain(value: Any) -> Any:  # noqa: ANN401 - checked where it is used
    """Give numpy's integers as Python's, as JSON has them."""
    return value if isinstance(value, bool) or not hasattr(value, "__index__") else int(value)
