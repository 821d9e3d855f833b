"""Number the classes of a mixture: each labeled dataset gets one contiguous range of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fusekit.errors import MixtureError
from fusekit.schema import CLASSES_SCHEMA, IDENTITIES_SCHEMA, MEMBERS_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.mixture.select import Selection
    from fusekit.storage.folder import Storage

_MAX_LABELS: Final = 2**31 - 1


@dataclass(frozen=True)
class LabelRange:
    """The labels of one labeled dataset.

    Attributes:
        first: Its first label.
        end: One past its last.
        of_identity: Label of each identity index, int32; -1: no image of it is left.
        images: Rows of each label, ``(end - first,)``.
    """

    first: int
    end: int
    of_identity: npt.NDArray[np.int32]
    images: npt.NDArray[np.int64]


def number_labels(selections: Sequence[Selection]) -> list[LabelRange]:
    """Number the identities that have an image left, dataset by dataset, in identity order.

    Args:
        selections: Of the labeled datasets, in the recipe's order.

    Raises:
        MixtureError: There are more labels than 32 bits hold.
    """
    ranges, first = [], 0
    for selection in selections:
        people = selection.identities[selection.kept]
        images = np.bincount(people, minlength=selection.info.identities)
        present = images > 0
        of_identity = np.where(present, first + np.cumsum(present) - 1, -1)
        end = first + int(np.count_nonzero(present))
        if end > _MAX_LABELS:
            raise MixtureError(selection.info.name, f"{end} labels", f"at most {_MAX_LABELS}")
        ranges.append(LabelRange(first, end, of_identity.astype(np.int32), images[present]))
        first = end
    return ranges


def class_table(
    storage: Storage, selections: Sequence[Selection], ranges: Sequence[LabelRange]
) -> pa.Table:
    """Describe every label: one row each, in order.

    Args:
        storage: The store, for the identities' texts and names.
        selections: Of the labeled datasets.
        ranges: Theirs.

    Raises:
        MixtureError: A dataset's identities are damaged.
    """
    tables, first_row = [], 0
    for source, (selection, labels) in enumerate(zip(selections, ranges, strict=True)):
        info = selection.info
        indexes = np.flatnonzero(labels.of_identity >= 0)
        people = read_table(storage, layout.identities(info.name), IDENTITIES_SCHEMA)
        numbers = people["identity_index"].to_numpy()
        if not np.array_equal(numbers, np.arange(len(labels.of_identity))):
            raise MixtureError(
                layout.identities(info.name), "its numbers are not 0, 1, 2, …", None,
                "fusekit verify tells what else is damaged",
            )  # fmt: skip
        people = people.take(pa.array(indexes))
        rows = labels.end - labels.first
        starts = first_row + np.cumsum(labels.images) - labels.images
        first_row += int(labels.images.sum())
        tables.append(
            pa.table(
                [
                    pa.array(np.arange(labels.first, labels.end), pa.int32()),
                    pa.array(np.full(rows, source), pa.int16()),
                    pa.array([info.name] * rows, pa.string()),
                    pa.array(np.full(rows, info.index), pa.int16()),
                    people["identity"],
                    people["identity_index"],
                    people["name"],
                    pa.array(labels.images, pa.int32()),
                    pa.array(starts, pa.int64()),
                ],
                schema=CLASSES_SCHEMA,
            )
        )
    return pa.concat_tables(tables)


def member_table(classes: pa.Table) -> pa.Table:
    """List who has each label: every class has one member unless labels are merged."""
    return classes.select(MEMBERS_SCHEMA.names).cast(MEMBERS_SCHEMA)
