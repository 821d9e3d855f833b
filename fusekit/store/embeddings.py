"""Embeddings of a dataset: one table a unit, rows in the manifest's order, read in blocks.

A part belongs to the bytes of its unit's shard and to the bytes of a model's file; both stand in
its metadata, so a part that belongs to others is known and never used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import StorageError, StoreError
from fusekit.schema import embeddings_schema
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, records
from fusekit.store.sums import write_sums
from fusekit.store.tables import read_about, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage
    from fusekit.store.commit import UnitRecord

Vectors: TypeAlias = npt.NDArray[np.float32]
"""float32 ``(N, D)``, one embedding a row."""

_BLOCK_ROWS: Final = 4_096
_SHA_SHOWN: Final = 8
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class EmbeddingModel:
    """Which model made embeddings.

    Attributes:
        name: As the registry or the file calls it.
        sha256: Of its weights.
        contract: How crops became its input, such as ``arcface-112 112x112 rgb (x-127.5)/127.5``:
            the same weights give something else under another one.
    """

    name: str
    sha256: str
    contract: str = ""

    @property
    def folder(self) -> str:
        """The name of its embeddings in the store, such as ``dlib-resnet-v1-9c1f7a10``."""
        return f"{_NOT_IN_NAMES.sub('-', self.name)}-{self.sha256[:_SHA_SHOWN]}"


@dataclass(frozen=True)
class Block:
    """Some consecutive embeddings.

    Attributes:
        first_row: Number in the dataset of the block's first sample.
        keys: ``(n,)`` sample keys.
        identity_index: int32 ``(n,)``; -1: unlabeled.
        vectors: float32 ``(n, D)`` of unit length; zeros for erased samples.
    """

    first_row: int
    keys: pa.StringArray
    identity_index: npt.NDArray[np.int32]
    vectors: Vectors


def write_part(
    storage: Storage, dataset: str, record: UnitRecord, model: EmbeddingModel, manifest: pa.Table,
    outputs: Vectors,
) -> None:  # fmt: skip
    """Write the embeddings of one unit.

    Args:
        storage: The store.
        dataset: The dataset's name.
        record: The unit's.
        model: What made the outputs.
        manifest: The unit's ``key, identity, identity_index, dataset_index``.
        outputs: The model's raw outputs ``(N, D)``, in the manifest's order; zeros for erased
            samples.

    Raises:
        StoreError: The counts differ.
        StorageError: The table can't be written.
    """
    name = layout.embeddings(dataset, model.folder, record.unit)
    if not len(outputs) == manifest.num_rows == record.samples:
        raise StoreError(
            name, f"{len(outputs)} embeddings of {manifest.num_rows} rows", str(record.samples)
        )
    dim = outputs.shape[1]
    norms = np.sqrt(np.square(outputs, dtype=np.float64).sum(axis=1))  # (N,)
    unit = outputs / np.where(norms > 0, norms, 1)[:, None]  # (N, D)
    flat = pa.array(unit.astype(np.float16).ravel(), pa.float16())
    table = manifest.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, dim))
    table = table.append_column("norm", pa.array(norms, pa.float32()))
    schema = embeddings_schema(dim)
    about = _part_about(dataset, record, model)
    write_table(storage, name, table.select(schema.names), schema, about)


def finish_embeddings(storage: Storage, dataset: DatasetInfo, model: EmbeddingModel) -> None:
    """Write the digests of a dataset's embeddings, after the last part."""
    parts = [layout.embeddings(dataset.name, model.folder, u) for u in range(dataset.units)]
    folder = parts[0].rpartition("/")[0] if parts else ""
    if folder:
        write_sums(storage, folder, [part.rpartition("/")[2] for part in parts])


def standing_part(
    storage: Storage, dataset: str, record: UnitRecord, model: EmbeddingModel
) -> int | None:
    """Give the dimension of a unit's embeddings if they stand and belong to its shard.

    Returns:
        None when they are missing, damaged or of another shard or model.
    """
    name = layout.embeddings(dataset, model.folder, record.unit)
    if not storage.exists(name):
        return None
    try:
        if read_about(storage, name) != _part_about(dataset, record, model):
            return None
        footer = pq.read_metadata(storage.path(name))
        kind = pq.read_schema(storage.path(name)).field("embedding").type
    except (StorageError, pa.ArrowException, OSError, KeyError):
        return None
    return kind.list_size if footer.num_rows == record.samples else None


