"""Overlap: identities that are the same person, across datasets or inside one.

Reference:
    "Dataset-aware training for facial recognition", whose figure 1 shows what overlap is and
    figure 2 what it does to a training that takes every identity for another person.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.curate import identity_pairs, templates, thresholds
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.gallery import Gallery, make_gallery
from fusekit.curate.identity_pairs import IdentityPairs, compare, pair_scores
from fusekit.curate.names import fold_aliases
from fusekit.curate.overlap_table import ORDER, listed_names, pair_objects, tabulate, turn_rows
from fusekit.curate.pair_decisions import Limits, limits_between
from fusekit.curate.people_clusters import Link, Node, People, join_people
from fusekit.curate.thresholds import FEW_PAIRS, image_strangers, template_strangers
from fusekit.errors import UsageError
from fusekit.progress import Progress, Report, silent
from fusekit.schema import OVERLAP_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, open_dataset
from fusekit.store.findings import write_finding

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from fusekit.storage.folder import Storage

DEFAULT_FALSE_MATCH: Final = 1e-6
LARGEST_FALSE_MATCH: Final = 1e-3
SMALLEST_FALSE_MATCH: Final = 1e-15
_KIND: Final = "overlap"


@dataclass(frozen=True)
class Compared:
    """Two datasets that were compared, or one with itself.

    Attributes:
        a: The one.
        b: The other, or the same.
        limits: The cosines that decided.
        pairs: How many pairs of identities there are between them.
        counts: Listed pairs by decision.
        recall: Share of the people of both that would be found by their score alone, as far as
            halves of one's images tell; None: nobody has two images.
    """

    a: str
    b: str
    limits: Limits
    pairs: int
    counts: dict[str, int]
    recall: float | None


@dataclass(frozen=True)
class OverlapResult:
    """The identities that may be one person; nothing is changed by them.

    Attributes:
        datasets: As they were named.
        table: The finding's rows, see :data:`fusekit.schema.OVERLAP`; here ``a`` is of the
            dataset that was named earlier, the surest first.
        names: Dataset and identity of the rows to the display name, where there is one.
        compared: The thresholds and counts of each two datasets.
        people: How many people have identities that are joined.
        identities: How many identities are joined.
        finding: Fingerprint of the finding.
        warnings: What a reader must know before trusting the result.
        seconds: Of this run.
    """

    datasets: tuple[str, ...]
    table: pa.Table
    names: dict[tuple[str, str], str]
    compared: tuple[Compared, ...]
    people: int
    identities: int
    finding: str
    warnings: tuple[str, ...]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Listed pairs by decision."""
        return {d: sum(each.counts[d] for each in self.compared) for d in ORDER}

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit overlap --json`` prints."""
        compared = [
            {
                "a": each.a,
                "b": each.b,
                "pairs": each.pairs,
                "thresholds": asdict(each.limits),
                "counts": each.counts,
                "recall": each.recall,
            }
            for each in self.compared
        ]
        return {
            "pairs": list(pair_objects(self.table, self.names)),
            "datasets": list(self.datasets), "counts": self.counts,
            "people": self.people, "identities": self.identities, "finding": self.finding,
            "compared": compared, "warnings": list(self.warnings),
        }  # fmt: skip


def find_overlap(
    datasets: Sequence[str],
    *,
    embedder: str | None = None,
    false_match: float = DEFAULT_FALSE_MATCH,
    aliases: Mapping[str, str] | None = None,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> OverlapResult:
    """Find identities that are the same person.

    Every two datasets are compared; a dataset named alone is compared with itself, which finds
    people that it holds twice. Each identity is a robust template; pairs are decided by the
    templates' cosine against what strangers score in these datasets, by votes of their images,
    and by their names. Pairs found the same are joined into people over all the datasets, unless
    that would also join identities that differ. The result is a finding.

    Args:
        datasets: Names of labeled datasets, or evaluation sets with identities.
        embedder: Whose embeddings to compare: registry name, ``insightface/PACK`` or path; None
            takes the one whose embeddings stand. Those missing are made first.
        false_match: Share of the pairs of strangers that may be called the same by their score,
            1e-15 to 1e-3.
        aliases: Other names of people: name to the name it stands for; None: none.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Returns:
        The pairs with their evidence, the thresholds, and warnings.

    Raises:
        UsageError: The rate can't be, a dataset is named twice or has no identities, or none is
            named.
        StoreError: A dataset is not ingested, or embeddings of several models stand.
        FindingError: There are not two identities with images to see how strangers score.
        ModelError: The embedder can't be had.
        WorkError: Crops could not be embedded.
    """
    started = time.monotonic()
    _check(datasets, false_match)
    storage = layout.open_store(store)
    # By name: the finding is the same in whatever order they are given.
    infos = [_with_identities(storage, name) for name in sorted(datasets)]
    sets = open_embeddings(storage, infos, embedder, None, report)
    galleries: dict[str, Gallery] = {}
    for number, embeddings in enumerate(sets):
        report(Progress("templates", number, len(sets), "datasets"))
        galleries[embeddings.dataset.name] = make_gallery(storage, embeddings)
    report(Progress("templates", len(sets), len(sets), "datasets"))
    galleries = _with_strangers(galleries)
    names = sorted(galleries)
    both = list(combinations(names, 2)) or [(names[0], names[0])]
    limits = {(a, b): limits_between(galleries[a], galleries[b], false_match) for a, b in both}
    known = fold_aliases(aliases or {})
    found = {
        (a, b): compare(galleries[a], galleries[b], limits[a, b], aliases=known, report=report)
        for a, b in both
    }
    people = _join(galleries, found, limits, false_match)
    table = tabulate(galleries, found, people)
    about = {
        "datasets": names,
        "inputs": {info.name: info.fingerprint for info in infos},
        "model": asdict(sets[0].model),
        "false_match": false_match,
        "aliases": known,
        "thresholds": [{"a": a, "b": b, **asdict(limits[a, b])} for a, b in both],
        "versions": {
            "templates": templates.VERSION, "thresholds": thresholds.VERSION,
            "pairs": identity_pairs.VERSION,
        },
    }  # fmt: skip
    finding = write_finding(storage, _KIND, about, table, OVERLAP_SCHEMA, read=infos)
    counts = _counts(table)
    compared = tuple(
        Compared(
            a, b, limits[a, b], _pairs(galleries[a], galleries[b]),
            {decision: counts.get((a, b, decision), 0) for decision in ORDER},
            _recall(galleries[a], galleries[b], limits[a, b]),
        )
        for a, b in both
    )  # fmt: skip
    return OverlapResult(
        datasets=tuple(datasets), table=turn_rows(table, datasets),
        names=listed_names(galleries, found), compared=compared, people=people.count,
        identities=len(people.cluster_of), finding=finding.fingerprint,
        warnings=_warnings(galleries, compared, false_match, len(people.contested)),
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _check(datasets: Sequence[str], false_match: float) -> None:
    if not datasets:
        raise UsageError("datasets", "none is named", "at least one")
    if len(set(datasets)) < len(datasets):
        found = f"names a dataset twice: {', '.join(datasets)}"
        raise UsageError("datasets", found, "each once", "one name alone compares it with itself")
    if not SMALLEST_FALSE_MATCH <= false_match <= LARGEST_FALSE_MATCH:
        expected = f"{SMALLEST_FALSE_MATCH} to {LARGEST_FALSE_MATCH}"
        raise UsageError("--false-match", str(false_match), expected)


def _with_identities(storage: Storage, name: str) -> DatasetInfo:
    info = open_dataset(storage, name)
    if not info.identities:
        raise UsageError(
            name, f"is {info.kind} and has no identities", "a dataset with identities",
            "fusekit cluster gives an unlabeled one pseudo-identities",
        )  # fmt: skip
    return info


def _with_strangers(galleries: dict[str, Gallery]) -> dict[str, Gallery]:
    """Lend datasets of one identity, which show no strangers, those of all the others."""
    if all(each.strangers.pairs for each in galleries.values()):
        return galleries
    every = list(galleries.values())
    strangers = template_strangers([each.templates for each in every])
    images = image_strangers([(each.templates, each.embeddings) for each in every])
    return {
        name: each
        if each.strangers.pairs
        else replace(each, strangers=strangers, image_strangers=images)
        for name, each in galleries.items()
    }


def _join(
    galleries: dict[str, Gallery],
    found: dict[tuple[str, str], IdentityPairs],
    limits: dict[tuple[str, str], Limits],
    false_match: float,
) -> People:
    """Join the pairs found the same into people."""
    links = [
        Link((a, left), (b, right), score)
        for (a, b), pairs in found.items()
        for left, right, score, decision in zip(
            pairs.left.tolist(), pairs.right.tolist(), pairs.score.tolist(), pairs.decision,
            strict=True,
        )
        if decision == "same"
    ]  # fmt: skip
    return join_people(links, _agreement(galleries, limits, false_match))


def _agreement(
    galleries: dict[str, Gallery], limits: dict[tuple[str, str], Limits], false_match: float
) -> Callable[[Node, Node], bool]:
    """Give the test that two unlinked identities must pass to stand for one person.

    Of two datasets: they score as seldom a pair of strangers with one name may. Of one dataset,
    whose makers took them for two: they score as the same.
    """
    inside: dict[str, Limits] = {}

    def agrees(a: Node, b: Node) -> bool:
        left, right = galleries[a[0]], galleries[b[0]]
        score = pair_scores(left, right, np.array([a[1]]), np.array([b[1]]))[0]
        if a[0] != b[0]:
            return bool(score >= limits[a[0], b[0]].named)
        if a[0] not in inside:
            inside[a[0]] = limits_between(left, left, false_match)
        return bool(score >= inside[a[0]].same)

    return agrees


def _pairs(left: Gallery, right: Gallery) -> int:
    a, b = (len(np.unique(gallery.person_of)) for gallery in (left, right))
    return a * (a - 1) // 2 if left is right else a * b


def _recall(left: Gallery, right: Gallery, limits: Limits) -> float | None:
    halves = np.concatenate([left.halves, right.halves])
    return round(float((halves >= limits.same).mean()), 4) if len(halves) else None


def _counts(table: pa.Table) -> dict[tuple[str, str, str], int]:
    """Count rows by their two datasets and the decision."""
    keys = ["dataset_a", "dataset_b", "decision"]
    counted = table.group_by(keys).aggregate([([], "count_all")])
    columns = (counted[name].to_pylist() for name in (*keys, "count_all"))
    return {(a, b, decision): count for a, b, decision, count in zip(*columns, strict=True)}


def _warnings(
    galleries: dict[str, Gallery], compared: Sequence[Compared], false_match: float, contested: int
) -> tuple[str, ...]:
    found = [
        f"{name}: {gallery.strangers.pairs} pairs of strangers are few to set thresholds by; "
        f"with {FEW_PAIRS:,} or more they are surer"
        for name, gallery in galleries.items()
        if gallery.strangers.pairs < FEW_PAIRS
    ]
    chance = sum(each.pairs for each in compared) * false_match
    if chance >= 1:
        found.append(
            f"of so many pairs about {chance:,.0f} of strangers are expected to score as the same; "
            f"--false-match {false_match / chance:.0e} expects one"
        )
    if contested:
        found.append(
            f"{contested} pairs would join identities that differ, and are unsure for that"
        )
    return tuple(found)
