"""``--by``: the same measures for each group of people, and one threshold held against all.

A model that is as accurate in every group by that group's own threshold may still err ten times
as often in one of them in use, where all are judged by one threshold. So each group also has its
false and true accept rates at the thresholds of the whole set.

Reference:
    Wang et al., "Racial Faces in the Wild", ICCV 2019 (a protocol a group); Grother, Ngan and
    Hanaoka, "Face Recognition Vendor Test Part 3: Demographic Effects", NIST IR 8280, 2019
    (false match rates of groups at one threshold).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import UsageError
from fusekit.evaluation.verification import measure_pairs, without_folds
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.evaluation.scores import Numbers
    from fusekit.evaluation.verification import Missing, ScoredPairs, Verification
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

PROTOCOL: Final = "protocol"
"""What groups pairs by the protocol they are of, instead of by a column of the manifest."""
MOST_GROUPS: Final = 64


def check_group(by: str) -> str:
    """Give a column back if it can group.

    Raises:
        UsageError: The manifest has no such column, or it holds no texts or whole numbers.
    """
    columns = [f.name for f in MANIFEST_SCHEMA if _groups(f.type)]
    if by != PROTOCOL and by not in columns:
        raise UsageError("--by", repr(by), f"one of {', '.join([PROTOCOL, *columns])}")
    return by


def sample_groups(storage: Storage, info: DatasetInfo, by: str) -> tuple[list[str], Numbers]:
    """Give each sample's group.

    Args:
        storage: The store.
        info: The set's record.
        by: A column of the manifest.

    Returns:
        The groups' names, sorted, and the number of each sample's ``(N,)``; -1: it has none.

    Raises:
        UsageError: There are more than 64 groups.
    """
    parts = [
        read_table(storage, layout.manifest_part(info.name, unit), MANIFEST_SCHEMA, [by])[by]
        for unit in range(info.units)
    ]
    chunks = [chunk.cast(pa.string()) for part in parts for chunk in part.chunks]
    return _numbered(pa.concat_arrays([pa.array([], pa.string()), *chunks]), by)


def pair_groups(pairs: ScoredPairs, groups: Numbers) -> Numbers:
    """Give each pair's group (n,): that of both samples; -1 where they differ or one is missing."""
    if not len(groups):
        return np.full(len(pairs.a), -1, np.int64)
    a, b = groups[pairs.a], groups[pairs.b]
    return np.where((pairs.a >= 0) & (pairs.b >= 0) & (a == b), a, -1)


def protocol_groups(pairs: ScoredPairs) -> tuple[list[str], Numbers]:
    """Give the protocols' names and the number of each pair's (n,)."""
    if pairs.protocol is None:
        return [], np.full(len(pairs.a), -1, np.int64)
    return _numbered(pairs.protocol, PROTOCOL)


def measure_groups(
    pairs: ScoredPairs, names: Sequence[str], groups: Numbers, whole: Verification,
    fars: Sequence[float], missing: Missing,
) -> dict[str, Any]:  # fmt: skip
    """Work out the measures of each group.

    Args:
        pairs: Of the whole set.
        names: Of the groups.
        groups: ``(n,)`` each pair's group; -1: none, such as a pair across groups.
        whole: The whole set's measures: its thresholds are held against every group.
        fars: For TAR at FAR.
        missing: As for the whole set.

    Returns:
        Group to its measures, as the set's own, and ``at_whole``: of each FAR that the set has a
        threshold for, the group's ``far`` and ``tar`` at that threshold (None without such
        pairs). Groups without pairs are left out.
    """
    found = {}
    for number, name in enumerate(names):
        mine = pairs.take(groups == number)
        if not (~mine.missing).any():
            continue
        # A fold that has no pair of this group, or all of them, leaves no threshold to learn.
        scored = ~mine.missing
        few = any(not (scored & (mine.fold != f)).any() for f in np.unique(mine.fold))
        judged = measure_pairs(without_folds(mine) if few else mine, fars, missing)
        at_whole = {
            f"{rate.far:g}": {
                "far": _share(mine, rate.threshold, same=False),
                "tar": _share(mine, rate.threshold, same=True),
            }
            for rate in whole.rates
            if rate.threshold is not None
        }
        found[name] = judged.as_json() | {"at_whole": at_whole}
    return found


def _share(pairs: ScoredPairs, threshold: float, *, same: bool) -> float | None:
    chosen = pairs.scores[pairs.same == same]
    return float((chosen >= threshold).mean()) if len(chosen) else None


def _groups(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_integer(kind))


def _numbered(values: pa.Array, by: str) -> tuple[list[str], Numbers]:
    names = sorted(name for name in pc.unique(values).to_pylist() if name is not None)
    if len(names) > MOST_GROUPS:
        raise UsageError("--by", f"{by} has {len(names):,} values", f"{MOST_GROUPS} at most")
    at = pc.index_in(values, value_set=pa.array(names, pa.string()), skip_nulls=True)
    numbers: Numbers = at.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return names, numbers
