"""Who is the same person in other datasets, as fresh findings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow.compute as pc

from fusekit.store.findings import list_findings, read_finding_table, stale_because
from fusekit.store.reviews import latest

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

    Person: TypeAlias = tuple[str, str]

#: Kind to the columns of its pairs of people: dataset and identity of both, and the decision.
_PAIRS: Final = {
    "overlap": ["dataset_a", "identity_a", "dataset_b", "identity_b", "decision"],
    "contamination": ["dataset", "identity", "evaluation", "evaluation_identity", "decision"],
}


def linked_people(storage: Storage, people: set[Person], embedder: str | None) -> set[Person]:
    """Give the people of other datasets, and of the same, that are decided to be the same ones.

    Links are followed on: who is the same as one of the same is the same. Contamination findings
    link people of evaluation sets.

    Args:
        storage: The store.
        people: Dataset and identity of each.
        embedder: sha256 of the model whose findings count; None: all fresh ones do.

    Returns:
        The given ones and those that are linked with them.
    """
    links: dict[Person, set[Person]] = {}
    for finding in latest([f for kind in _PAIRS for f in list_findings(storage, kind)]):
        if not _is_by(finding, embedder) or stale_because(storage, finding) is not None:
            continue
        columns = _PAIRS[finding.kind]
        rows = read_finding_table(storage, finding, columns)
        rows = rows.filter(pc.equal(rows["decision"], "same"))
        for a, in_a, b, in_b in zip(*(rows[c].to_pylist() for c in columns[:4]), strict=True):
            if in_b is not None:  # the set has no identities, or a list does not say
                links.setdefault((a, in_a), set()).add((b, in_b))
                links.setdefault((b, in_b), set()).add((a, in_a))
    found, waiting = set(people), list(people)
    while waiting:
        new = links.get(waiting.pop(), set()) - found
        found |= new
        waiting += sorted(new)
    return found


def _is_by(finding: Finding, embedder: str | None) -> bool:
    model = finding.about.get("model")
    return embedder is None or (isinstance(model, dict) and model.get("sha256") == embedder)
