"""What a finding's rows show to a person: for each person, identity or group, crops and words.

A sheet and a report draw the same evidence: this module only says what belongs together. Crops
that stand for a person are picked at random, always the same ones: a person's best pictures would
hide what a judgement has to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusekit.report.evidence_drafts import draft_evidence
from fusekit.store.crops import read_crops

if TYPE_CHECKING:
    import pyarrow as pa

    from fusekit.report.evidence_drafts import Draft
    from fusekit.report.evidence_people import SideDraft
    from fusekit.storage.folder import Storage
    from fusekit.store.crops import RgbImage
    from fusekit.store.findings import Finding


@dataclass(frozen=True)
class Picture:
    """One crop of the evidence.

    Attributes:
        dataset: The sample's dataset.
        key: Its key.
        image: uint8 ``(H, W, 3)`` RGB.
        note: What is to be said of this one; empty: nothing.
        mark: What its frame means, such as ``outlier``; empty: nothing.
    """

    dataset: str
    key: str
    image: RgbImage
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Side:
    """The crops on one side.

    Attributes:
        title: Whose they are.
        pictures: The crops, best first where that means anything.
    """

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Evidence:
    """One thing to judge.

    Attributes:
        decision: What the finding says of it: same, different, drop, keep or unsure; empty where
            the kind decides nothing.
        facts: What speaks for it, short phrases.
        left: Crops of one side.
        right: Crops of the other; None where there is only one side.
    """

    decision: str
    facts: tuple[str, ...]
    left: Side
    right: Side | None = None


def gather_evidence(
    storage: Storage, finding: Finding, rows: pa.Table, *, most: int = 6, pictures: bool = True
) -> list[Evidence]:
    """Gather what a finding's rows show.

    Args:
        storage: The store.
        finding: What they are rows of.
        rows: Some of its rows, in the order to show them; rows of one identity, group or cluster
            become one piece of evidence.
        most: Crops of a side.
        pictures: Whether crops are read at all; without them a side is its title.

    Raises:
        FindingError: The finding is of a kind that has no pictures.
        StoreError: A dataset of the finding is no longer there, or a crop does not decode.
    """
    drafts = draft_evidence(storage, finding, rows.to_pylist(), most)
    return _read(storage, drafts, pictures=pictures)


def _read(storage: Storage, drafts: list[Draft], *, pictures: bool) -> list[Evidence]:
    wanted: dict[str, dict[str, None]] = {}
    for _, _, *sides in drafts:
        for side in sides:
            for dataset, key in side.samples if side else ():
                wanted.setdefault(dataset, {})[key] = None
    crops = {
        name: read_crops(storage, name, keys) if pictures else {} for name, keys in wanted.items()
    }

    def finished(side: SideDraft) -> Side:
        pictures = tuple(
            Picture(dataset, key, crops[dataset][key], *side.notes.get((dataset, key), ()))
            for dataset, key in side.samples
            if key in crops[dataset]
        )
        return Side(side.title, pictures)

    return [
        Evidence(decision, facts, finished(left), None if right is None else finished(right))
        for decision, facts, left, right in drafts
    ]
