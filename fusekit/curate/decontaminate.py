"""Decontaminate: which people of training datasets are in evaluation sets too.

Three kinds of evidence are joined: the names, the embeddings, and published lists. A name alone
proves nothing (two Steve Martins are in CASIA-WebFace), so a name that the faces contradict is
left to a person; faces alone do, where they are as alike as strangers hardly ever are.

Reference:
    happynear/FaceDatasets on GitHub: the published lists that the cards of CASIA-WebFace and
    VGGFace2 hold, and why evaluation is open-set: no training person may be in it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from fusekit.curate import identity_pairs, names, templates, thresholds
from fusekit.curate.contamination import ContaminationResult, Found, Searched
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.evaluation_people import evaluation_gallery
from fusekit.curate.gallery import Gallery, make_gallery
from fusekit.curate.identity_pairs import compare
from fusekit.curate.names import fold_aliases
from fusekit.curate.overlap import (
    DEFAULT_FALSE_MATCH,
    LARGEST_FALSE_MATCH,
    SMALLEST_FALSE_MATCH,
)
from fusekit.curate.pair_decisions import Limits, limits_between
from fusekit.curate.published import PublishedList, published_list
from fusekit.curate.thresholds import joint_threshold
from fusekit.errors import UsageError
from fusekit.fingerprint import fingerprint
from fusekit.progress import Progress, Report, silent
from fusekit.schema import CONTAMINATION_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, open_dataset
from fusekit.store.findings import write_finding

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from fusekit.storage.folder import Storage

Row: TypeAlias = dict[str, Any]

UNSURE_SHARE: Final = 0.02
"""Of a dataset's identities, at most so many are unsure because some stranger is as alike: each is
compared with everyone of an evaluation set, so the more there are, the more alike they must be."""
VERSION: Final = 1
_KIND: Final = "contamination"
_REASONS: Final = ("name", "embedding", "published")


def find_contamination(
    training: Sequence[str],
    *,
    against: Sequence[str],
    embedder: str | None = None,
    false_match: float = DEFAULT_FALSE_MATCH,
    aliases: Mapping[str, str] | None = None,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> ContaminationResult:
    """Find the people of training datasets who are in evaluation sets.

    The result is a finding with a row for each pair of a training identity and an evaluation
    person that something speaks for. ``same``: the embeddings say so, or a published list does,
    or the names agree and the embeddings don't contradict. ``unsure``: the names agree and the
    faces don't, or the faces agree and the names don't, or there are no names and the faces are
    nearly alike enough.

    Args:
        training: Labeled datasets.
        against: Evaluation sets. One without identities is compared image by image, those that
            its pairs call the same taken together.
        embedder: Registry name, ``insightface/PACK`` or path; None takes the one whose
            embeddings stand, else dlib's ResNet. Missing embeddings are made.
        false_match: Share of the pairs of strangers that may score as one person, 1e-15
            to 1e-3.
        aliases: Other names of people: name to the name it stands for; None: none.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Raises:
        UsageError: A dataset is of another kind or named twice, or the rate can't be.
        StoreError: A dataset is not ingested, or embeddings of several models stand.
        ModelError: The embedder can't be had.
        FindingError: Neither a training dataset nor its evaluation set has two people.
        WorkError: Crops could not be embedded.

    Example:
        >>> result = find_contamination(["vggface2"], against=["lfw"])  # doctest: +SKIP
        >>> for found in result.identities:  # doctest: +SKIP
        ...     print(found.identity, found.person, found.reason)
    """
    started = time.monotonic()
    if not SMALLEST_FALSE_MATCH <= false_match <= LARGEST_FALSE_MATCH:
        expected = f"{SMALLEST_FALSE_MATCH} to {LARGEST_FALSE_MATCH}"
        raise UsageError("--false-match", str(false_match), expected)
    storage = layout.open_store(store)
    trained, evaluated = _datasets(storage, training, against)
    sets = open_embeddings(storage, [*trained, *evaluated], embedder, None, report)
    known = fold_aliases(aliases or {})
    people = [make_gallery(storage, each) for each in sets[: len(trained)]]
    rows: list[Row] = []
    searched: list[Searched] = []
    warnings: list[str] = []
    lists: dict[str, list[str]] = {}
    for done, each in enumerate(sets[len(trained) :]):
        report(Progress("evaluation sets", done, len(evaluated), "datasets"))
        gallery = evaluation_gallery(storage, each)
        for mine in people:
            limits = limits_between(mine, gallery, false_match)
            found = _compared(mine, gallery, limits, known, report)
            listed = published_list(mine.embeddings.dataset, each.dataset)
            if listed is not None:
                lists[f"{mine.templates.dataset} in {each.dataset.name}"] = sorted(listed.ids)
                warnings += _add_published(found, mine, each.dataset.name, listed)
            rows += found
            searched.append(_searched(mine, gallery, limits, false_match, found))
    report(Progress("evaluation sets", len(evaluated), len(evaluated), "datasets"))
    rows.sort(key=_place)
    about = {
        "datasets": [info.name for info in trained],
        "against": [info.name for info in evaluated],
        "inputs": {info.name: info.fingerprint for info in (*trained, *evaluated)},
        "model": asdict(sets[0].model),
        "false_match": false_match,
        "aliases": known,
        "published": fingerprint(lists),
        "versions": {
            "templates": templates.VERSION, "thresholds": thresholds.VERSION,
            "pairs": identity_pairs.VERSION, "names": names.VERSION,
            "contamination": VERSION,
        },
    }  # fmt: skip
    finding = write_finding(
        storage, _KIND, about, rows, CONTAMINATION_SCHEMA, read=[*trained, *evaluated]
    )
    spelt = {each.templates.dataset: each.names for each in people}
    sure = _people((row for row in rows if row["decision"] == "same"), spelt)
    told = {(f.dataset, f.identity, f.evaluation) for f in sure}
    unsure = _people((row for row in rows if row["decision"] == "unsure"), spelt)
    return ContaminationResult(
        identities=sure,
        unsure=tuple(f for f in unsure if (f.dataset, f.identity, f.evaluation) not in told),
        finding=finding.fingerprint, searched=tuple(searched), warnings=tuple(warnings),
        seconds=time.monotonic() - started,
    )  # fmt: skip


def sort_out(
    names: Sequence[str], against: Sequence[str], store: str | os.PathLike[str] | None = None
) -> tuple[list[str], list[str]]:
    """Tell training datasets from evaluation sets that were named in one list.

    A command line ``A B --against lfw cfp-fp`` gives ``cfp-fp`` beside ``A`` and ``B``.

    Args:
        names: Of the store.
        against: Evaluation sets named as such.
        store: As for :func:`find_contamination`.

    Returns:
        The training datasets and the evaluation sets. Names stay as they are where no evaluation
        set was named as such, or none of them is a training dataset.

    Raises:
        StoreError: A dataset is not ingested.
    """
    storage = layout.open_store(store)
    kinds = {name: open_dataset(storage, name).kind for name in names}
    others = [name for name in names if kinds[name] == "evaluation"]
    if not against or len(others) == len(names):
        return list(names), list(against)
    return [name for name in names if kinds[name] != "evaluation"], [*against, *others]


def _datasets(
    storage: Storage, training: Sequence[str], against: Sequence[str]
) -> tuple[list[DatasetInfo], list[DatasetInfo]]:
    """Open the datasets, by name: in whatever order they are given, the finding is the same."""
    if not training:
        raise UsageError("TRAIN", "is missing", "at least one labeled dataset")
    if not against:
        raise UsageError("--against", "is missing", "at least one evaluation set")
    for where, given in (("TRAIN", training), ("--against", against)):
        if len(set(given)) < len(given):
            raise UsageError(where, f"names a dataset twice: {', '.join(given)}", "each once")
    trained = [open_dataset(storage, name) for name in sorted(training)]
    evaluated = [open_dataset(storage, name) for name in sorted(against)]
    for info in trained:
        if info.kind != "labeled":
            fix = "evaluation sets go behind --against" if info.kind == "evaluation" else None
            raise UsageError(info.name, f"is {info.kind}", "a labeled dataset", fix)
    for info in evaluated:
        if info.kind != "evaluation":
            where = f"--against {info.name}"
            raise UsageError(
                where, f"is {info.kind}", "an evaluation set",
                "fusekit overlap compares training datasets with each other",
            )  # fmt: skip
    return trained, evaluated


def _compared(
    mine: Gallery, gallery: Gallery, limits: Limits, known: Mapping[str, str], report: Report
) -> list[Row]:
    """Give a row for each pair of people that names or embeddings speak for."""
    pairs = compare(mine, gallery, limits, aliases=known, report=report)
    identities, others = mine.templates.identities, gallery.templates.identities
    least = _unsure_from(mine, gallery, limits)
    rows = []
    for at, decision in enumerate(pairs.decision):
        score, votes = float(pairs.score[at]), int(pairs.votes[at])
        if decision == "different" or (score < least and not pairs.name_match[at]):
            continue
        alike = score >= limits.unsure and votes > 0
        evidence = {"name": pairs.name_match[at] is True, "embedding": alike}
        left, right = int(pairs.left[at]), int(pairs.right[at])
        rows.append({
            "dataset": mine.templates.dataset, "identity": identities[left],
            "identity_index": left, "evaluation": gallery.templates.dataset,
            "evaluation_identity": others[right] if others else None,
            "reason": "+".join(name for name, holds in evidence.items() if holds) or "embedding",
            "score": score, "votes": votes, "compared": int(pairs.compared[at]),
            "name_match": pairs.name_match[at], "decision": decision,
        })  # fmt: skip
    return rows


def _unsure_from(mine: Gallery, gallery: Gallery, limits: Limits) -> float:
    """Give the cosine from which faces alone make a pair unsure."""
    people = len(np.unique(gallery.person_of))
    kinds = (mine.strangers, gallery.strangers)
    least = joint_threshold(kinds, min(1.0, UNSURE_SHARE / max(people, 1)))
    return min(max(least, limits.unsure), limits.same)


def _add_published(
    rows: list[Row], mine: Gallery, evaluation: str, listed: PublishedList
) -> list[str]:
    """Add what a published list says to the rows; give what of it could not be used."""
    people = mine.templates
    texts = zip(people.identities, people.names, strict=True)
    here = set(people.of_identity.tolist())
    named = [i for i, pair in enumerate(texts) if i in here and listed.ids & set(pair)]
    if not named:
        return [
            f"{people.dataset}: none of its identities is spelt as in the published list of "
            f"{len(listed.ids)} who are in {listed.listed_for} (such as {min(listed.ids)}), so "
            "the list was of no use"
        ]
    for index in named:
        best = max((row for row in rows if row["identity_index"] == index), key=_weight, default={})
        if best and (best["decision"] == "same" or best["name_match"]):
            best["reason"] += "+published"
            best["decision"] = "same"
            continue
        rows.append({
            "dataset": people.dataset, "identity": people.identities[index],
            "identity_index": index, "evaluation": evaluation, "evaluation_identity": None,
            "reason": "published", "score": None, "votes": 0, "compared": 0, "name_match": None,
            "decision": "same",
        })  # fmt: skip
    return []


def _searched(
    mine: Gallery, gallery: Gallery, limits: Limits, false_match: float, rows: list[Row]
) -> Searched:
    count = len(set(mine.person_of.tolist())) * len(set(gallery.person_of.tolist()))
    sure = {row["identity_index"] for row in rows if row["decision"] == "same"}
    unsure = {row["identity_index"] for row in rows if row["decision"] == "unsure"}
    return Searched(
        dataset=mine.templates.dataset, evaluation=gallery.templates.dataset, pairs=count,
        by_chance=count * false_match, same=limits.same,
        unsure=_unsure_from(mine, gallery, limits), people=len(sure),
        unsure_people=len(unsure - sure),
    )  # fmt: skip


def _people(rows: Iterable[Row], names: Mapping[str, Sequence[str | None]]) -> tuple[Found, ...]:
    """Give each identity once for each evaluation set, with all that speaks for it."""
    together: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        together.setdefault((row["dataset"], row["identity"], row["evaluation"]), []).append(row)
    found = []
    for who, mine in together.items():
        held = {reason for row in mine for reason in row["reason"].split("+")}
        best = max(mine, key=_weight)
        found.append(
            Found(
                *who, "+".join(reason for reason in _REASONS if reason in held),
                name=names[who[0]][best["identity_index"]], person=best["evaluation_identity"],
                score=best["score"],
            )
        )  # fmt: skip
    return tuple(found)


def _weight(row: Row) -> tuple[bool, bool, float]:
    return row["decision"] == "same", bool(row["name_match"]), row["score"] or -1.0


def _place(row: Row) -> tuple[str, int, str, float, str]:
    return (
        row["dataset"], row["identity_index"], row["evaluation"], -(row["score"] or -1.0),
        row["evaluation_identity"] or "",
    )  # fmt: skip
