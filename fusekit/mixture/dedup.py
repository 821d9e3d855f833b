"""Apply a duplicates finding over all datasets of a mixture: one copy of each picture stands.

Which copy stands is decided among those that are left when the rule's turn comes. So a picture is
never lost because its best copy fell to an earlier rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.mixture.evidence import check_matches, holds, keyed, told_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.mixture.candidates import Candidates, Mask
    from fusekit.mixture.rules import Dedup
    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

_COLUMNS: Final = (
    "group", "dataset", "key", "identity", "quality", "conflict", "decision",
)  # fmt: skip


def read_copies(storage: Storage, finding: Finding | None) -> pa.Table | None:
    """Read what a duplicates finding says; None: nothing was asked.

    Raises:
        FindingError: It is damaged, or says what this release does not know.
    """
    return None if finding is None else told_of(storage, finding, _COLUMNS)


def copies_of(table: pa.Table | None, dataset: str) -> pa.Table | None:
    """Give ``key`` and ``row`` of a finding's copies in one dataset; None: nothing was asked."""
    if table is None:
        return None
    return keyed(table, np.flatnonzero(holds(table, "dataset", dataset)))


def dedup(sources: Sequence[Candidates], asked: Dedup, finding: Finding, table: pa.Table) -> None:
    """Take the copies that do not stand.

    Args:
        sources: The rows of every dataset, in the order of source indexes.
        asked: What the recipe says.
        finding: The finding.
        table: From :func:`read_copies`.

    Raises:
        FindingError: It names samples that a dataset does not have.
    """
    left = np.zeros(table.num_rows, np.bool_)
    labeled = np.zeros(table.num_rows, np.bool_)
    place = np.zeros(table.num_rows, np.int64)
    first = 0
    for rows in sources:
        wanted = copies_of(table, rows.info.name)
        if wanted is not None:
            check_matches(finding, rows.copies, wanted, rows.info.name)
        here = rows.copies >= 0
        at = rows.copies[here]
        left[at] = rows.kept[here]
        labeled[at] = rows.info.kind == "labeled"
        place[at] = first + np.flatnonzero(here)
        first += len(rows.kept)
    out = _fallen(_groups(table, across=asked.across), left, labeled, place, table, asked)
    for rows in sources:
        taken = np.zeros(len(rows.kept), np.bool_)
        here = rows.copies >= 0
        taken[here] = out[rows.copies[here]]
        rows.take("dedup", taken)


def _groups(table: pa.Table, *, across: bool) -> npt.NDArray[np.int64]:
    """Number the groups densely: the finding's, or each dataset's part of one."""
    columns = [table["group"].to_numpy().astype(np.int64)]
    if not across:
        columns.append(_codes(table, "dataset"))
    if not table.num_rows:
        return np.empty(0, np.int64)
    stacked = np.stack(columns, 1)
    numbers: npt.NDArray[np.int64] = np.unique(stacked, axis=0, return_inverse=True)[1].ravel()
    return numbers


def _fallen(
    group: npt.NDArray[np.int64],
    left: Mask,
    labeled: Mask,
    place: npt.NDArray[np.int64],
    table: pa.Table,
    asked: Dedup,
) -> Mask:
    """Say which of the finding's rows are taken out of the mixture.

    A copy with a label goes before one without: an unlabeled picture of a known person is no
    stranger. Among equals the finding's own choice stands, else the best of those that are left.
    """
    count = int(group.max(initial=-1)) + 1
    disputed = np.zeros(count, np.bool_)
    if asked.conflicts == "drop":
        disputed = _disputed(group, count, table)
    out = left & disputed[group]
    # Of an unsure row nobody knows yet that it is a copy: it stays, and stands for no other.
    member = left & ~disputed[group] & ~holds(table, "decision", "unsure")
    known = np.zeros(count, np.bool_)
    known[group[member & labeled]] = True
    eligible = member & (labeled | ~known[group])
    chosen = eligible & holds(table, "decision", "keep")
    has_chosen = np.zeros(count, np.bool_)
    has_chosen[group[chosen]] = True
    rest = np.flatnonzero(eligible & ~has_chosen[group])
    quality = table["quality"].to_numpy()
    order = rest[np.lexsort((place[rest], -quality[rest], group[rest]))]
    best = order[np.diff(group[order], prepend=-1) > 0]
    chosen[best] = True
    return out | (member & ~chosen)


def _disputed(group: npt.NDArray[np.int64], count: int, table: pa.Table) -> Mask:
    """Say of each group whether its copies show different identities."""
    disputed = np.zeros(count, np.bool_)
    disputed[group[table["conflict"].to_numpy(zero_copy_only=False)]] = True
    # A dataset's part of a group may hold one identity alone.
    people = np.stack([group, _codes(table, "dataset"), _codes(table, "identity")], 1)
    distinct = np.unique(people, axis=0)[:, 0] if table.num_rows else group
    return disputed & (np.bincount(distinct, minlength=count) > 1)


def _codes(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    column = table[name].combine_chunks()
    codes = pc.fill_null(column.dictionary_encode().indices, -1)
    found: npt.NDArray[np.int64] = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
