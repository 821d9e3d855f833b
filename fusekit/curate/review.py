"""Apply a review: take a person's decisions back into a finding of its own.

The reviewed finding has the rows of the one it supersedes, with the decisions replaced, and says
who decided and when. In an overlap the people are joined anew.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fusekit.curate.people_clusters import Link, Node, join_people
from fusekit.errors import FindingError, UsageError
from fusekit.fingerprint import fingerprint
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.decisions import read_decisions
from fusekit.store.findings import (
    SCHEMAS,
    read_finding,
    read_finding_table,
    write_finding,
)
from fusekit.store.reviews import UNSURE, earlier_of, find_reviewable

if TYPE_CHECKING:
    import os

    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

_DECIDED_BY_A_PERSON: Final = 2.0  # added to a score: their links are joined first


@dataclass(frozen=True)
class ReviewResult:
    """What became of a review.

    Attributes:
        kind: The finding's kind.
        finding: Fingerprint of the reviewed finding; of the old one, if nothing was new.
        supersedes: Fingerprint of the finding whose place it takes; None: nothing was new.
        decided: Rows whose decision changed.
        left: Rows that are unsure now.
        contested: Pairs called the same that others of their people contradict: they are not
            joined. Of an overlap only.
        by: Who decided.
        at: When, UTC.
    """

    kind: str
    finding: str
    supersedes: str | None
    decided: int
    left: int
    contested: int
    by: str
    at: str

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit review --apply --json`` prints."""
        return {
            "finding": self.finding, "supersedes": self.supersedes, "decided": self.decided,
            "left": self.left, "contested": self.contested, "by": self.by, "at": self.at,
        }  # fmt: skip


def apply_review(
    finding: str,
    decisions: str | os.PathLike[str],
    *,
    by: str | None = None,
    store: str | os.PathLike[str] | None = None,
) -> ReviewResult:
    """Take a person's decisions back: write a finding with them that supersedes the reviewed one.

    Rows that the file leaves empty stay as they are, so that a review may be done in parts: the
    same file, filled in further, is applied again to what it gave before.

    Args:
        finding: First digits of the finding's fingerprint, its kind if there is only one of it,
            or both as ``overlap-3f2a``.
        decisions: The CSV file of :func:`fusekit.report.review_folder.export_review`, filled in.
        by: Who decided; None takes the login name.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.

    Returns:
        What was decided and what is left.

    Raises:
        FindingError: There is no such finding or several, it is stale, or the file is not of it
            or not well formed.
        UsageError: Nobody is named as the one who decided.
        StorageError: It can't be written.
    """
    storage = layout.open_store(store)
    old = find_reviewable(storage, finding)
    read = [open_dataset(storage, name) for name in sorted(old.about["inputs"])]
    table = read_finding_table(storage, old)
    file = Path(decisions)
    answers = read_decisions(file, old, earlier_of(storage, old), table.num_rows).rows
    if not answers:
        raise FindingError(
            file, "decides nothing", "an answer in the column decision of one row or more"
        )
    name, at = _reviewer(by), datetime.now(UTC).isoformat(timespec="seconds")
    before = table.column("decision").to_pylist()
    after = [answers.get(row, was) for row, was in enumerate(before)]
    decided = sum(a != b for a, b in zip(after, before, strict=True))
    reviewed, contested = _decided(storage, old, table, after, set(answers))
    left = reviewed.column("decision").to_pylist().count(UNSURE)
    if not decided:
        return ReviewResult(old.kind, old.fingerprint, None, 0, left, contested, name, at)
    about = {
        **old.about, "supersedes": old.fingerprint,
        "decisions": fingerprint([[row, answer] for row, answer in answers.items()]),
    }  # fmt: skip
    new = write_finding(
        storage, old.kind, about, reviewed, SCHEMAS[old.kind], {"by": name, "at": at}, read=read
    )
    return ReviewResult(
        old.kind, new.fingerprint, old.fingerprint, decided, left, contested, name, at
    )


def _decided(
    storage: Storage, old: Finding, table: pa.Table, decisions: list[str], answered: set[int]
) -> tuple[pa.Table, int]:
    """Put the decisions into the table, join an overlap's people anew, count contested pairs."""
    columns, contested = {"decision": decisions}, 0
    if old.kind == "overlap":
        first = _first_of(storage, old)
        asked = read_finding_table(storage, first, ["decision"]).column("decision").to_pylist()
        by_person = {
            row for row, (was, now) in enumerate(zip(asked, decisions, strict=True)) if was != now
        }
        columns, contested = _joined_anew(table, decisions, by_person | answered)
    for name, values in columns.items():
        field = table.schema.field(name)
        at = table.schema.get_field_index(name)
        table = table.set_column(at, field, pa.array(values, field.type))
    return table, contested


def _first_of(storage: Storage, finding: Finding) -> Finding:
    """Give the finding that no person has had a hand in."""
    line = earlier_of(storage, finding)
    return read_finding(storage, finding.kind, line[-1])


def _joined_anew(
    table: pa.Table, decisions: list[str], by_person: set[int]
) -> tuple[dict[str, list[Any]], int]:
    """Join the people of an overlap by its decisions.

    A person's links come first, and nothing but a pair that is said to differ speaks against
    one; a link of the machine's that loses is unsure, a person's keeps its word but joins nobody.
    """
    ends = _ends(table)
    scores = table.column("score").to_pylist()
    same = [row for row, decision in enumerate(decisions) if decision == "same"]
    differ = {frozenset(ends[row]) for row, word in enumerate(decisions) if word == "different"}
    links = [
        Link(*ends[row], scores[row] + (_DECIDED_BY_A_PERSON if row in by_person else 0))
        for row in same
    ]
    people = join_people(links, lambda a, b: frozenset((a, b)) not in differ)
    lost = {same[position] for position in people.contested}
    after = [
        UNSURE if row in lost and row not in by_person else decision
        for row, decision in enumerate(decisions)
    ]
    clusters = [
        people.cluster_of[ends[row][0]] if decision == "same" and row not in lost else -1
        for row, decision in enumerate(after)
    ]
    return {"decision": after, "cluster": clusters}, len(lost)


def _ends(table: pa.Table) -> list[tuple[Node, Node]]:
    sides = []
    for side in "ab":
        columns = (table.column(f"{name}_{side}") for name in ("dataset", "identity_index"))
        sides.append(list(zip(*(each.to_pylist() for each in columns), strict=True)))
    return list(zip(*sides, strict=True))


def _reviewer(by: str | None) -> str:
    name = by
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):
            name = ""
    if not name.strip():
        raise UsageError("--by", "nobody is named", "who decided")
    return name.strip()
