"""The loader's index: where every row's image stands, as flat columns that map into memory.

``index.arrow`` is one uncompressed record batch, so that opening 20 million rows is one ``mmap``.
It is gathered in files, not in memory: building needs no more memory for more rows.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import MixtureError, StorageError
from fusekit.schema import INDEX_SCHEMA

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from fusekit.storage.folder import Storage

FORMATS: Final = ("jpg", "png", "raw")
DIGEST_BYTES: Final = 8
KEY_BATCH: Final = 65_536  # rows of a batch of keys.arrow: row r is in batch r // KEY_BATCH
_DTYPES: Final = {
    "shard": "<i4", "offset": "<i8", "length": "<i4", "label": "<i4", "source": "<i2",
    "format": "i1",
}  # fmt: skip
_KEYS: Final = pa.schema([pa.field("key", pa.string(), nullable=False)])
_ROWS: Final = pa.schema([pa.field("row", pa.int32(), nullable=False)])
_WORK: Final = ".work"


@dataclass(frozen=True)
class Index:
    """The columns of ``index.arrow``, over its memory map without copying; all of N rows.

    Attributes:
        shard: Number of the row's shard, int32.
        offset: First byte of the image in the shard, int64.
        length: Bytes of the image, int32; 0 after erasure.
        label: Class, int32; -1: unlabeled.
        source: Source index, int16.
        format: 0 jpg, 1 png, 2 raw (.npy), int8.
        digest: First 8 bytes of the image's sha256, ``(N, 8)`` uint8.
    """

    shard: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    source: npt.NDArray[np.int16]
    format: npt.NDArray[np.int8]
    digest: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.shard)


class IndexWriter:
    """Gather the index row by row, then write ``index.arrow``, ``keys.arrow``, ``by_class.arrow``.

    Args:
        storage: The store.
        folder: The mixture's folder in it.
        rows: How many rows there will be.
    """

    def __init__(self, storage: Storage, folder: str, rows: int) -> None:
        self._storage, self._folder, self._rows = storage, folder, rows
        self._work = storage.path(f"{folder}/{_WORK}")
        self._at = 0
        self._columns: dict[str, np.memmap[Any, Any]] = {}

    def __enter__(self) -> IndexWriter:
        shutil.rmtree(self._work, ignore_errors=True)  # a killed run's
        self._work.mkdir(parents=True)
        shapes = dict.fromkeys(_DTYPES, (self._rows,)) | {"digest": (self._rows, DIGEST_BYTES)}
        for name, shape in shapes.items():
            self._columns[name] = np.memmap(
                self._work / name, _DTYPES.get(name, "u1"), "w+", shape=shape
            )
        self._keys = pa.OSFile(str(self._work / "keys"), "wb")
        self._key_file = pa.ipc.new_file(self._keys, _KEYS)
        self._waiting: list[pa.Array] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._columns.clear()
        self._keys.close()
        shutil.rmtree(self._work, ignore_errors=True)

    def add(self, rows: pa.Table, shards: npt.NDArray[np.int32]) -> None:
        """Add rows of a mixture's table.

        Args:
            rows: With the columns of :data:`fusekit.schema.MIXTURE_ROWS`.
            shards: Their shards' numbers.
        """
        rows = rows.combine_chunks()
        place = slice(self._at, self._at + rows.num_rows)
        self._at = place.stop
        for name, column in (
            ("offset", "offset"), ("length", "length"), ("label", "label"),
            ("source", "source_index"),
        ):  # fmt: skip
            self._columns[name][place] = rows[column].to_numpy()
        self._columns["shard"][place] = shards
        codes = pc.index_in(rows["format"], value_set=pa.array(FORMATS))
        self._columns["format"][place] = codes.to_numpy()
        digests = _fixed_bytes(rows["content_digest"])
        self._columns["digest"][place] = digests[:, :DIGEST_BYTES]
        self._add_keys(rows["key"])

    def finish(self, labeled: int) -> None:
        """Write the three files.

        Args:
            labeled: How many rows, from the first, are labeled.

        Raises:
            StorageError: One can't be written.
        """
        if self._at != self._rows:
            raise MixtureError(self._folder, f"{self._at} rows of {self._rows}")
        self._write("index.arrow", self._batch())
        order = np.argsort(self._columns["label"][:labeled], kind="stable").astype(np.int32)
        self._write("by_class.arrow", pa.record_batch([pa.array(order)], schema=_ROWS))
        self._add_keys(pa.chunked_array([], pa.string()), last=True)
        self._key_file.close()
        self._keys.close()
        with (
            (self._work / "keys").open("rb") as source,
            self._storage.writing(f"{self._folder}/keys.arrow") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def _batch(self) -> pa.RecordBatch:
        arrays = []
        for field in INDEX_SCHEMA:
            data = pa.py_buffer(self._columns[field.name]) if self._rows else pa.py_buffer(b"")
            arrays.append(pa.Array.from_buffers(field.type, self._rows, [None, data]))
        return pa.record_batch(arrays, schema=INDEX_SCHEMA)

    def _write(self, name: str, batch: pa.RecordBatch) -> None:
        with (
            self._storage.writing(f"{self._folder}/{name}") as file,
            pa.ipc.new_file(file, batch.schema) as out,
        ):
            out.write_batch(batch)

    def _add_keys(self, keys: pa.ChunkedArray, *, last: bool = False) -> None:
        # Batches of one size, so that a row's batch is a division.
        self._waiting.extend(keys.chunks)
        while (held := sum(map(len, self._waiting))) >= KEY_BATCH or (last and held):
            joined = pa.concat_arrays(self._waiting)
            head, rest = joined.slice(0, KEY_BATCH), joined.slice(KEY_BATCH)
            self._key_file.write_batch(pa.record_batch([head], schema=_KEYS))
            self._waiting = [rest] if len(rest) else []


def open_index(path: Path) -> Index:
    """Map an index into memory.

    Raises:
        StorageError: It is not there or is damaged.
    """
    batch = _open(path).get_batch(0)
    if batch.schema != INDEX_SCHEMA:
        raise StorageError(path, "is no index of this release")
    columns = {name: batch[name].to_numpy(zero_copy_only=True) for name in batch.schema.names[:-1]}
    return Index(**columns, digest=_fixed_bytes(batch["digest"]))


def open_keys(path: Path) -> pa.ipc.RecordBatchFileReader:
    """Map the keys into memory; :func:`key_at` reads one."""
    return _open(path)


def key_at(keys: pa.ipc.RecordBatchFileReader, row: int) -> str:
    """Give the key of a row."""
    return str(keys.get_batch(row // KEY_BATCH)["key"][row % KEY_BATCH].as_py())


def keys_at(keys: pa.ipc.RecordBatchFileReader, rows: npt.NDArray[np.integer]) -> list[str]:
    """Give the keys of many rows, in the order of the rows."""
    order = np.argsort(rows, kind="stable")
    found = np.empty(len(rows), object)
    batches = rows[order] // KEY_BATCH
    for places in np.split(order, np.flatnonzero(np.diff(batches)) + 1):
        if len(places):
            batch = keys.get_batch(int(rows[places[0]]) // KEY_BATCH)
            taken = batch["key"].take(pa.array(rows[places] % KEY_BATCH))
            found[places] = taken.to_pylist()
    return found.tolist()


def open_by_class(path: Path) -> npt.NDArray[np.int32]:
    """Map the labeled rows, sorted by label, into memory.

    Raises:
        StorageError: As :func:`open_index`.
    """
    rows: npt.NDArray[np.int32] = _open(path).get_batch(0)["row"].to_numpy(zero_copy_only=True)
    return rows


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowException) as error:
        found = "is not there" if not path.exists() else f"is damaged ({str(error)[:80]})"
        raise StorageError(path, found, None, "build the mixture again") from None


def _fixed_bytes(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.uint8]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    if not len(array):
        return np.empty((0, width), np.uint8)
    data = np.frombuffer(array.buffers()[1], np.uint8)
    return data[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)
