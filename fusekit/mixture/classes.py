"""The tables of a mixture's classes and of who is in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import MixtureError
from fusekit.schema import CLASSES_SCHEMA, IDENTITIES_SCHEMA, MEMBERS_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.mixture.labels import Labels
    from fusekit.mixture.select import Selection
    from fusekit.storage.folder import Storage


def class_tables(
    storage: Storage, selections: Sequence[Selection], labels: Labels
) -> tuple[pa.Table, pa.Table]:
    """Describe every label, in order, and who has it.

    A class of several identities is described by the first of them, in the order of sources and
    identity indexes.

    Args:
        storage: The store, for the identities' texts and names.
        selections: Of the labeled datasets.
        labels: Theirs.

    Returns:
        Tables of :data:`fusekit.schema.CLASSES` and :data:`fusekit.schema.MEMBERS`.

    Raises:
        MixtureError: A dataset's identities are damaged.
    """
    people = pa.concat_tables(
        [
            _people(storage, selection, labels.of_person[source], source)
            for source, selection in enumerate(selections)
        ]
    ).combine_chunks()
    order = np.argsort(people["label"].to_numpy(), kind="stable")
    people = people.take(pa.array(order))
    first = np.flatnonzero(np.diff(people["label"].to_numpy(), prepend=-1))
    classes = people.take(pa.array(first))
    columns: dict[str, Any] = {
        name: classes[name] for name in CLASSES_SCHEMA.names if name in classes.schema.names
    }
    columns["images"] = pa.array(labels.images, pa.int32())
    columns["first_row"] = pa.array(np.cumsum(labels.images) - labels.images, pa.int64())
    columns["datasets"] = _datasets(people, first)
    ordered = {name: columns[name] for name in CLASSES_SCHEMA.names}
    members = people.select(MEMBERS_SCHEMA.names).cast(MEMBERS_SCHEMA)
    return pa.table(ordered).cast(CLASSES_SCHEMA), members


def read_classes(
    storage: Storage, name: str, version: int, columns: list[str] | None = None
) -> pa.Table:
    """Read a mixture's classes.

    Args:
        storage: The store.
        name: The mixture.
        version: Of its format: classes of format 1 are of one dataset each.
        columns: Which columns; None for all of :data:`fusekit.schema.CLASSES`.

    Raises:
        StorageError: The table is not there or is damaged.
    """
    wanted = columns or CLASSES_SCHEMA.names
    file = f"{layout.mixture(name)}/classes.parquet"
    if version > 1 or "datasets" not in wanted:
        return read_table(storage, file, CLASSES_SCHEMA, wanted)
    stored = [each for each in wanted if each != "datasets"]
    table = read_table(storage, file, CLASSES_SCHEMA, list(dict.fromkeys([*stored, "dataset"])))
    one = pa.ListArray.from_arrays(
        np.arange(table.num_rows + 1, dtype=np.int32), table["dataset"].combine_chunks()
    )
    schema = pa.schema([CLASSES_SCHEMA.field(each) for each in wanted])
    return table.append_column("datasets", one).select(wanted).cast(schema)


def _people(
    storage: Storage, selection: Selection, labels: npt.NDArray[np.int32], source: int
) -> pa.Table:
    """Describe whoever of a dataset has a label: a row each, in the order of their numbers."""
    info = selection.info
    identities = read_table(storage, layout.identities(info.name), IDENTITIES_SCHEMA)
    numbers = identities["identity_index"].to_numpy()
    if not np.array_equal(numbers, np.arange(info.identities)):
        raise MixtureError(
            layout.identities(info.name), "its numbers are not 0, 1, 2, …", None,
            "fusekit verify tells what else is damaged",
        )  # fmt: skip
    if selection.split:
        identities = pa.concat_tables([identities, _split_off(identities, selection)])
    there = np.flatnonzero(labels >= 0)
    identities = identities.take(pa.array(there))
    return pa.table({
        "label": pa.array(labels[there], pa.int32()),
        "source_index": pa.array(np.full(len(there), source), pa.int16()),
        "dataset": pa.repeat(pa.scalar(info.name), len(there)),
        "dataset_index": pa.array(np.full(len(there), info.index), pa.int16()),
        "identity": identities["identity"],
        "identity_index": identities["identity_index"],
        "name": identities["name"],
    })  # fmt: skip


def _split_off(identities: pa.Table, selection: Selection) -> pa.Table:
    """Name the people who were split off: ``ann#2`` is the second person in the class of ann."""
    taken = set(identities["identity"].to_pylist())
    rows = []
    for index, cluster in selection.split:
        identity = identities["identity"][index].as_py()
        number = cluster + 1
        while f"{identity}#{number}" in taken:
            number += 1
        taken.add(f"{identity}#{number}")
        # Who the second person is, the dataset's table of names does not know.
        row = {"identity_index": index, "identity": f"{identity}#{number}", "name": None}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=IDENTITIES_SCHEMA)


def _datasets(people: pa.Table, first: npt.NDArray[np.int64]) -> pa.Array:
    """List each class's datasets once, in the order of source indexes."""
    label, source = people["label"].to_numpy(), people["source_index"].to_numpy()
    new = np.ones(len(label), np.bool_)
    new[1:] = (label[1:] != label[:-1]) | (source[1:] != source[:-1])
    names = pc.filter(people["dataset"], pa.array(new)).combine_chunks()
    counts = np.add.reduceat(new.astype(np.int32), first) if len(first) else first
    edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(edges), names)
