"""Embeddings to evaluate: a model's outputs for a dataset's crops, and for their mirror images.

A model that a user names gets its crops as ``fusekit embed`` gives them, and its outputs are
rounded as the store rounds them (a float16 direction and a float32 length), so that a score does
not hang on whether embeddings stood in the store, were made now, or by how many processes.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from fusekit.cards.card import CROP_SIZES
from fusekit.engines.local import default_workers, run_units, tick
from fusekit.errors import ItemError, ModelError, StoreError
from fusekit.faces.embed import Embedder, open_embedder
from fusekit.faces.image import RgbImage, decode_image
from fusekit.faces.rewarp import Rewarp
from fusekit.fingerprint import digest16
from fusekit.models.registry import ResolvedModel, resolve_model
from fusekit.progress import Progress
from fusekit.schema import MANIFEST_SCHEMA, embeddings_schema
from fusekit.store import layout
from fusekit.store.datasets import records
from fusekit.store.embeddings import EmbeddingModel, standing_part
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusekit.evaluation.scores import Vectors
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

CropsToVectors: TypeAlias = "Callable[[RgbImage], Any]"
"""uint8 ``(N, 112, 112, 3)`` RGB to ``(N, D)``, an array or a torch tensor."""

_BATCH: Final = 64
_MEAN: Final = 127.5
_SCALE: Final = 127.5
_PLACE: Final = ["key", "offset", "length", "format", "content_digest"]


@dataclass(frozen=True)
class Samples:
    """The outputs of a model for all samples of a dataset, in the manifest's order.

    Attributes:
        keys: ``(N,)`` of the samples.
        plain: float32 ``(N, D)``, as the model gives them; zeros for erased samples.
        mirrored: The same of the crops' mirror images; None: they were not asked for.
    """

    keys: pa.StringArray
    plain: Vectors
    mirrored: Vectors | None


class Embeddings:
    """A model, and what it has given for datasets so far: each crop is embedded once a run.

    Args:
        model: Registry name, ``insightface/PACK``, path of an ONNX file; a torch module that takes
            float32 ``(N, 3, 112, 112)`` RGB, ``(pixel - 127.5) / 127.5``; or any other callable,
            which gets the crops as :data:`CropsToVectors`. Modules and callables work in this
            process; a module is put into its evaluation mode while it works.
        workers: Processes for a named model; None takes one per processor, 0 works in this one.
        report: Told of progress.

    Raises:
        ModelError: The model is not here and can't be had.
        MissingExtraError: It needs a package that is not installed.
    """

    def __init__(self, model: str | CropsToVectors, workers: int | None, report: Report) -> None:
        self._workers, self._report = workers, report
        self._model: ResolvedModel | _Called = (
            resolve_model(model, "embed", report) if isinstance(model, str) else _Called(model)
        )
        self._done: dict[tuple[str, bool], Vectors] = {}

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._model.name

    @property
    def sha256(self) -> str | None:
        """Digest of the model's file; None for modules and callables."""
        return self._model.sha256 if isinstance(self._model, ResolvedModel) else None

    def of(self, storage: Storage, info: DatasetInfo, *, mirrored: bool) -> Samples:
        """Give the model's outputs for a dataset.

        Args:
            storage: The store.
            info: The dataset's record.
            mirrored: Whether mirror images are asked for as well.

        Raises:
            StoreError: The dataset's crops are of no known template, or damaged.
            ModelError: The model gives no directions.
            WorkError: Crops could not be embedded.
        """
        if CROP_SIZES.get(info.template) != info.crop_size:
            expected = f"crops of {' or '.join(CROP_SIZES)}"
            raise StoreError(info.name, f"holds {info.template} crops", expected)
        keys = [
            chunk
            for unit in range(info.units)
            for chunk in _manifest(storage, info.name, unit, ["key"])["key"].chunks
        ]
        plain = self._outputs(storage, info, flip=False)
        flipped = self._outputs(storage, info, flip=True) if mirrored else None
        return Samples(pa.concat_arrays([pa.array([], pa.string()), *keys]), plain, flipped)

    def _outputs(self, storage: Storage, info: DatasetInfo, *, flip: bool) -> Vectors:
        """Give the outputs (N, D) of a dataset, from this run or the store where they stand."""
        which = (info.name, flip)
        if which not in self._done:
            standing = None if flip else self._standing(storage, info)
            self._done[which] = (
                self._embed(storage, info, flip=flip) if standing is None else standing
            )
        return self._done[which]

    def _standing(self, storage: Storage, info: DatasetInfo) -> Vectors | None:
        """Give the outputs that ``fusekit embed`` has stored; None when not all of them stand."""
        if isinstance(self._model, _Called) or not info.units:
            return None
        model, parts = _embedding_model(self._model), []
        for record in records(storage, info.name, info.units):
            dim = standing_part(storage, info.name, record, model)
            if dim is None:
                return None
            name = layout.embeddings(info.name, model.folder, record.unit)
            rows = read_table(storage, name, embeddings_schema(dim), ["embedding", "norm"])
            parts.append(_of_rows(rows, dim))
        return np.concatenate(parts)

    def _embed(self, storage: Storage, info: DatasetInfo, *, flip: bool) -> Vectors:
        parts: dict[int, Vectors] = {}
        stage = f"embed {info.name}{' mirrored' if flip else ''} by {self.name}"

        def show(counts: dict[str, int]) -> None:
            self._report(Progress(stage, counts.get("samples", 0), info.samples, "samples"))

        task = partial(
            _embed_unit, storage=storage, dataset=info.name, template=info.template,
            model=self._model, flip=flip,
        )  # fmt: skip
        workers = default_workers() if self._workers is None else self._workers
        run_units(
            task, list(range(info.units)),
            workers if isinstance(self._model, ResolvedModel) and info.units > 1 else 0,
            parts.__setitem__,
            counters=("samples",), on_tick=show,
        )  # fmt: skip
        dims = {part.shape[1] for part in parts.values() if len(part)}
        if len(dims) > 1:
            raise ModelError(self.name, f"gives {sorted(dims)} numbers a face", "always as many")
        empty = np.zeros((0, *dims), np.float32) if dims else np.zeros((0, 1), np.float32)
        return np.concatenate([empty, *(parts[u] for u in sorted(parts) if len(parts[u]))])


