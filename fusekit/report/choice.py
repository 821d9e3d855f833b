"""Which rows of a finding a person should see first, however many it has.

Only the columns that decide are read whole; the chosen rows are read afterwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from fusekit.errors import FindingError
from fusekit.store import layout
from fusekit.store.findings import SCHEMAS, read_finding_table

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

TOGETHER: Final = {"clusters": "cluster", "duplicates": "group", "label-noise": "identity"}
"""The column whose equal values are judged together, by kind; elsewhere a row stands alone."""

_DECIDING: Final = ("decision", "score", "activation", "cosine", "flag")
_NAMES: Final = ("key", "identity_a", "identity_b")
_URGENCY: Final = {"unsure": 0, "same": 1, "drop": 1}
_NOT_URGENT: Final = 2
_ENDS: Final = 6  # of a large cluster, so many of its nearest and of its furthest samples


@dataclass(frozen=True)
class Choice:
    """Rows of a finding to look at.

    Attributes:
        rows: In the order to show them; rows that are judged together follow each other.
        total: Persons, identities, groups or clusters that there are.
        decisions: Rows of the whole finding by what it says of them; of a clustering, samples in
            and of no cluster.
    """

    rows: pa.Table
    total: int
    decisions: dict[str, int]


def choose_rows(storage: Storage, finding: Finding, most: int) -> Choice:
    """Choose the rows of a finding that are worth looking at first.

    Unsure ones come first, then those that a recipe would act on, the least certain first. Of
    label noise the identities of two people come first, then those with most of it; of clusters
    the largest, with their nearest and furthest samples; of activations the samples on both sides
    of the threshold.

    Args:
        storage: The store.
        finding: The finding.
        most: Most persons, identities, groups or clusters.

    Raises:
        FindingError: The finding's table is missing or damaged.
    """
    wanted = {*_DECIDING, TOGETHER.get(finding.kind, "")}
    columns = [name for name in SCHEMAS[finding.kind].names if name in wanted]
    table = read_finding_table(storage, finding, columns)
    decided = _decided(finding, table)
    words, number = np.unique(decided, return_inverse=True)
    counts = dict(Counter(words[number].tolist())) if len(words) else {}
    group, groups = _groups(finding, table)
    order = _order(finding, table, decided, group)[:most]
    if finding.kind == "activation":
        order = order[np.argsort(-_column(table, "activation")[order], kind="stable")]
    place = np.full(groups, groups)
    place[order] = np.arange(len(order))
    chosen = np.flatnonzero(place[group] < groups)
    rank = np.lexsort((chosen, -_nearness(finding, table)[chosen], place[group[chosen]]))
    chosen = chosen[rank]
    if finding.kind == "clusters":
        chosen = chosen[_ends(group[chosen])]
    return Choice(_take(storage, finding, chosen), groups, dict(sorted(counts.items())))


def _decided(finding: Finding, table: pa.Table) -> npt.NDArray[Any]:
    """Give what a finding says of each row, as text."""
    match finding.kind:
        case "activation":
            out = _column(table, "activation") > float(finding.about["threshold"])
            cosine = finding.about.get("cosine_threshold")
            if cosine is not None:
                out &= _column(table, "cosine") > float(cosine)
            return np.where(out, "drop", "keep")
        case "clusters":
            return np.where(_column(table, "cluster") < 0, "alone", "in a cluster")
    return np.array(table.column("decision").to_pylist(), np.str_)


def _groups(finding: Finding, table: pa.Table) -> tuple[npt.NDArray[np.int64], int]:
    """Number what is judged together, from 0 in the order of the table: (N,), and how many."""
    name = TOGETHER.get(finding.kind)
    if name is None:
        return np.arange(table.num_rows), table.num_rows
    coded = pc.dictionary_encode(table.column(name)).combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.chunk(0)
    return coded.indices.to_numpy().astype(np.int64), len(coded.dictionary)


def _order(
    finding: Finding, table: pa.Table, decided: npt.NDArray[Any], group: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Give the groups in the order to show them: (G,)."""
    groups = int(group.max(initial=-1)) + 1
    if finding.kind == "clusters":
        cluster = np.zeros(groups, np.int64)
        cluster[group] = _column(table, "cluster")
        return np.lexsort((cluster, cluster < 0))
    if finding.kind == "activation":
        return _around_threshold(_column(table, "activation"), decided == "drop")
    urgency = np.full(groups, _NOT_URGENT)
    for word, urgent in _URGENCY.items():
        np.minimum.at(urgency, group[decided == word], urgent)
    certain = np.full(groups, np.inf)
    if finding.kind == "label-noise":  # two people in one first, then where most is wrong
        split = np.zeros(groups, bool)
        split[group[_column(table, "flag") == "split"]] = True
        return np.lexsort((-np.bincount(group, minlength=groups), urgency, ~split))
    if "score" in table.column_names:
        np.fmin.at(certain, group, _column(table, "score"))
    return np.lexsort((certain, urgency))


def _around_threshold(
    activation: npt.NDArray[np.float64], out: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Take turns between the least active that is out and the most active that stays: (N,)."""
    turn = np.zeros(len(activation), np.int64)
    for side, sign in ((out, 1.0), (~out, -1.0)):
        mine = np.flatnonzero(side)
        turn[mine[np.argsort(sign * activation[mine], kind="stable")]] = np.arange(len(mine))
    return np.lexsort((~out, turn))


def _nearness(finding: Finding, table: pa.Table) -> npt.NDArray[np.float64]:
    """Give what orders the rows of a group, largest first; zeros: as they stand."""
    if finding.kind == "clusters":
        return _column(table, "score")
    return np.zeros(table.num_rows)


def _ends(group: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark the first and the last few of each run of equal numbers: (N,)."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    lengths = np.diff(starts, append=len(group))
    at = np.arange(len(group)) - np.repeat(starts, lengths)
    marked: npt.NDArray[np.bool_] = (at < _ENDS) | (at >= np.repeat(lengths, lengths) - _ENDS)
    return marked


def _column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = table.column(name).to_numpy()
    return values


def _take(storage: Storage, finding: Finding, rows: npt.NDArray[np.int64]) -> pa.Table:
    name = f"{layout.finding(finding.kind, finding.fingerprint)}/table.parquet"
    try:
        table = pads.dataset(str(storage.path(name)), format="parquet").take(pa.array(rows))
        for column in _NAMES:
            if column in table.column_names:  # blank: erased
                table = table.filter(pc.not_equal(table.column(column), ""))
        return table.replace_schema_metadata(None).cast(SCHEMAS[finding.kind])
    except (pa.ArrowException, OSError):
        raise FindingError(name, "is damaged", None, "make the finding again") from None
