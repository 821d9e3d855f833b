"""What else is wrong with unlabeled samples: too poor to learn from, or a copy of another.

The filter writes both beside the activations. They change neither what it keeps nor what it
drops: a recipe applies them where it says ``drop: [low-quality, duplicate]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fusekit.curate import crop_quality
from fusekit.curate.copy_groups import Components
from fusekit.curate.crop_quality import QUALITY_COLUMNS, quality
from fusekit.curate.exact_copies import find_exact
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import records
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

REASONS: Final = {
    "small": ("eye_distance", -np.inf, 10.0),
    "blurred": ("sharpness", -np.inf, 20.0),
    "dark": ("brightness", -np.inf, 20.0),
    "bright": ("brightness", 220.0, np.inf),
    "compressed": ("jpeg_quality", -np.inf, 20.0),
}
"""Reason: the manifest's column, and the open interval in which a poor crop's number lies.

A crop is ``small`` under 10 pixels between the eyes (it was enlarged 3.5 times), ``blurred``
under a sharpness of 20, ``dark`` under a brightness of 20 and ``bright`` over 220 of 255, and
``compressed`` under a JPEG quality of 20. What is not known is not held against a crop.
"""
_COLUMNS: Final = ["key", "length", *QUALITY_COLUMNS]


def make_flags(storage: Storage, info: DatasetInfo) -> tuple[pa.StringArray, pa.StringArray]:
    """Flag the samples of a dataset.

    Copies are those of :func:`~fusekit.curate.exact_copies.find_exact`: the same bytes of crop
    or raw item. Copies that were saved anew take a comparison of pictures: ``fusekit dedup``.

    Args:
        storage: The store.
        info: The dataset.

    Returns:
        ``low_quality`` and ``duplicate_of``, ``(N,)`` each, in the manifest's order: reasons
        joined by commas, and the key of the best copy; null where nothing is wrong.

    Raises:
        StorageError: A manifest is missing or damaged.
        StoreError: The manifests can't be compared.
    """
    rows = pa.concat_tables([
        MANIFEST_SCHEMA.empty_table().select(_COLUMNS),
        *(
            read_table(storage, layout.manifest_part(info.name, r.unit), MANIFEST_SCHEMA, _COLUMNS)
            for r in records(storage, info.name, info.units)
        ),
    ])  # fmt: skip
    return low_quality(rows), _duplicates(storage, info, rows)


def about_flags() -> dict[str, object]:
    """Give what the flags depend on, for the finding's description."""
    limits = {
        reason: [column, *(None if np.isinf(edge) else edge for edge in (low, high))]
        for reason, (column, low, high) in REASONS.items()
    }
    return {"low_quality": limits, "quality": crop_quality.VERSION}


def low_quality(rows: pa.Table) -> pa.StringArray:
    """Say what makes crops too poor to learn from: ``(N,)`` texts such as ``small,blurred``.

    Args:
        rows: With ``length`` and the columns of :data:`REASONS`, as in the manifest.
    """
    there = rows.column("length").to_numpy() > 0  # nothing is said of erased samples
    poor = np.zeros(rows.num_rows, np.int64)  # a bit for each reason
    for bit, (column, low, high) in enumerate(REASONS.values()):
        values = rows.column(column).to_numpy().astype(np.float64)  # null comes as nan
        poor |= (there & (values > low) & (values < high)).astype(np.int64) << bit
    texts = [
        ",".join(reason for bit, reason in enumerate(REASONS) if mask >> bit & 1) or None
        for mask in range(1 << len(REASONS))
    ]
    return pa.array(texts, pa.string()).take(pa.array(poor))


def _duplicates(storage: Storage, info: DatasetInfo, rows: pa.Table) -> pa.StringArray:
    copies = Components()
    found = find_exact(storage, [info], [0]) if rows.num_rows else {}
    for pairs in found.values():
        for a, b in pairs.tolist():
            copies.add(a, b)
    grades = quality(rows)
    best_of = np.full(rows.num_rows, -1)  # row of the best copy; -1: the sample itself
    for group in copies.members():
        best = max(group, key=lambda row: (grades[row], -row))  # of equal ones the first
        best_of[[row for row in group if row != best]] = best
    keys = rows.column("key").combine_chunks()
    return keys.take(pa.array(best_of, mask=best_of < 0))
