"""Who is the same person in other datasets, as fresh overlap findings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow.compute as pc

from fusekit.store.findings import list_findings, read_finding_table, stale_because

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

    Person: TypeAlias = tuple[str, str]

_COLUMNS: Final = ["dataset_a", "identity_a", "dataset_b", "identity_b", "decision"]


def linked_people(storage: Storage, people: set[Person], embedder: str | None) -> set[Person]:
    """Give the people of other datasets, and of the same, that are decided to be the same ones.

    Links are followed on: who is the same as one of the same is the same.

    Args:
        storage: The store.
        people: Dataset and identity of each.
        embedder: sha256 of the model whose findings count; None: all fresh ones do.

    Returns:
        The given ones and those that are linked with them.
    """
    links: dict[Person, set[Person]] = {}
    for finding in list_findings(storage, "overlap"):
        if not _is_by(finding, embedder) or stale_because(storage, finding) is not None:
            continue
        rows = read_finding_table(storage, finding, _COLUMNS)
        rows = rows.filter(pc.equal(rows["decision"], "same"))
        for row in rows.to_pylist():
            a = (row["dataset_a"], row["identity_a"])
            b = (row["dataset_b"], row["identity_b"])
            links.setdefault(a, set()).add(b)
            links.setdefault(b, set()).add(a)
    found, waiting = set(people), list(people)
    while waiting:
        new = links.get(waiting.pop(), set()) - found
        found |= new
        waiting += sorted(new)
    return found


def _is_by(finding: Finding, embedder: str | None) -> bool:
    model = finding.about.get("model")
    return embedder is None or (isinstance(model, dict) and model.get("sha256") == embedder)
