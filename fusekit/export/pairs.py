"""Export an evaluation set's pairs as the verification pack that InsightFace's trainers read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import StorageError, StoreError
from fusekit.export.images import StoredImages, read_images
from fusekit.export.result import (
    RECORD,
    PairsResult,
    State,
    check_place,
    read_record,
    record_of,
    write_record,
)
from fusekit.formats.pair_pack import FOLDS, pair_folds
from fusekit.formats.pair_writer import write_pair_pack
from fusekit.loader.crops.decode import RAW, CropDecoder
from fusekit.mixture.index import DIGEST_BYTES, FORMATS
from fusekit.progress import Progress, Report, silent
from fusekit.schema import MANIFEST_SCHEMA, PAIRS_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.store.datasets import DatasetInfo

_COLUMNS: Final = ["key", "shard", "offset", "length", "format", "content_digest"]


@dataclass(frozen=True)
class _Samples:
    """An evaluation set's samples: their keys, and where their images stand."""

    keys: pa.Array
    paths: list[Path]
    size: tuple[int, int]
    shard: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int32]
    format: npt.NDArray[np.int8]
    digest: npt.NDArray[np.uint8]


def export_pairs(
    name: str,
    out: str | os.PathLike[str],
    *,
    protocol: str | None = None,
    skip_missing: bool = False,
    store: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    report: Report = silent,
) -> PairsResult:
    """Write an evaluation set's pairs as one ``.bin`` that InsightFace's trainers evaluate on.

    Pairs stand in the protocol's order, fold after fold, and their images are bit for bit those
    of the store. ``<out>.json`` beside the file says what it holds.

    Args:
        name: The evaluation set in the store.
        out: The file to write; none of this name is there.
        protocol: Which of the set's protocols; None takes its usual one.
        skip_missing: Leave out pairs of which an image gave no sample. Folds that readers take
            by position are then no longer the protocol's.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        dry_run: Tell what would be written and write nothing.
        report: Told of the progress.

    Returns:
        What the pack holds.

    Raises:
        StoreError: There is no such evaluation set or protocol, images of pairs are missing, or
            a shard is damaged.
        StorageError: ``out`` is something else, or the disk is full.
        UsageError: ``out`` lies in the store.

    Example:
        >>> export_pairs("lfw", "lfw.bin").pairs  # doctest: +SKIP
        6000
    """
    storage = open_store(store)
    info = _open(storage, name)
    place = check_place(Path(out), storage)
    pairs = _choose(_read_pairs(storage, info), name, protocol)
    samples = _read_samples(storage, info)
    pairs, rows, left_out = _resolve(pairs, samples, name, skip_missing=skip_missing)
    same, folds = pairs["same"].to_numpy(), pairs["fold"].to_numpy()

    def result(state: State) -> PairsResult:
        return PairsResult(
            dataset=name, format="bin", protocol=pairs["protocol"][0].as_py(),
            out=os.fspath(out), state=state, pairs=len(pairs), same=int(same.sum()),
            folds=len(np.unique(folds[folds > 0])), bytes=int(samples.length[rows].sum(dtype="i8")),
            left_out=left_out, as_png=int(np.count_nonzero(samples.format[rows] == RAW)),
            fingerprint=info.fingerprint, remarks=_remarks(folds, left_out),
        )  # fmt: skip

    record = place.with_name(f"{place.name}.{RECORD.rpartition('.')[2]}")
    about = record_of(result("written"))
    if _is_there(place, record, about):
        return result("unchanged")
    if dry_run:
        return result("dry run")
    target = Storage(place.parent)
    write_record(target, record.name, about)  # first: a pack that is there has its record
    with target.writing(place.name) as file:
        write_pair_pack(file, _images(samples, rows, report), same.tolist())
    return result("written")


def _open(storage: Storage, name: str) -> DatasetInfo:
    mixture = storage.exists(f"{layout.mixture(name)}/mixture.json")
    if mixture and not storage.exists(layout.dataset_json(name)):
        raise StoreError(name, "is a mixture", "an evaluation set, or another --format")
    info = open_dataset(storage, name)
    if info.kind != "evaluation":
        raise StoreError(name, f"is {info.kind}", "an evaluation set")
    return info


def _read_pairs(storage: Storage, info: DatasetInfo) -> pa.Table:
    where = layout.protocol(info.name, "pairs")
    if not storage.exists(where):
        raise StoreError(
            info.name, "has no pairs", "an evaluation set of pairs of images, such as lfw"
        )
    return read_table(storage, where, PAIRS_SCHEMA)


