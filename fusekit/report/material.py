"""All that a report tells, collected from a store before a word of it is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.cards.card import list_cards
from fusekit.errors import StoreError
from fusekit.mixture.mixture import Mixture
from fusekit.progress import Progress, Report, silent
from fusekit.report.choice import choose_rows
from fusekit.report.evidence import Evidence, gather_evidence
from fusekit.report.finding_sheets import crops_a_side
from fusekit.report.looks import Looks, collect_looks
from fusekit.report.overlaps import Overlaps, count_overlaps
from fusekit.report.signature import Signature, measure_signature
from fusekit.report.stats import Stats, collect_stats
from fusekit.store import layout
from fusekit.store.crops import sample_crops
from fusekit.store.datasets import list_datasets, open_dataset
from fusekit.store.embeddings import embedding_models
from fusekit.store.findings import list_findings, read_finding_table, stale_because
from fusekit.store.layout import open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from fusekit.cards.card import Card
    from fusekit.storage.folder import Storage
    from fusekit.store.crops import RgbImage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.findings import Finding

_SAMPLES: Final = 24
_ROWS: Final = 12  # pieces of evidence of a finding
_TENTHS: Final = 10


@dataclass(frozen=True)
class DatasetMaterial:
    """What is told of one dataset.

    Attributes:
        info: Its record.
        stats: Its statistics.
        looks: How its crops look.
        samples: Some crops by key, chosen at random; empty without pictures.
        embeddings: Folders of the models whose embeddings stand.
        card: Name of the card of its name or index; None: there is none.
        terms: What that card says its makers allow.
    """

    info: DatasetInfo
    stats: Stats
    looks: Looks
    samples: dict[str, RgbImage]
    embeddings: tuple[str, ...]
    card: str | None
    terms: str


@dataclass(frozen=True)
class FindingMaterial:
    """What is told of one finding.

    Attributes:
        finding: The finding.
        state: ``fresh``, why it is stale, or ``superseded``.
        decisions: Rows by what is decided on them.
        total: Persons, identities, groups or clusters in it.
        evidence: The first of them; without pictures only words.
        below: Of activations: how many are under 0.1, 0.2, … 0.9, and in all; empty for others.
    """

    finding: Finding
    state: str
    decisions: dict[str, int]
    total: int
    evidence: list[Evidence]
    below: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return {
            "kind": self.finding.kind, "finding": self.finding.fingerprint,
            "datasets": list(self.finding.datasets), "state": self.state,
            "decisions": self.decisions, "total": self.total, "below": list(self.below),
        }  # fmt: skip


@dataclass(frozen=True)
class Material:
    """What a report tells.

    Attributes:
        name: Of the dataset or mixture; None: the whole store.
        what: ``store``, ``dataset`` or ``mixture``.
        datasets: Those it tells of, by name.
        mixture: Statistics of the mixture; None when it is of none.
        record: The mixture's fingerprint, label policy and softmax; empty likewise.
        overlaps: Who is in several datasets.
        signature: How well a probe tells the store's datasets apart; None: not measured.
        findings: By kind.
        pictures: Whether it shows any.
    """

    name: str | None
    what: str
    datasets: tuple[DatasetMaterial, ...]
    mixture: Stats | None
    record: dict[str, Any]
    overlaps: Overlaps
    signature: Signature | None
    findings: tuple[FindingMaterial, ...]
    pictures: bool

    def as_json(self) -> dict[str, Any]:
        """Give all figures as a JSON object."""
        return {
            "what": self.what, "name": self.name,
            "datasets": {d.info.name: d.stats.as_json() for d in self.datasets},
            "looks": {d.info.name: d.looks.as_json() for d in self.datasets},
            "mixture": self.mixture.as_json() if self.mixture else None,
            "signature": self.signature.as_json() if self.signature else None,
            "overlap": self.overlaps.as_json(),
            "findings": [f.as_json() for f in self.findings],
        }  # fmt: skip


def collect_material(
    name: str | None,
    store: str | os.PathLike[str] | None = None,
    *,
    pictures: bool = True,
    report: Report = silent,
) -> Material:
    """Collect what a report tells.

    Args:
        name: A dataset or a mixture; None: the whole store.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        pictures: Whether crops are read for it.
        report: Told of progress.

    Raises:
        StoreError: There is no store, nothing of this name or no dataset in it, or it is damaged.
        MixtureError: The mixture is damaged.
        FindingError: A finding's table is missing or damaged.
    """
    storage = open_store(store)
    every = list_datasets(storage)
    mixture = _open_mixture(storage, name, store)
    if mixture is not None:
        shown = sorted({source.name for source in mixture.sources})
    elif name is not None:
        shown = [open_dataset(storage, name).name]
    else:
        shown = [info.name for info in every]
    if not shown:
        raise StoreError(
            layout.store_place(store), "holds no dataset", None, "fusekit ingest adds one"
        )
    stats = []
    for number, info in enumerate(every):
        report(Progress("statistics", number, len(every), "datasets"))
        stats.append(collect_stats(info.name, store))
    report(Progress("statistics", len(every), len(every), "datasets"))
    looks = collect_looks(storage, every, stats, report)
    cards = list_cards()
    findings = [f for f in list_findings(storage) if set(shown) & {*f.datasets, *f.about["inputs"]}]
    return Material(
        name=name,
        what="store" if name is None else "dataset" if mixture is None else "mixture",
        datasets=tuple(
            _dataset(storage, info, found, look, cards, pictures=pictures)
            for info, found, look in zip(every, stats, looks, strict=True)
            if info.name in shown
        ),
        mixture=collect_stats(mixture.name, store) if mixture else None,
        record=_record(mixture) if mixture else {},
        overlaps=count_overlaps(storage, findings),
        signature=measure_signature(storage, every),
        findings=tuple(_findings(storage, findings, report, pictures=pictures)),
        pictures=pictures,
    )


def _open_mixture(
    storage: Storage, name: str | None, store: str | os.PathLike[str] | None
) -> Mixture | None:
    if name is None or storage.exists(layout.dataset_json(name)):
        return None
    if not storage.exists(f"{layout.mixture(name)}/mixture.json"):
        return None
    return Mixture.open(name, store, verify="none")


def _record(mixture: Mixture) -> dict[str, Any]:
    return {
        "fingerprint": mixture.fingerprint, "classes": mixture.num_classes,
        "labeled": mixture.labeled, "unlabeled": mixture.unlabeled,
        "labels": mixture.recipe.labels, "softmax": mixture.softmax,
        "batch": mixture.batch_size, "unlabeled_fraction": str(mixture.unlabeled_fraction),
        "seed": mixture.seed, "template": mixture.template,
    }  # fmt: skip


def _dataset(
    storage: Storage, info: DatasetInfo, stats: Stats, looks: Looks, cards: Sequence[Card], *,
    pictures: bool,
) -> DatasetMaterial:  # fmt: skip
    named = [c for c in cards if c.name == info.name or c.index == info.index]
    card = min(named, key=lambda c: c.name != info.name, default=None)
    return DatasetMaterial(
        info=info, stats=stats, looks=looks,
        samples=sample_crops(storage, info, _SAMPLES) if pictures else {},
        embeddings=tuple(m.folder for m in embedding_models(storage, info.name)),
        card=card.name if card else None, terms=card.terms if card else "",
    )  # fmt: skip


def _findings(
    storage: Storage, findings: Sequence[Finding], report: Report, *, pictures: bool
) -> list[FindingMaterial]:
    replaced = {f.about.get("supersedes") for f in findings}
    told = []
    for number, finding in enumerate(findings):
        report(Progress("findings", number, len(findings), "findings"))
        stale = stale_because(storage, finding)
        state = "superseded" if finding.fingerprint in replaced else stale or "fresh"
        # Crops of a stale finding may not be those that it speaks of.
        choice = choose_rows(storage, finding, _ROWS if state == "fresh" else 0)
        told.append(
            FindingMaterial(
                finding=finding, state=state, decisions=choice.decisions, total=choice.total,
                evidence=gather_evidence(
                    storage, finding, choice.rows, most=crops_a_side(finding), pictures=pictures
                ),
                below=_below(storage, finding),
            )
        )  # fmt: skip
    report(Progress("findings", len(findings), len(findings), "findings"))
    return told


def _below(storage: Storage, finding: Finding) -> tuple[int, ...]:
    """Count activations under each tenth, and all: the paper's cumulative table."""
    if finding.kind != "activation":
        return ()
    table = read_finding_table(storage, finding, ["activation"])
    values = np.sort(table.column("activation").to_numpy())
    tenths = np.array([k / _TENTHS for k in range(1, _TENTHS)], values.dtype)
    return (*np.searchsorted(values, tenths, side="left").tolist(), len(values))


def settings_of(finding: Finding) -> dict[str, Any]:
    """Give what a finding was made with, but for the datasets and their fingerprints."""
    return {k: v for k, v in finding.about.items() if k not in ("dataset", "datasets", "inputs")}


def record_of(info: DatasetInfo) -> dict[str, Any]:
    """Give where a dataset's crops are from: what a reader needs to make them again."""
    about = asdict(info)
    kept = ("fingerprint", "plan", "form", "template", "versions", "settings", "card", "ignored")
    return {name: about[name] for name in kept}
