"""The rows of a mixture's tables: a dataset's manifest rows that are kept, with their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import MixtureError
from fusekit.schema import MANIFEST_SCHEMA, MIXTURE_ROWS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from fusekit.mixture.select import Selection
    from fusekit.storage.folder import Storage

_BATCH: Final = 65_536


def mixture_rows(
    storage: Storage,
    selection: Selection,
    labels: npt.NDArray[np.int32] | None,
    source_index: int,
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int32]]]:
    """Read a dataset's kept rows in plan order, a block at a time.

    Args:
        storage: The store.
        selection: The dataset and its kept rows.
        labels: Label of each person of the selection; None: unlabeled.
        source_index: The dataset's number in the mixture.

    Yields:
        Rows with the columns of :data:`fusekit.schema.MIXTURE_ROWS`, and their work units.

    Raises:
        MixtureError: The manifests' rows are not those that were selected from.
    """
    at = 0
    for block in _blocks(storage, selection):
        place = slice(at, at + block.num_rows)
        at = place.stop
        # Selected by SQL in the order of (unit, offset); written by the order in the files.
        same = np.array_equal(block["unit"].to_numpy(), selection.units[place]) and np.array_equal(
            block["identity_index"].to_numpy(), selection.identities[place]
        )
        if not same:
            raise MixtureError(
                selection.info.name, "its manifests are not in plan order", None,
                "fusekit verify tells what is damaged",
            )  # fmt: skip
        mask = selection.kept[place]
        if not mask.any():
            continue
        rows = block.filter(pa.array(mask))
        people = selection.people[place][mask]
        label = np.full(len(people), -1, np.int32) if labels is None else labels[people]
        rows = rows.append_column("label", pa.array(label))
        source = np.full(len(people), source_index, np.int16)
        rows = rows.append_column("source_index", pa.array(source))
        yield rows.cast(MIXTURE_ROWS_SCHEMA), selection.units[place][mask]


def _blocks(storage: Storage, selection: Selection) -> Iterator[pa.Table]:
    for name in selection.info.files:
        with pq.ParquetFile(storage.path(name)) as file:
            for batch in file.iter_batches(_BATCH, columns=MANIFEST_SCHEMA.names):
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
