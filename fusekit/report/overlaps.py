"""Who is in several datasets: identities of each that others have too, from the findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from fusekit.store.findings import read_finding_table, stale_because

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding


@dataclass(frozen=True)
class Overlaps:
    """Identities of one dataset that are in another.

    Attributes:
        same: Dataset and other dataset to how many of the dataset's identities the other has too.
            What was compared and found empty is 0; what was not compared is not there.
        unsure: Likewise, of those that a person still has to decide on.
    """

    same: dict[tuple[str, str], int]
    unsure: dict[tuple[str, str], int]

    @property
    def rows(self) -> list[str]:
        """The datasets whose identities were compared, by name."""
        return sorted({row for row, _ in self.same})

    @property
    def columns(self) -> list[str]:
        """The datasets that they were compared with, by name."""
        return sorted({column for _, column in self.same})

    def as_json(self) -> list[dict[str, Any]]:
        """Give one JSON object for each pair that was compared."""
        return [
            {"dataset": a, "in": b, "same": count, "unsure": self.unsure[a, b]}
            for (a, b), count in sorted(self.same.items())
        ]


def count_overlaps(storage: Storage, findings: Sequence[Finding]) -> Overlaps:
    """Count who is in several datasets, by the overlap and contamination findings that hold.

    Stale findings and those that a review has superseded do not count. Where several findings
    speak of two datasets, an identity counts once.

    Args:
        storage: The store.
        findings: Of any kind.

    Raises:
        FindingError: A finding's table is missing or damaged.
    """
    replaced = {f.about.get("supersedes") for f in findings}
    people: dict[tuple[str, str], dict[str, set[str]]] = {}
    for finding in findings:
        if finding.kind not in ("overlap", "contamination"):
            continue
        if finding.fingerprint in replaced or stale_because(storage, finding):
            continue
        for pair in _compared(finding):
            people.setdefault(pair, {"same": set(), "unsure": set()})
        for row in _rows(storage, finding):
            for pair, identity in _sides(finding, row):
                if not identity:
                    continue  # erased
                found = people.setdefault(pair, {"same": set(), "unsure": set()})
                found[row["decision"]].add(identity)
    return Overlaps(
        same={pair: len(found["same"]) for pair, found in people.items()},
        unsure={pair: len(found["unsure"] - found["same"]) for pair, found in people.items()},
    )


def _compared(finding: Finding) -> list[tuple[str, str]]:
    if finding.kind == "contamination":
        others = sorted(set(finding.about["inputs"]) - set(finding.datasets))
        return [(dataset, other) for dataset in finding.datasets for other in others]
    names = finding.datasets
    pairs = [(a, b) for a in names for b in names if a != b]
    return pairs if len(names) > 1 else [(names[0], names[0])]


def _rows(storage: Storage, finding: Finding) -> list[dict[str, Any]]:
    if finding.kind == "contamination":
        columns = ["dataset", "identity", "evaluation", "decision"]
    else:
        columns = ["dataset_a", "identity_a", "dataset_b", "identity_b", "decision"]
    table = read_finding_table(storage, finding, columns)
    rows: list[dict[str, Any]] = table.filter(
        pc.not_equal(table.column("decision"), "different")
    ).to_pylist()
    return rows


def _sides(finding: Finding, row: dict[str, Any]) -> list[tuple[tuple[str, str], str]]:
    if finding.kind == "contamination":
        return [((row["dataset"], row["evaluation"]), row["identity"])]
    a, b = row["dataset_a"], row["dataset_b"]
    return [((a, b), row["identity_a"]), ((b, a), row["identity_b"])]
