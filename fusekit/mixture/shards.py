"""The shards that a mixture reads, numbered in the order in which its index meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fusekit.errors import MixtureError
from fusekit.schema import SHARDS_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.mixture.select import Selection
    from fusekit.storage.folder import Storage


def list_shards(
    storage: Storage, selections: Sequence[Selection]
) -> tuple[pa.Table, list[npt.NDArray[np.int32]]]:
    """Number the shards that have a kept row.

    Args:
        storage: The store, for the shards' digests in their units' records.
        selections: Of all sources, in order.

    Returns:
        The table of shards, and for each source the shard's number of each of its work units
        (-1: no row of it is kept).

    Raises:
        MixtureError: A unit's record is missing.
    """
    rows: list[dict[str, Any]] = []
    numbers = []
    for selection in selections:
        info = selection.info
        of_unit = np.full(info.units, -1, np.int32)
        for unit in np.unique(selection.units[selection.kept]).tolist():
            record = read_record(storage, info.name, unit)
            if record is None or not record.samples:
                where = layout.manifest_part(info.name, unit)
                raise MixtureError(
                    where, "has no samples but the manifest does", None, "fusekit verify"
                )
            of_unit[unit] = len(rows)
            rows.append({
                "shard": len(rows), "path": layout.shard(info.name, unit),
                "sha256": record.shard_sha256, "size": record.shard_size,
            })  # fmt: skip
        numbers.append(of_unit)
    return pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA), numbers
