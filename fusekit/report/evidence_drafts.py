"""What belongs together in a finding's rows, kind by kind: a draft of the evidence."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fusekit.errors import FindingError
from fusekit.report.evidence_people import People, SideDraft, display_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

Row: TypeAlias = dict[str, Any]
Draft: TypeAlias = tuple[str, tuple[str, ...], SideDraft, SideDraft | None]
"""Decision, facts, left side, right side."""

_FLAGS: Final = {
    "split": "of a second person", "mislabeled": "nearer to others", "outlier": "outliers",
}  # fmt: skip
_NAMES: Final = {True: "names agree", False: "names differ", None: ""}


def draft_evidence(storage: Storage, finding: Finding, rows: list[Row], most: int) -> list[Draft]:
    """Say what a finding's rows show, before any crop is read.

    Args:
        storage: The store.
        finding: What they are rows of.
        rows: In the order to show them; rows of one identity, group or cluster become one draft.
        most: Samples of a side.

    Raises:
        FindingError: The finding is of a kind that has no pictures.
        StoreError: A dataset of the finding is no longer there.
    """
    match finding.kind:
        case "overlap":
            return _overlap(storage, rows, most)
        case "contamination":
            return _contamination(storage, rows, most)
        case "label-noise":
            return _label_noise(storage, finding.datasets[0], rows, most)
        case "duplicates":
            return _duplicates(rows, most)
        case "clusters":
            return _clusters(finding.datasets[0], rows, most)
        case "activation":
            return _activation(storage, finding, rows, most)
        case other:
            raise FindingError(other, "is a kind of finding without pictures")


def _overlap(storage: Storage, rows: list[Row], most: int) -> list[Draft]:
    people = People(storage, most)
    for end in ("a", "b"):
        people.want((row[f"dataset_{end}"], row[f"identity_{end}"]) for row in rows)
    return [
        (
            row["decision"],
            _phrases(
                f"cosine {row['score']:.3f}",
                f"{row['votes']} of {row['compared']} image pairs agree",
                "" if row["margin"] is None else f"margin {row['margin']:.3f}",
                _NAMES[row["name_match"]],
            ),
            people.side(row["dataset_a"], row["identity_a"]),
            people.side(row["dataset_b"], row["identity_b"]),
        )
        for row in rows
    ]


def _contamination(storage: Storage, rows: list[Row], most: int) -> list[Draft]:
    people = People(storage, most)
    people.want((row["dataset"], row["identity"]) for row in rows)
    known = [row for row in rows if row["evaluation_identity"] is not None]
    people.want((row["evaluation"], row["evaluation_identity"]) for row in known)
    drafts: list[Draft] = []
    for row in rows:
        there = row["evaluation_identity"]
        facts = _phrases(
            f"by {row['reason'].replace('+', ' and ')}",
            "" if row["score"] is None else f"cosine {row['score']:.3f}",
            f"{row['votes']} of {row['compared']} image pairs agree" if row["compared"] else "",
            _NAMES[row["name_match"]],
        )
        right = (
            SideDraft(f"{row['evaluation']}: person not named", [])
            if there is None
            else people.side(row["evaluation"], there)
        )
        drafts.append((row["decision"], facts, people.side(row["dataset"], row["identity"]), right))
    return drafts


def _label_noise(storage: Storage, dataset: str, rows: list[Row], most: int) -> list[Draft]:
    groups = _grouped(rows, "identity")
    people = People(storage, most, without=[row["key"] for row in rows])
    people.want((dataset, identity) for identity in groups)
    others = {row["nearest_identity"] for row in rows if row["nearest_identity"] is not None}
    names = display_names(storage, dataset, others)
    drafts: list[Draft] = []
    for identity, flagged in groups.items():
        counts = {flag: sum(r["flag"] == flag for r in flagged) for flag in _FLAGS}
        facts = [f"{_FLAGS[flag]}: {count}" for flag, count in counts.items() if count]
        # The flags take turns, so that a long one does not hide the others.
        turns = sorted(
            (n, place, row)
            for place, flag in enumerate(_FLAGS)
            for n, row in enumerate(r for r in flagged if r["flag"] == flag)
        )
        right = SideDraft(f"flagged, {len(flagged)} in all", [])
        for row in [row for _, _, row in turns][:most]:
            sample = (dataset, row["key"])
            right.samples.append(sample)
            note = f"{row['flag']} {row['score']:.2f}"
            if row["flag"] == "mislabeled" and row["nearest_identity"] is not None:
                nearest = names.get(row["nearest_identity"], row["nearest_identity"])
                note = f"{nearest} {row['nearest_score']:.2f}"
            right.notes[sample] = (note, row["flag"])
        decided = {row["decision"] for row in flagged}
        decision = decided.pop() if len(decided) == 1 else "unsure"
        drafts.append((decision, tuple(facts), people.side(dataset, identity), right))
    return drafts


def _duplicates(rows: list[Row], most: int) -> list[Draft]:
    drafts: list[Draft] = []
    for copies in _grouped(rows, "group").values():
        ordered = sorted(
            copies, key=lambda r: (not r["best"], -r["quality"], r["dataset"], r["key"])
        )
        side = SideDraft(f"{len(copies)} copies, best first", [])
        for row in ordered[:most]:
            sample = (row["dataset"], row["key"])
            side.samples.append(sample)
            where = f"{row['dataset']}: {row['identity']}" if row["identity"] else row["dataset"]
            side.notes[sample] = (where, "best" if row["best"] else row["decision"])
        matches = sorted({row["match"] for row in copies if not row["best"]})
        apart = max(row["distance"] for row in copies)
        cosines = [row["cosine"] for row in copies if row["cosine"] is not None]
        facts = _phrases(
            f"found by {' and '.join(matches)}" if matches else "",
            f"at most {apart} bits apart" if apart else "",
            f"cosine from {min(cosines):.3f}" if cosines else "",
            "conflict: different identities" if ordered[0]["conflict"] else "",
        )
        decided = {row["decision"] for row in copies}
        drafts.append(("unsure" if "unsure" in decided else "drop", facts, side, None))
    return drafts


def _clusters(dataset: str, rows: list[Row], most: int) -> list[Draft]:
    drafts: list[Draft] = []
    for cluster, members in _grouped(rows, "cluster").items():
        title = "alone, of no cluster" if cluster < 0 else f"cluster {cluster}"
        side = SideDraft(title, [])
        # The nearest to the centre and the furthest: the doubtful ones are at the end.
        ordered = sorted(members, key=lambda row: (-row["score"], row["key"]))
        half = -(-most // 2)
        shown = ordered if len(ordered) <= most else ordered[:half] + ordered[-(most - half) :]
        for row in shown:
            sample = (dataset, row["key"])
            side.samples.append(sample)
            side.notes[sample] = (f"{row['score']:.2f}" if cluster >= 0 else "", "")
        facts: tuple[str, ...] = ()
        if cluster >= 0:
            least, best = ordered[-1]["score"], ordered[0]["score"]
            facts = (f"{members[0]['size']} samples", f"cosine {least:.2f} to {best:.2f}")
        drafts.append(("", facts, side, None))
    return drafts


def _activation(storage: Storage, finding: Finding, rows: list[Row], most: int) -> list[Draft]:
    (dataset,) = finding.datasets
    people = People(storage, most)
    people.want((row["nearest_dataset"], row["nearest_identity"]) for row in rows)
    threshold, cosine = finding.about["threshold"], finding.about.get("cosine_threshold")
    drafts: list[Draft] = []
    for row in rows:
        out = row["activation"] > threshold and (cosine is None or row["cosine"] > cosine)
        facts = _phrases(
            f"activation {row['activation']:.3f}",
            f"cosine {row['cosine']:.3f}",
            row["low_quality"] or "",
            "a copy of another" if row["duplicate_of"] else "",
        )
        sample = (dataset, row["key"])
        left = SideDraft(dataset, [sample])
        right = people.side(row["nearest_dataset"], row["nearest_identity"])
        drafts.append(("drop" if out else "keep", facts, left, right))
    return drafts


def _grouped(rows: Sequence[Row], column: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for value, run in groupby(rows, key=lambda row: row[column]):
        groups.setdefault(value, []).extend(run)
    return groups


def _phrases(*phrases: str) -> tuple[str, ...]:
    return tuple(phrase for phrase in phrases if phrase)
