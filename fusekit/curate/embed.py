"""Embed a dataset: every stored crop through one model, unit by unit."""

from __future__ import annotations

import io
import time
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.cards.card import CROP_SIZES
from fusekit.engines.local import default_workers, run_units, tick
from fusekit.errors import ItemError, ModelError, StoreError
from fusekit.faces.embed import Embedder, open_embedder
from fusekit.faces.image import RgbImage, decode_image
from fusekit.faces.rewarp import Rewarp
from fusekit.fingerprint import digest16
from fusekit.models.registry import ResolvedModel, resolve_model
from fusekit.progress import Progress, Report, silent
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, read_record
from fusekit.store.datasets import DatasetInfo, open_dataset, records
from fusekit.store.embeddings import (
    EmbeddingModel,
    Vectors,
    finish_embeddings,
    standing_part,
    write_part,
)
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage

DEFAULT_EMBEDDER: Final = "dlib-resnet-v1"

# A model's last bits may follow the size of a batch, so batches are cut alike in every run.
_BATCH: Final = 64
_STORED: Final = ("key", "identity", "identity_index", "dataset_index")
_PLACE: Final = ("offset", "length", "format", "content_digest")


@dataclass(frozen=True)
class EmbedResult:
    """What embedding a dataset gave.

    Attributes:
        dataset: Its name in the store.
        model: The model's name.
        samples: Embeddings that stand now, one for each sample.
        dim: Numbers in an embedding.
        seconds: Of this run.
        units: Work units.
        resumed: How many of them stood already.
    """

    dataset: str
    model: str
    samples: int
    dim: int
    seconds: float
    units: int = 0
    resumed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit embed --json`` prints."""
        about = asdict(self) | {"seconds": round(self.seconds, 3)}
        return {k: about[k] for k in ("dataset", "model", "samples", "dim", "seconds")}


def embed_dataset(
    dataset: str,
    *,
    model: str = DEFAULT_EMBEDDER,
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    report: Report = silent,
) -> EmbedResult:
    """Embed every crop of a dataset, or go on with a run that was stopped.

    Crops are given to the model by its own input contract; those of another template than ArcFace's
    are brought to it first. The same crops and model give the
    same bytes with any number of workers (on one kind of processor and one set of versions), and
    units that stand already are not made again.

    Args:
        dataset: Its name in the store.
        model: Registry name, ``insightface/PACK`` or path of an ONNX file.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        workers: Processes; None takes one per processor, 0 works in this process.
        report: Told of progress.

    Returns:
        The counts; ``samples`` is the dataset's.

    Raises:
        StoreError: The dataset is not ingested, or another run embeds it.
        ModelError: The model is not here and can't be had.
        WorkError: Units failed, such as by a crop that does not decode; the same command goes on
            with them.
    """
    storage = layout.open_store(store)
    info = open_dataset(storage, dataset)
    resolved = resolve_model(model, "embed", report)
    return embed_with(storage, info, resolved, workers, report)


def embed_with(
    storage: Storage, info: DatasetInfo, resolved: ResolvedModel, workers: int | None,
    report: Report,
) -> EmbedResult:  # fmt: skip
    """Embed an opened dataset by a resolved model, as :func:`embed_dataset`."""
    started = time.monotonic()
    if CROP_SIZES.get(info.template) != info.crop_size:
        expected = f"crops of {' or '.join(CROP_SIZES)}"
        raise StoreError(info.name, f"holds {info.template} crops", expected)
    model = embedding_model(resolved)
    dims: list[int] = []
    waiting: list[UnitRecord] = []
    with storage.lock(f"{info.name}.embeddings.{model.folder}"):
        storage.sweep(f"{layout.dataset(info.name)}/embeddings/{model.folder}")
        for record in records(storage, info.name, info.units):
            dim = standing_part(storage, info.name, record, model)
            if dim is None:
                waiting.append(record)
            else:
                dims.append(dim)
        if not dims:
            dims.append(_embedder(resolved).dim)  # fails here, before any work, if it can't open
        done = info.samples - sum(r.samples for r in waiting)
        stage = f"embed {info.name} by {model.name}"

        def show(counts: dict[str, int]) -> None:
            report(Progress(stage, done + counts.get("samples", 0), info.samples, "samples"))

        show({})
        task = partial(
            _embed_unit, storage=storage, dataset=info.name, template=info.template,
            resolved=resolved,
        )  # fmt: skip
        workers = default_workers() if workers is None else workers
        run_units(
            task, [r.unit for r in waiting],
            workers if len(waiting) > 1 else 0,  # one alone gains nothing from a process
            counters=("samples",), on_tick=show,
        )  # fmt: skip
        finish_embeddings(storage, info, model)
    return EmbedResult(
        info.name, model.name, info.samples, dims[0], time.monotonic() - started,
        info.units, info.units - len(waiting),
    )  # fmt: skip


def embedding_model(resolved: ResolvedModel) -> EmbeddingModel:
    """Name the model of embeddings that a resolved model gives."""
    how = ""
    if resolved.contract is not None:
        contract = resolved.contract
        width, height = contract.size
        how = f"{contract.template} {width}x{height} {contract.colour} "
        how += f"(x-{contract.mean:g})/{contract.scale:g}"
    return EmbeddingModel(resolved.name, resolved.sha256, how)


def read_crops(
    storage: Storage, dataset: str, template: str, unit: int
) -> Iterator[tuple[str, RgbImage | None]]:
    """Read a unit's crops from its shard by the manifest's byte ranges.

    Args:
        storage: The store.
        dataset: The dataset's name.
        template: What its crops are aligned to; their size is the template's.
        unit: The unit's number.

    Yields:
        Each key and its uint8 ``(H, W, 3)`` RGB crop; None for an erased sample.

    Raises:
        StoreError: A crop's bytes are not those the manifest names, or do not decode.
    """
    rows = read_table(
        storage, layout.manifest_part(dataset, unit), MANIFEST_SCHEMA, ["key", *_PLACE]
    )
    if not rows.num_rows:
        return
    name = layout.shard(dataset, unit)
    width, height = CROP_SIZES[template]
    if not storage.exists(name):
        raise StoreError(name, "is missing", None, f"fusekit verify {dataset} tells what else is")
    with storage.path(name).open("rb") as shard:
        for row in rows.to_pylist():
            if row["length"] == 0:
                yield row["key"], None
                continue
            shard.seek(row["offset"])
            data = shard.read(row["length"])
            where = f"{name}: {row['key']}"
            if digest16(data) != row["content_digest"]:
                raise StoreError(
                    where, "is not the crop that the manifest names", None,
                    f"fusekit verify {dataset} tells what else is",
                )  # fmt: skip
            yield row["key"], _decode(where, data, row["format"], (height, width, 3))


def _embed_unit(
    unit: int, storage: Storage, dataset: str, template: str, resolved: ResolvedModel
) -> int:
    record = read_record(storage, dataset, unit)
    if record is None:
        raise StoreError(dataset, f"unit {unit} is not done", None, "ingest again")
    manifest = read_table(
        storage, layout.manifest_part(dataset, unit), MANIFEST_SCHEMA, list(_STORED)
    )
    embedder = _embedder(resolved)
    crops = read_crops(storage, dataset, template, unit)
    outputs = _outputs(crops, Rewarp.of(template), embedder, manifest.num_rows)
    write_part(storage, dataset, record, embedding_model(resolved), manifest, outputs)
    return record.samples


def _outputs(
    crops: Iterator[tuple[str, RgbImage | None]], rewarp: Rewarp, embedder: Embedder, count: int
) -> Vectors:
    outputs = np.zeros((count, embedder.dim), np.float32)
    batch: list[tuple[int, str, RgbImage]] = []
    for row, (key, crop) in enumerate(crops):
        if crop is not None:
            batch.append((row, key, rewarp(crop)))
        if len(batch) == _BATCH or (batch and row == count - 1):
            _embed_batch(batch, embedder, outputs)
            batch = []
    return outputs


def _embed_batch(
    batch: list[tuple[int, str, RgbImage]], embedder: Embedder, outputs: Vectors
) -> None:
    vectors = embedder.embed(np.stack([crop for _, _, crop in batch]))  # (n, D)
    tick(samples=len(batch))
    for (row, key, _), vector in zip(batch, vectors, strict=True):
        if not np.isfinite(vector).all() or not vector.any():
            raise ModelError(key, "its embedding is zero or not finite", "a direction")
        outputs[row] = vector


def _decode(where: str, data: bytes, fmt: str, shape: tuple[int, int, int]) -> RgbImage:
    try:
        if fmt == "raw":
            crop: RgbImage = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            crop = decode_image(data, where)
    except (ItemError, ValueError, EOFError) as error:
        found = error.found if isinstance(error, ItemError) else str(error)
        raise StoreError(where, f"does not decode ({found})", f"a {fmt} crop") from None
    if crop.dtype != np.uint8 or crop.shape != shape:
        raise StoreError(where, f"decodes to {crop.dtype} {crop.shape}", f"uint8 {shape}")
    return crop


@lru_cache(maxsize=2)
def _embedder(resolved: ResolvedModel) -> Embedder:
    return open_embedder(resolved)  # once a process: loading weights costs more than a crop