class EmbeddingSet:
    """All embeddings of a dataset by one model, checked to be whole and fresh.

    Attributes:
        dataset: The dataset's record.
        model: What made them.
        dim: Numbers in an embedding.
        rows: How many there are.
    """

    def __init__(
        self, storage: Storage, dataset: DatasetInfo, model: EmbeddingModel, dim: int,
        unit_rows: list[int],
    ) -> None:  # fmt: skip
        self._storage, self._unit_rows = storage, unit_rows
        self.dataset, self.model, self.dim = dataset, model, dim
        self.rows = sum(unit_rows)

    @classmethod
    def open(
        cls, storage: Storage, dataset: DatasetInfo, model: EmbeddingModel | None = None
    ) -> EmbeddingSet:
        """Open a dataset's embeddings.

        Args:
            storage: The store.
            dataset: From :func:`fusekit.store.datasets.open_dataset`.
            model: Whose; None when the dataset has those of one model only.

        Raises:
            StoreError: There are none, those of several models, or they are not whole or of
                other crops than the dataset holds now.
        """
        if model is None:
            models = embedding_models(storage, dataset.name)
            if len(models) > 1:
                names = ", ".join(m.folder for m in models)
                raise StoreError(
                    dataset.name, f"has embeddings of {len(models)} models: {names}", "one",
                    "choose with --model",
                )  # fmt: skip
            if not models:
                raise _lacking(dataset.name, "has no embeddings", "")
            model = models[0]
        dims, unit_rows = set(), []
        for record in records(storage, dataset.name, dataset.units):
            dim = standing_part(storage, dataset.name, record, model)
            if dim is None:
                part = layout.embeddings(dataset.name, model.folder, record.unit)
                gone = "lacks" if not storage.exists(part) else "has stale or damaged"
                found = f"{gone} embeddings of unit {record.unit} by {model.name}"
                raise _lacking(dataset.name, found, model.name)
            dims.add(dim)
            unit_rows.append(record.samples)
        if len(dims) > 1:
            raise _lacking(dataset.name, f"has embeddings of {sorted(dims)} numbers", model.name)
        return cls(storage, dataset, model, max(dims, default=0), unit_rows)

    def blocks(self) -> Iterator[Block]:
        """Read all embeddings, in the manifest's order, holding one block at a time.

        Yields:
            Blocks of at most 4,096 rows that never cross units: the same ones in every run.

        Raises:
            StorageError: A part is damaged.
        """
        for unit, first in enumerate(self._first_rows()):
            at = first
            for batch in self._batches(unit, ["key", "identity_index", "embedding"]):
                index = batch.column("identity_index").to_numpy(zero_copy_only=False)
                yield Block(at, batch.column("key"), index, self._vectors(batch))
                at += batch.num_rows

    def take(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """Read some embeddings by their number in the dataset, only the parts that hold them.

        Args:
            rows: ``(n,)`` ascending row numbers.

        Returns:
            float32 ``(n, D)``.

        Raises:
            StorageError: A part is damaged.
        """
        out = np.zeros((len(rows), self.dim), np.float32)
        for unit, first in enumerate(self._first_rows()):
            begin, end = np.searchsorted(rows, [first, first + self._unit_rows[unit]])
            at = first
            for batch in self._batches(unit, ["embedding"]) if begin < end else ():
                low, high = np.searchsorted(rows, [at, at + batch.num_rows])
                out[low:high] = self._vectors(batch)[rows[low:high] - at]
                at += batch.num_rows
        return out

    def _first_rows(self) -> list[int]:
        return list(accumulate(self._unit_rows, initial=0))[:-1]

    def _batches(self, unit: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        name = layout.embeddings(self.dataset.name, self.model.folder, unit)
        try:
            with pq.ParquetFile(self._storage.path(name), page_checksum_verification=True) as file:
                yield from file.iter_batches(_BLOCK_ROWS, columns=columns)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).split("\n", 1)[0][:200]
            raise StorageError(
                name, f"is damaged ({reason})", None, f"fusekit embed {self.dataset.name}"
            ) from None

    def _vectors(self, batch: pa.RecordBatch) -> Vectors:
        half = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
        vectors: Vectors = half.astype(np.float32).reshape(-1, self.dim)
        return vectors


def embedding_models(storage: Storage, dataset: str) -> list[EmbeddingModel]:
    """List the models whose embeddings of a dataset stand, whole or not, by folder name."""
    top = f"{layout.dataset(dataset)}/embeddings"
    found = []
    for folder in storage.names(top):
        for part in [n for n in storage.names(f"{top}/{folder}") if n.startswith("part-")][:1]:
            about = read_about(storage, f"{top}/{folder}/{part}")
            model = EmbeddingModel(
                str(about.get("model")), str(about.get("sha256")), str(about.get("contract"))
            )
            if model.folder == folder:
                found.append(model)
    return found


def _part_about(dataset: str, record: UnitRecord, model: EmbeddingModel) -> dict[str, Any]:
    # The shard's digest stands for all that was read: rows and identities are in it too. The
    # dataset's fingerprint would make every unit stale when others are appended.
    return {
        "format_version": layout.FORMAT_VERSION, "dataset": dataset, "unit": record.unit,
        "shard_sha256": record.shard_sha256, "model": model.name, "sha256": model.sha256,
        "contract": model.contract,
    }  # fmt: skip


def _lacking(dataset: str, found: str, model: str) -> StoreError:
    command = f"fusekit embed {dataset}" + (f" --model {model}" if model else "")
    return StoreError(dataset, found, None, command)
