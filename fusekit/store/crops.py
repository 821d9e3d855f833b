"""Crops of a store by their keys, and some of a person's keys: what pictures are drawn from.

For few samples of many: the rows are looked up in the compacted manifests, and each shard that
holds one of them is opened once.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from fusekit.errors import StorageError, StoreError
from fusekit.rng import derive, permute
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Collection

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

RgbImage: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``(H, W, 3)``, red first."""

_PLACE: Final = ("key", "unit", "offset", "length", "format")
_A_UNIT: Final = 64


def read_crops(storage: Storage, dataset: str, keys: Collection[str]) -> dict[str, RgbImage]:
    """Read some crops of a dataset.

    Args:
        storage: The store.
        dataset: The dataset's name.
        keys: Which samples.

    Returns:
        Key to crop, uint8 ``(H, W, 3)`` RGB, in the order of ``keys``; samples that are erased or
        not there are left out.

    Raises:
        StoreError: The dataset is not ingested, a shard is missing, or a crop does not decode.
        StorageError: A manifest is missing or damaged.
    """
    found = _rows(storage, dataset, "key", keys, _PLACE) if keys else []
    found.sort(key=lambda row: (row["unit"], row["offset"]))
    crops: dict[str, RgbImage] = {}
    at = 0
    while at < len(found):
        unit, first = found[at]["unit"], at
        while at < len(found) and found[at]["unit"] == unit:
            at += 1
        crops |= _read_unit(storage, dataset, unit, found[first:at])
    return {key: crops[key] for key in keys if key in crops}


def pick_keys(
    storage: Storage,
    dataset: str,
    identities: Collection[str],
    most: int,
    *,
    without: Collection[str] = (),
) -> dict[str, list[str]]:
    """Pick some samples of each of some people: always the same ones, at random among all.

    Args:
        storage: The store.
        dataset: The dataset's name.
        identities: The people, as the dataset names them.
        most: How many of each.
        without: Keys that are not picked.

    Returns:
        Identity to at most ``most`` keys; identities without a stored sample are left out.

    Raises:
        StoreError: The dataset is not ingested.
        StorageError: A manifest is missing or damaged.
    """
    keys: dict[str, list[str]] = {}
    found = (
        _rows(storage, dataset, "identity", identities, ("key", "identity")) if identities else []
    )
    left_out = set(without)
    for row in found:
        if row["key"] not in left_out:
            keys.setdefault(row["identity"], []).append(row["key"])
    return {name: _choose(sorted(keys[name]), most) for name in identities if name in keys}


def sample_crops(storage: Storage, info: DatasetInfo, count: int) -> dict[str, RgbImage]:
    """Read a fixed random choice of a dataset's crops.

    A shard is a random sample of its dataset, so that few of them are opened: at least 64 crops
    are of one, where it has so many.

    Args:
        storage: The store.
        info: The dataset's record.
        count: How many; fewer when the dataset has fewer.

    Returns:
        Key to crop, uint8 ``(H, W, 3)`` RGB; erased samples are left out.

    Raises:
        StoreError: A shard is missing, or a crop does not decode.
        StorageError: A manifest is missing or damaged.
    """
    crops: dict[str, RgbImage] = {}
    if not info.units:
        return crops
    share = max(_A_UNIT, -(-count // max(info.units, 1)))
    for unit in permute(np.arange(info.units), info.units, derive("sample")).tolist():
        if len(crops) >= count:
            break
        part = layout.manifest_part(info.name, unit)
        rows = read_table(storage, part, MANIFEST_SCHEMA, list(_PLACE))
        stored = rows.filter(pc.greater(rows.column("length"), 0))
        wanted = min(share, count - len(crops), stored.num_rows)
        if wanted:
            picked = permute(np.arange(wanted), stored.num_rows, derive("sample", unit))
            chosen = stored.take(np.sort(picked.astype(np.int64)))
            crops |= _read_unit(storage, info.name, unit, chosen.to_pylist())
    return crops


def _choose(keys: list[str], most: int) -> list[str]:
    count = len(keys)
    picked = permute(np.arange(min(most, count)), count, derive("crops", count))
    return [keys[i] for i in picked.astype(np.int64).tolist()]


def _rows(
    storage: Storage, dataset: str, column: str, values: Collection[str], columns: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Give the rows whose column has one of the values; those of erased samples are left out."""
    info = open_dataset(storage, dataset)
    if not info.files:
        return []
    wanted = pc.field(column).isin(pa.array(sorted(set(values)), pa.string()))
    try:
        rows = pads.dataset([str(storage.path(file)) for file in info.files], format="parquet")
        table = rows.to_table(columns=list(columns), filter=wanted & (pc.field("length") > 0))
    except (pa.ArrowException, OSError) as error:
        found = f"has a manifest that can't be read ({str(error).splitlines()[0][:200]})"
        raise StorageError(dataset, found, None, "fusekit verify tells more") from None
    listed: list[dict[str, Any]] = table.to_pylist()
    return listed


def _read_unit(
    storage: Storage, dataset: str, unit: int, rows: list[dict[str, Any]]
) -> dict[str, RgbImage]:
    name = layout.shard(dataset, unit)
    if not storage.exists(name):
        raise StoreError(name, "is missing", None, f"fusekit verify {dataset} tells what else is")
    crops = {}
    with storage.path(name).open("rb") as shard:
        for row in rows:
            shard.seek(row["offset"])
            crops[row["key"]] = _decode(name, row, shard.read(row["length"]))
    return crops


def _decode(shard: str, row: dict[str, Any], data: bytes) -> RgbImage:
    crop: Any = None
    try:
        if row["format"] == "raw":
            crop = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            crop = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (ValueError, EOFError, cv2.error):
        crop = None
    if crop is None or crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3:
        where, expected = f"{shard}: {row['key']}", f"a {row['format']} crop"
        raise StoreError(where, "does not decode", expected, "fusekit verify tells what else")
    image: RgbImage = crop
    return image
