"""What stands out in a report: sentences that say what to look at, each with its number."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.report.material import FindingMaterial, Material

_SIGNED: Final = 2.0  # times chance: where a probe is that good, it is worth a word


def remarks(material: Material) -> list[str]:
    """Say what stands out: who should not be there, then what is not known, then what looks odd.

    Args:
        material: Of the report.
    """
    fresh = [told for told in material.findings if told.state == "fresh"]
    return [
        *(words for told in fresh for words in _finding(told)),
        *_unchecked(material, fresh),
        *_stale(material),
        *_rejects(material),
        *(
            f"{d.info.name} is unlike the others: {'; '.join(d.looks.alone)}."
            for d in material.datasets
            if d.looks.alone
        ),
        *_signature(material),
    ]


def _finding(told: FindingMaterial) -> Iterator[str]:
    names = ", ".join(told.finding.datasets)
    same, unsure = told.decisions.get("same", 0), told.decisions.get("unsure", 0)
    drop = told.decisions.get("drop", 0)
    match told.finding.kind:
        case "contamination" if same:
            yield (
                f"{names} and evaluation sets have people in common ({_count(same, 'row')}); a "
                "recipe leaves them out by exclude."
            )
        case "overlap" if same:
            yield (
                f"{names} have people in common ({_count(same, 'pair')} of identities); a recipe "
                "joins them by labels: merge."
            )
        case "label-noise" if drop:
            yield f"{names}: {_count(drop, 'sample')} with a wrong label, it seems."
        case "duplicates" if drop:
            yield f"{names}: {_count(drop, 'copy', 'copies')} of better samples."
        case "activation" if drop:
            yield f"{names}: {_count(drop, 'sample')} of people who are known already."
    if unsure:
        yield (
            f"{told.finding.kind} of {names}: a person has to decide on {_count(unsure, 'row')}, "
            "by fusekit review."
        )


def _unchecked(material: Material, fresh: list[FindingMaterial]) -> Iterator[str]:
    kinds = {d.info.name: d.info.kind for d in material.datasets}
    labeled = sorted(name for name, kind in kinds.items() if kind == "labeled")
    compared = {frozenset(pair) for pair in material.overlaps.same}
    missing = [f"{a} and {b}" for a, b in combinations(labeled, 2) if {a, b} not in compared]
    if missing:
        yield f"Not compared for people in common: {', '.join(missing)}."
    held = {told.finding.datasets[0] for told in fresh if told.finding.kind == "activation"}
    open_ = sorted(name for name, kind in kinds.items() if kind == "unlabeled" and name not in held)
    if open_:
        yield f"Not filtered for known people: {', '.join(open_)}."
    checked = {n for t in fresh if t.finding.kind == "contamination" for n in t.finding.datasets}
    unknown = [name for name in labeled if name not in checked]
    if unknown:
        yield f"Not checked against evaluation sets: {', '.join(unknown)}."


def _stale(material: Material) -> Iterator[str]:
    for told in material.findings:
        if told.state not in ("fresh", "superseded"):
            names = ", ".join(told.finding.datasets)
            yield f"The {told.finding.kind} finding of {names} is stale: {told.state}."


def _rejects(material: Material) -> Iterator[str]:
    for dataset in material.datasets:
        info = dataset.info
        if info.rejected:
            reason = max(sorted(info.rejects), key=lambda name: info.rejects[name])
            yield (
                f"{info.rejected:,} of {info.items:,} items of {info.name} gave no sample, most "
                f"often {reason} ({info.rejects[reason]:,})."
            )


def _signature(material: Material) -> Iterator[str]:
    signature = material.signature
    if signature and signature.accuracy >= _SIGNED * max(signature.chance, signature.control):
        yield (
            f"A linear probe tells the datasets apart at {signature.accuracy * 100:.0f} %, by "
            f"chance {signature.chance * 100:.0f} %."
        )


def _count(number: int, one: str, many: str | None = None) -> str:
    """Spell a count of things.

    Example:
        >>> _count(1, "row"), _count(1200, "row"), _count(2, "copy", "copies")
        ('1 row', '1,200 rows', '2 copies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