class _Called:
    """A torch module or another callable as an embedder."""

    def __init__(self, model: CropsToVectors) -> None:
        torch = sys.modules.get("torch")  # there where anybody has a module of it
        self._module = model if torch and isinstance(model, torch.nn.Module) else None
        self._model, self._torch = model, torch
        self.name = getattr(model, "__name__", type(model).__name__)
        self.dim = 0  # known after the first batch

    def embed(self, crops: RgbImage) -> Vectors:
        """Embed crops; see :class:`fusekit.faces.embed.Embedder`."""
        given = self._model(crops) if self._module is None else self._through_module(crops)
        if hasattr(given, "detach"):
            given = given.detach().float().cpu().numpy()
        vectors = np.asarray(given, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(crops):
            raise ModelError(
                self.name, f"gives an array of shape {vectors.shape} for {len(crops)} crops",
                f"({len(crops)}, D)",
            )  # fmt: skip
        self.dim = vectors.shape[1]
        return vectors

    def _through_module(self, crops: RgbImage) -> Any:  # noqa: ANN401 - torch ships no types here
        module, torch = self._module, self._torch
        assert module is not None
        assert torch is not None
        learning: Any = module
        first = next(learning.parameters(), None)
        device = "cpu" if first is None else first.device
        pixels = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2)  # (N, 3, 112, 112)
        modes = [(part, part.training) for part in learning.modules()]
        learning.eval()
        try:
            with torch.no_grad():
                return learning((pixels.float() - _MEAN) / _SCALE)  # (N, D)
        finally:
            for part, mode in modes:
                part.training = mode


