"""Findings that a person may decide on: which they are, how one is named, what became of it.

A review never changes a finding: it writes a new one that supersedes it. The findings of one line
have the same rows in the same order and differ in their decisions only, so a row's number names
it in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from fusekit.errors import FindingError
from fusekit.store.findings import (
    SCHEMAS,
    list_findings,
    read_finding_table,
    stale_because,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

UNSURE: Final = "unsure"
DECISIONS: Final = {
    "contamination": ("same", "different", UNSURE),
    "duplicates": ("keep", "drop", UNSURE),
    "label-noise": ("keep", "drop", UNSURE),
    "overlap": ("same", "different", UNSURE),
}
"""What a row may be decided to be, by kind; a kind that is not here has no decisions."""
SHOWN: Final = 12  # digits of a fingerprint, as everywhere


@dataclass(frozen=True)
class Reviewable:
    """A finding with decisions, and how many of them are left.

    Attributes:
        finding: The finding.
        rows: How many it has.
        unsure: Those on which a person has to decide.
        stale: What changed in its inputs since; None: it holds.
    """

    finding: Finding
    rows: int
    unsure: int
    stale: str | None

    def as_json(self) -> dict[str, Any]:
        """Give it as one of the objects that ``fusekit review --json`` lists."""
        return {
            "finding": self.finding.fingerprint, "kind": self.finding.kind,
            "datasets": list(self.finding.datasets), "rows": self.rows, "unsure": self.unsure,
            "stale": self.stale, "review": self.finding.review,
        }  # fmt: skip


def list_reviewable(storage: Storage) -> list[Reviewable]:
    """List the findings that have decisions, without those that a review has superseded.

    Args:
        storage: The store.

    Returns:
        By kind and fingerprint.

    Raises:
        FindingError: A finding is damaged.
    """
    return [
        Reviewable(f, *count_rows(storage, f), stale_because(storage, f))
        for f in latest(list_findings(storage))
        if f.kind in DECISIONS
    ]


def count_rows(storage: Storage, finding: Finding) -> tuple[int, int]:
    """Count a finding's rows, and those that are unsure.

    Raises:
        FindingError: The table is missing or damaged.
    """
    decisions = read_finding_table(storage, finding, ["decision"]).column("decision")
    return len(decisions), pc.sum(pc.equal(decisions, UNSURE)).as_py() or 0


def latest(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out the findings that another one of them supersedes."""
    replaced = {f.about.get("supersedes") for f in findings}
    return [f for f in findings if f.fingerprint not in replaced]


def find_reviewable(storage: Storage, name: str) -> Finding:
    """Find the finding that a person means, in its newest version.

    Args:
        storage: The store.
        name: First digits of its fingerprint or of an earlier version's, or its kind if there is
            only one of the kind, or both as ``overlap-3f2a``.

    Raises:
        FindingError: There is none, there are several, it has no decisions, or it is stale.
    """
    findings = list_findings(storage)
    named = _named(findings, name.lower())
    newest = {f.fingerprint: f for each in named for f in newest_of(findings, each)}
    if not newest:
        able = latest([f for f in findings if f.kind in DECISIONS])
        raise FindingError(
            name, "no finding has this kind or these first digits",
            "one of " + _listed(able) if able else None, "fusekit review lists them",
        )  # fmt: skip
    if len(newest) > 1:
        raise FindingError(
            name, f"{len(newest)} findings: {_listed(list(newest.values()))}", "one",
            "give the first digits of its fingerprint",
        )  # fmt: skip
    finding = next(iter(newest.values()))
    shown = f"{finding.kind}-{finding.fingerprint[:SHOWN]}"
    if finding.kind not in DECISIONS:
        raise FindingError(
            shown, f"{finding.kind} findings have no decisions", " or ".join(sorted(DECISIONS))
        )
    if why := stale_because(storage, finding):
        raise FindingError(shown, f"is stale: {why}", None, "make it again, then review that")
    return finding


def newest_of(findings: Sequence[Finding], finding: Finding) -> list[Finding]:
    """Follow a finding to those that stand in its place: itself, if nothing supersedes it."""
    later = [f for f in findings if f.about.get("supersedes") == finding.fingerprint]
    return [end for f in later for end in newest_of(findings, f)] if later else [finding]


def earlier_of(storage: Storage, finding: Finding) -> list[str]:
    """Give the fingerprints of a finding and of all that it has superseded, newest first."""
    known = {f.fingerprint: f for f in list_findings(storage, finding.kind)}
    line = [finding.fingerprint]
    while (older := known[line[-1]].about.get("supersedes")) in known:
        line.append(str(older))
    return line


def _named(findings: Sequence[Finding], name: str) -> list[Finding]:
    if name in SCHEMAS:
        return [f for f in findings if f.kind == name]
    for kind in SCHEMAS:
        if name.startswith(f"{kind}-"):
            digits = name.removeprefix(f"{kind}-")
            return [f for f in findings if f.kind == kind and f.fingerprint.startswith(digits)]
    return [f for f in findings if name and f.fingerprint.startswith(name)]


def _listed(findings: Sequence[Finding]) -> str:
    return ", ".join(
        f"{f.kind}-{f.fingerprint[:SHOWN]} of {' and '.join(f.datasets)}" for f in findings
    )
