"""Embeddings that a comparison needs: of all its datasets by one model, made where missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.curate.embed import DEFAULT_EMBEDDER, embed_with, embedding_model
from fusekit.errors import ModelError, StoreError
from fusekit.models.registry import ResolvedModel, resolve_model
from fusekit.store.commit import read_record
from fusekit.store.embeddings import (
    EmbeddingModel,
    EmbeddingSet,
    embedding_models,
    standing_part,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.progress import Report
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.heads import Head


def open_embeddings(
    storage: Storage,
    datasets: Sequence[DatasetInfo],
    wanted: str | None,
    head: Head | None,
    report: Report,
) -> list[EmbeddingSet]:
    """Open the embeddings of several datasets by one model, and make those that are missing.

    Without ``wanted`` the model is the head's, or the one whose embeddings stand (for all of the
    datasets, when there are several), or the default.

    Args:
        storage: The store.
        datasets: Whose embeddings.
        wanted: A model's registry name, pack or path, or the name of one whose embeddings stand
            for all of the datasets; None chooses as said above.
        head: A head whose embedder it must be; None for none.
        report: Told of progress.

    Raises:
        StoreError: Several models' embeddings stand, and none was chosen.
        ModelError: The model is not here and can't be had, or is not the head's.
        WorkError: Crops could not be embedded.
    """
    resolved: ResolvedModel | None = None
    model: EmbeddingModel | None = None
    if wanted is None:
        model = _standing_model(storage, datasets, head)
    else:
        model = _standing_by_name(storage, datasets, wanted)
    if model is None:
        resolved = resolve_model(wanted or DEFAULT_EMBEDDER, "embed", report)
        model = embedding_model(resolved)
    if head is not None:
        head.check_model(model)
    for info in datasets:
        if not _whole(storage, info, model):
            resolved = resolved or _resolve_again(model, info.name, report)
            embed_with(storage, info, resolved, None, report)
    return [EmbeddingSet.open(storage, info, model) for info in datasets]


def _standing_model(
    storage: Storage, datasets: Sequence[DatasetInfo], head: Head | None
) -> EmbeddingModel | None:
    standing = {info.name: embedding_models(storage, info.name) for info in datasets}
    models = {m.folder: m for found in standing.values() for m in found}
    if head is not None and head.embedder is not None:
        models = {f: m for f, m in models.items() if m.sha256 == head.embedder}
    if len(models) > 1:
        whole = {
            f: m
            for f, m in models.items()
            if all(m in found for found in standing.values())
            and all(_whole(storage, info, m) for info in datasets)
        }
        if len(whole) != 1:
            raise StoreError(
                datasets[0].name, f"embeddings of {len(models)} models stand: {', '.join(models)}",
                "one", "choose with --model",
            )  # fmt: skip
        models = whole
    return next(iter(models.values()), None)


def _standing_by_name(
    storage: Storage, datasets: Sequence[DatasetInfo], wanted: str
) -> EmbeddingModel | None:
    """Find embeddings by the name that `fusekit embed` printed, or by their folder's."""
    first, *others = [embedding_models(storage, info.name) for info in datasets]
    named = [
        model
        for model in first
        if wanted in (model.name, model.folder) and all(model in found for found in others)
    ]
    # Two files of one name: only the folder's name, which has the digest, tells them apart.
    return named[0] if len(named) == 1 else None


def _whole(storage: Storage, info: DatasetInfo, model: EmbeddingModel) -> bool:
    for unit in range(info.units):
        record = read_record(storage, info.name, unit)
        if record is None or standing_part(storage, info.name, record, model) is None:
            return False
    return True


def _resolve_again(model: EmbeddingModel, dataset: str, report: Report) -> ResolvedModel:
    """Find the model by the name that embeddings give it; a file's name is not enough for that."""
    lacking = StoreError(
        dataset, f"lacks embeddings by {model.name} {model.sha256[:8]}, which others have", None,
        "give that model with --model",
    )  # fmt: skip
    try:
        resolved = resolve_model(model.name, "embed", report)
    except ModelError:
        raise lacking from None
    if embedding_model(resolved) != model:
        raise lacking
    return resolved