def _choose(pairs: pa.Table, name: str, protocol: str | None) -> pa.Table:
    known = sorted(pc.unique(pairs["protocol"]).to_pylist())
    if protocol is None:
        pairs = pairs.filter(pairs["main"])
        usual = sorted(pc.unique(pairs["protocol"]).to_pylist())
        if len(usual) != 1:
            found = f"has {len(usual)} usual protocols"
            raise StoreError(
                name, found, "one", f"name one by --protocol: {_spell(usual or known)}"
            )
    else:
        pairs = pairs.filter(pc.equal(pairs["protocol"], protocol))
        if not len(pairs):
            raise StoreError(name, f"has no pairs of a protocol {protocol!r}", _spell(known))
    return pairs.take(pa.array(np.argsort(pairs["fold"].to_numpy(), kind="stable")))


def _spell(protocols: list[str]) -> str:
    return ", ".join(protocols[:8]) or "none is there"


def _read_samples(storage: Storage, info: DatasetInfo) -> _Samples:
    tables = [read_table(storage, file, MANIFEST_SCHEMA, _COLUMNS) for file in info.files]
    none = MANIFEST_SCHEMA.empty_table().select(_COLUMNS)
    table = pa.concat_tables([none, *tables]).combine_chunks()
    shards = sorted(pc.unique(table["shard"]).to_pylist())
    number = pc.index_in(table["shard"], value_set=pa.array(shards, pa.string()))
    code = pc.index_in(table["format"], value_set=pa.array(FORMATS))
    digests = b"".join(table["content_digest"].to_pylist())
    width = table.schema.field("content_digest").type.byte_width
    return _Samples(
        keys=pa.concat_arrays(table["key"].chunks) if len(table) else pa.array([], pa.string()),
        paths=[storage.path(f"{layout.dataset(info.name)}/shards/{each}") for each in shards],
        size=info.crop_size, shard=number.to_numpy().astype(np.int32),
        offset=table["offset"].to_numpy(), length=table["length"].to_numpy(),
        format=code.to_numpy().astype(np.int8),
        digest=np.frombuffer(digests, np.uint8).reshape(-1, width)[:, :DIGEST_BYTES],
    )  # fmt: skip


def _resolve(
    pairs: pa.Table, samples: _Samples, name: str, *, skip_missing: bool
) -> tuple[pa.Table, npt.NDArray[np.int64], int]:
    """Find each pair's two samples: the pairs, rows of samples (two a pair), how many are out."""
    sides = [pc.index_in(pairs[key], value_set=samples.keys) for key in ("key_a", "key_b")]
    rows = np.stack([pc.fill_null(side, -1).to_numpy() for side in sides], axis=1).astype(np.int64)
    # A row of -1 takes the last sample's length here, and is out by itself. 0: erased.
    stored = (samples.length[rows] > 0) if len(samples.keys) else np.zeros(rows.shape, np.bool_)
    there = ((rows >= 0) & stored).all(axis=1)
    missing = len(rows) - int(np.count_nonzero(there))
    if missing and (not skip_missing or missing == len(rows)):
        raise StoreError(
            name, f"{missing} of {len(rows)} pairs have an image that gave no sample",
            "a sample for both images of each pair",
            "--skip-missing leaves them out" if missing < len(rows) else None,
        )  # fmt: skip
    return pairs.filter(pa.array(there)), rows[there].ravel(), missing


def _images(samples: _Samples, rows: npt.NDArray[np.int64], report: Report) -> Iterator[bytes]:
    total = len(rows)
    width, height = samples.size

    def decoder_of(row: int) -> CropDecoder | None:
        raw = samples.format[row] == RAW
        return CropDecoder(height, width) if raw else None

    stored = StoredImages(
        samples.paths, samples, samples.size, decoder_of, lambda row: str(samples.keys[row])
    )
    images = read_images(stored, rows)
    for done, image in enumerate(images, 1):
        yield image
        if done % 1024 == 0 or done == total:
            report(Progress("export", done, total, "images"))


def _remarks(folds: npt.NDArray[np.int16], left_out: int) -> list[str]:
    remarks = []
    if left_out:
        remarks.append(f"{left_out} pairs are left out: an image of theirs gave no sample")
    if not np.array_equal(np.unique(folds, return_inverse=True)[1] + 1, pair_folds(len(folds))):
        remarks.append(
            f"readers cut the pairs into {FOLDS} equal folds, which are not the protocol's"
        )
    return remarks


def _is_there(place: Path, record: Path, about: dict[str, Any]) -> bool:
    same = read_record(record) == about
    if place.is_file() and same:
        return True
    for path in (place, record):
        if path.exists() and not (path == record and same):  # a stopped run leaves its record
            found = "is a folder" if path.is_dir() else "is there, and is of another export"
            raise StorageError(path, found, "the name of a new file")
    return False