def _embed_unit(
    unit: int, *, storage: Storage, dataset: str, template: str, model: ResolvedModel | _Called,
    flip: bool,
) -> Vectors:  # fmt: skip
    embedder: Embedder = _opened(model) if isinstance(model, ResolvedModel) else model
    rows = _manifest(storage, dataset, unit, _PLACE)
    rewarp, outputs = Rewarp.of(template), None
    crops = _read_crops(storage, dataset, template, unit, rows)
    for at, batch in _batches(crops):
        stack = np.stack([rewarp(crop) for crop in batch])  # (n, 112, 112, 3)
        vectors = embedder.embed(np.ascontiguousarray(stack[:, :, ::-1]) if flip else stack)
        faulty = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
        if faulty.any():
            key = rows["key"][at[int(faulty.argmax())]].as_py()
            raise ModelError(key, "its embedding is zero or not finite", "a direction")
        if outputs is None:
            outputs = np.zeros((rows.num_rows, vectors.shape[1]), np.float32)
        outputs[at] = _as_stored(vectors) if isinstance(model, ResolvedModel) else vectors
        tick(samples=len(at))
    # A unit without crops has no rows, or erased ones only, and can't say the dimension.
    return np.zeros((0, 0), np.float32) if outputs is None else outputs


def _read_crops(
    storage: Storage, dataset: str, template: str, unit: int, rows: pa.Table
) -> Iterator[tuple[int, RgbImage]]:
    """Read a unit's crops: each row's number, and uint8 (H, W, 3); erased ones are passed over."""
    name = layout.shard(dataset, unit)
    width, height = CROP_SIZES[template]
    fix = f"fusekit verify {dataset} tells what else is"
    if not rows.num_rows:
        return
    if not storage.exists(name):
        raise StoreError(name, "is missing", None, fix)
    with storage.path(name).open("rb") as shard:
        for at, row in enumerate(rows.to_pylist()):
            if row["length"] == 0:
                continue
            shard.seek(row["offset"])
            data, where = shard.read(row["length"]), f"{name}: {row['key']}"
            if digest16(data) != row["content_digest"]:
                raise StoreError(where, "is not the crop that the manifest names", None, fix)
            crop = _decode(where, data, row["format"])
            if crop.shape != (height, width, 3):
                raise StoreError(where, f"decodes to {crop.shape}", f"{(height, width, 3)}")
            yield at, crop


def _decode(where: str, data: bytes, fmt: str) -> RgbImage:
    try:
        if fmt == "raw":
            stored: RgbImage = np.load(io.BytesIO(data), allow_pickle=False)
            return stored
        return decode_image(data, where)
    except (ItemError, ValueError, EOFError) as error:
        found = error.found if isinstance(error, ItemError) else str(error)
        raise StoreError(where, f"does not decode ({found})", f"a {fmt} crop") from None


def _batches(
    crops: Iterator[tuple[int, RgbImage]],
) -> Iterator[tuple[list[int], list[RgbImage]]]:
    at: list[int] = []
    batch: list[RgbImage] = []
    for row, crop in crops:
        at.append(row)
        batch.append(crop)
        if len(batch) == _BATCH:
            yield at, batch
            at, batch = [], []
    if batch:
        yield at, batch


def _manifest(storage: Storage, dataset: str, unit: int, columns: list[str]) -> pa.Table:
    return read_table(storage, layout.manifest_part(dataset, unit), MANIFEST_SCHEMA, columns)


def _as_stored(outputs: Vectors) -> Vectors:
    """Round outputs (N, D) to what the store keeps of them."""
    norms = np.sqrt(np.square(outputs, dtype=np.float64).sum(axis=1))  # (N,)
    half = (outputs / norms[:, None]).astype(np.float16)
    rounded: Vectors = half.astype(np.float32) * norms.astype(np.float32)[:, None]
    return rounded


def _of_rows(rows: pa.Table, dim: int) -> Vectors:
    half = rows["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    outputs: Vectors = half.astype(np.float32).reshape(-1, dim) * rows["norm"].to_numpy()[:, None]
    return outputs


def _embedding_model(resolved: ResolvedModel) -> EmbeddingModel:
    """Name the model as ``fusekit embed`` does."""
    assert resolved.contract is not None
    contract = resolved.contract
    width, height = contract.size
    how = f"{contract.template} {width}x{height} {contract.colour} "
    how += f"(x-{contract.mean:g})/{contract.scale:g}"
    return EmbeddingModel(resolved.name, resolved.sha256, how)


@lru_cache(maxsize=2)
def _opened(resolved: ResolvedModel) -> Embedder:
    return open_embedder(resolved)  # once a process
