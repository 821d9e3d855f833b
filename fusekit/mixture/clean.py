"""Apply a label-noise finding: drop wrong labels, and see to classes that hold two people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusekit.mixture.evidence import check_matches, check_words, damaged, holds, keyed, told_of
from fusekit.mixture.exclude import TWO_PEOPLE

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from fusekit.mixture.candidates import Candidates, Mask
    from fusekit.mixture.rules import Clean
    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

_COLUMNS: Final = ("key", "identity_index", "flag", "cluster", "decision")
_FLAGS: Final = ("outlier", "split", "mislabeled")


def read_noise(storage: Storage, finding: Finding | None) -> pa.Table | None:
    """Read what a label-noise finding says; None: nothing was asked.

    Raises:
        FindingError: It is damaged, or says what this release does not know.
    """
    if finding is None:
        return None
    table = told_of(storage, finding, _COLUMNS)
    check_words(finding, table["flag"], _FLAGS, "flag")
    return table


def clean(rows: Candidates, asked: Clean, finding: Finding, table: pa.Table) -> dict[int, str]:
    """Take the rows that a label-noise finding says are wrong.

    Args:
        rows: Of the dataset; those of a second person that becomes a class get a new number.
        asked: What the recipe says.
        finding: The finding.
        table: From :func:`read_noise`.

    Returns:
        Identity index to reason, for classes that are left out whole.

    Raises:
        FindingError: It names samples that the dataset does not have, or is damaged.
    """
    check_matches(finding, rows.noise, keyed(table), rows.info.name)
    acts = holds(table, "decision", "drop")
    if asked.unsure == "drop":
        acts |= holds(table, "decision", "unsure")
    is_second = holds(table, "flag", "split")
    second = acts & is_second
    out = _of_rows(rows, acts & ~is_second)
    gone: npt.NDArray[np.int32] = np.empty(0, np.int32)
    match asked.split:
        case "largest":
            out |= _of_rows(rows, second)
        case "drop":
            gone = np.unique(rows.identities[_of_rows(rows, second)])
            out |= np.isin(rows.identities, gone)
        case "split":
            _split_off(rows, _of_rows(rows, second), finding, table)
        case "keep":
            pass
    rows.take("clean", out)
    return dict.fromkeys(gone.tolist(), TWO_PEOPLE)


def _of_rows(rows: Candidates, told: Mask) -> Mask:
    """Carry a truth of the finding's rows over to the dataset's."""
    if not len(told):
        return np.zeros(len(rows.noise), np.bool_)
    found: Mask = (rows.noise >= 0) & told[rows.noise]
    return found


def _split_off(rows: Candidates, second: Mask, finding: Finding, table: pa.Table) -> None:
    """Give each further person of a class a number of their own."""
    at = np.flatnonzero(second)
    clusters = table["cluster"].to_numpy()[rows.noise[at]]
    if (clusters < 1).any():
        raise damaged(finding, "splits off samples of no second cluster")
    pairs = np.stack([rows.identities[at], clusters], 1).reshape(-1, 2)
    people, which = np.unique(pairs, axis=0, return_inverse=True)
    rows.people = rows.identities.copy()
    rows.people[at] = rows.info.identities + which.ravel()
    rows.split = tuple((int(identity), int(cluster)) for identity, cluster in people)
