"""Check one mixture: its description, its files' digests, its rows, labels and shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.fingerprint import fingerprint
from fusekit.mixture.classes import read_classes
from fusekit.mixture.index import open_by_class, open_index
from fusekit.report.problem import Problem, check_sums, compare, shortened
from fusekit.schema import MEMBERS_SCHEMA, SHARDS_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import read_record
from fusekit.store.tables import count_rows, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from fusekit.mixture.index import Index
    from fusekit.storage.folder import Storage


def check_mixture(storage: Storage, name: str) -> Iterator[Problem]:
    """Check a mixture against its record, and its index against the shards it reads.

    A dataset that has grown since is no fault: the mixture's own shards are still there.

    Args:
        storage: The store.
        name: The mixture's name.

    Yields:
        Faults.

    Raises:
        StorageError: A file can't be read, so nothing more can be said.
    """
    folder = layout.mixture(name)
    where = f"{folder}/mixture.json"
    if not storage.exists(where):
        yield Problem(where, "is missing; the mixture was not finished, build it again")
        return
    try:
        about = json.loads(storage.read(where))
        whole = about.pop("digest", None) == fingerprint(about)
        sums = {f"{folder}/{file}": entry["sha256"] for file, entry in about["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Problem(where, "is damaged")
        return
    if not whole:
        yield Problem(where, "does not match its own digest")
        return
    faults = list(check_sums(storage, sums))
    yield from faults
    if not faults:
        yield from _check_rows(storage, folder, about)
        yield from shortened(_check_shards(storage, folder), f"{folder}/shards.parquet")


def _check_rows(storage: Storage, folder: str, about: dict[str, Any]) -> Iterator[Problem]:
    index = open_index(storage.path(f"{folder}/index.arrow"))
    labeled, unlabeled = about["labeled"], about["unlabeled"]
    for kind, expected in (("labeled", labeled), ("unlabeled", unlabeled)):
        table = f"{folder}/{kind}.parquet"
        yield from compare(table, "rows", count_rows(storage, table), expected)
    where = f"{folder}/index.arrow"
    yield from compare(where, "rows", len(index), labeled + unlabeled)
    yield from _check_sources(where, index, about)
    classes = read_classes(storage, about["name"], about["format_version"])
    images = np.bincount(index.label[:labeled], minlength=about["classes"])
    if classes["label"].to_pylist() != list(range(about["classes"])):
        yield Problem(f"{folder}/classes.parquet", "labels do not count from 0 to the last class")
    elif not np.array_equal(classes["images"].to_numpy(), images):
        yield Problem(f"{folder}/classes.parquet", "images differ from the index")
    else:
        yield from _check_members(storage, folder, classes, index, about)
    rows = open_by_class(storage.path(f"{folder}/by_class.arrow"))
    if not np.array_equal(rows, np.argsort(index.label[:labeled], kind="stable")):
        yield Problem(f"{folder}/by_class.arrow", "is not the labeled rows in the order of labels")


def _check_members(
    storage: Storage, folder: str, classes: pa.Table, index: Index, about: dict[str, Any]
) -> Iterator[Problem]:
    """Check who is in each class, and that every label of a row is of the row's dataset."""
    members = read_table(storage, f"{folder}/members.parquet", MEMBERS_SCHEMA)
    labeled = [source for source in about["datasets"] if source["kind"] == "labeled"]
    names = pa.array([source["dataset"] for source in labeled])
    label = np.repeat(np.arange(len(classes)), pc.list_value_length(classes["datasets"]))
    listed = _pairs(label, pc.list_flatten(classes["datasets"]), names)
    if not np.array_equal(listed, _pairs(members["label"].to_numpy(), members["dataset"], names)):
        yield Problem(f"{folder}/members.parquet", "is not who the classes say is in them")
    for number, source in enumerate(labeled):
        rows = slice(source["first_row"], source["first_row"] + source["rows"])
        own = np.zeros(about["classes"], np.bool_)
        own[listed[listed % len(names) == number] // len(names)] = True
        if not own[index.label[rows]].all():
            where = f"{folder}/index.arrow"
            yield Problem(where, f"a label of {source['dataset']} is no class of it")


def _pairs(
    label: npt.NDArray[np.integer], dataset: pa.ChunkedArray, names: pa.Array
) -> npt.NDArray[np.int64]:
    """Give each pair of a label and a dataset once, as one number; -1 and less: no such dataset."""
    place = pc.fill_null(pc.index_in(dataset, value_set=names), -(2**31)).to_numpy()
    return np.unique(label.astype(np.int64) * len(names) + place)


def _check_sources(where: str, index: Index, about: dict[str, Any]) -> Iterator[Problem]:
    first = 0
    for source in about["datasets"]:
        rows = slice(first, first + source["rows"])
        first = rows.stop
        if not (index.source[rows] == source["dataset_index"]).all():
            yield Problem(where, f"rows of {source['dataset']} are not together")
        if source["labels"] is None and source["kind"] == "labeled":
            continue  # merged: no range, so the classes say which labels it may have
        begin, end = source["labels"] or (-1, 0)
        labels = index.label[rows]
        if not ((labels >= begin) & (labels < end)).all():
            yield Problem(
                where, f"a label of {source['dataset']} lies outside {begin} to {end - 1}"
            )


def _check_shards(storage: Storage, folder: str) -> Iterator[Problem]:
    index = open_index(storage.path(f"{folder}/index.arrow"))
    shards = read_table(storage, f"{folder}/shards.parquet", SHARDS_SCHEMA).to_pylist()
    ends = np.zeros(len(shards), np.int64)
    np.maximum.at(ends, index.shard, index.offset + index.length)
    for shard, end in zip(shards, ends.tolist(), strict=True):
        name = shard["path"]
        dataset, unit = name.split("/")[1], int(name[-10:-4])
        if not storage.exists(name):
            yield Problem(name, f"is missing, and {folder} reads it")
            continue
        yield from compare(name, "bytes", storage.size(name), shard["size"])
        record = read_record(storage, dataset, unit)
        if record is None or record.shard_sha256 != shard["sha256"]:
            yield Problem(name, f"is not the shard that {folder} was built from")
        if end > shard["size"]:
            yield Problem(f"{folder}/index.arrow", f"a row ends at byte {end} of {name}")
