"""Samples of several datasets under one running number: their manifest rows and their crops."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fusekit.errors import ItemError, StoreError
from fusekit.faces.image import decode_image
from fusekit.faces.rewarp import Rewarp
from fusekit.fingerprint import digest16
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import sample_rows
from fusekit.store.tables import count_rows, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.faces.image import RgbImage
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

Rows = npt.NDArray[np.int64]

_PLACE: Final = ["key", "unit", "offset", "length", "format", "content_digest"]


@dataclass(frozen=True)
class NumberedRows:
    """The samples of several datasets, numbered one dataset behind another.

    Attributes:
        storage: The store.
        infos: The datasets.
        first_rows: The number of each one's first sample, and behind them the count of all.
    """

    storage: Storage
    infos: tuple[DatasetInfo, ...]
    first_rows: tuple[int, ...]

    @classmethod
    def of(cls, storage: Storage, infos: Sequence[DatasetInfo]) -> NumberedRows:
        """Number the samples of datasets, in this order.

        Raises:
            StorageError: A manifest is missing or damaged.
        """
        counts = [sample_rows(storage, info) for info in infos]
        return cls(storage, tuple(infos), tuple(accumulate(counts, initial=0)))

    def dataset_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Give the place among the datasets of each row's."""
        return np.searchsorted(np.array(self.first_rows), rows, "right") - 1

    def take(self, rows: Rows, columns: list[str]) -> pa.Table:
        """Read some columns of some rows.

        Args:
            rows: ``(n,)`` ascending numbers.
            columns: Of the manifest.

        Raises:
            StorageError: A manifest is missing or damaged.
        """
        parts = [pa.schema([MANIFEST_SCHEMA.field(c) for c in columns]).empty_table()]
        for info, first in zip(self.infos, self.first_rows, strict=False):
            at = first
            for name in info.files:
                end = at + count_rows(self.storage, name)
                begin, stop = np.searchsorted(rows, [at, end])
                if begin < stop:
                    table = read_table(self.storage, name, MANIFEST_SCHEMA, columns)
                    parts.append(table.take(pa.array(rows[begin:stop] - at)))
                at = end
        return pa.concat_tables(parts).combine_chunks()


class CropReader:
    """Reads single crops by their row number, as ArcFace crops; may be used by many threads.

    Args:
        numbered: The samples.
        rows: Those that will be asked for, ascending.

    Raises:
        StorageError: A manifest is missing or damaged.
    """

    def __init__(self, numbered: NumberedRows, rows: Rows) -> None:
        self._numbered, self._rows = numbered, rows
        self._places = numbered.take(rows, _PLACE)
        self._rewarps = [Rewarp.of(info.template) for info in numbered.infos]

    def __call__(self, row: int) -> RgbImage:
        """Read one crop: uint8 ``(112, 112, 3)`` RGB.

        Raises:
            StoreError: Its bytes are not those the manifest names, or do not decode.
            KeyError: The row was not named.
        """
        at = int(np.searchsorted(self._rows, row))
        if at == len(self._rows) or self._rows[at] != row:
            raise KeyError(row)
        place = self._places.slice(at, 1).to_pylist()[0]
        which = int(self._numbered.dataset_of(np.array([row]))[0])
        dataset = self._numbered.infos[which].name
        name = layout.shard(dataset, place["unit"])
        fix = f"fusekit verify {dataset} tells what else is"
        try:
            with self._numbered.storage.path(name).open("rb") as shard:
                shard.seek(place["offset"])
                data = shard.read(place["length"])
        except FileNotFoundError:
            raise StoreError(name, "is missing", None, fix) from None
        where = f"{name}: {place['key']}"
        if digest16(data) != place["content_digest"]:
            raise StoreError(where, "is not the crop that the manifest names", None, fix)
        return self._rewarps[which](_decode(where, data, place["format"]))


def _decode(where: str, data: bytes, fmt: str) -> RgbImage:
    try:
        if fmt == "raw":
            crop: RgbImage = np.load(io.BytesIO(data), allow_pickle=False)
            return crop
        return decode_image(data, where)
    except (ItemError, ValueError, EOFError) as error:
        found = error.found if isinstance(error, ItemError) else str(error)
        raise StoreError(where, f"does not decode ({found})", f"a {fmt} crop") from None
