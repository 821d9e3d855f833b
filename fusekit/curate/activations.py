"""Filter an unlabeled dataset: which of its samples show a person that is known already.

Reference:
    Yu et al., "Unknown Identity Rejection Loss: Utilizing Unlabeled Data for Face Recognition",
    ICCV Workshops 2019, section 3.2: images whose maximum activation is above 0.9 are discarded.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from fusekit.curate import calibration
from fusekit.curate.calibration import Calibration, calibrate, cosine_threshold
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.prototypes import Prototypes, make_prototypes
from fusekit.curate.scores import KnownPeople, Scores, score
from fusekit.errors import FindingError, UsageError
from fusekit.progress import Progress, Report, silent
from fusekit.schema import ACTIVATIONS_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, open_dataset
from fusekit.store.findings import write_finding
from fusekit.store.heads import Head, load_head

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet

Rule: TypeAlias = Literal["two-part", "activation"]

DEFAULT_THRESHOLD: Final = 0.9
FEW_IDENTITIES: Final = 30
_KIND: Final = "activation"


@dataclass(frozen=True)
class FilterResult:
    """What a filter proposes; nothing is deleted, and a mixture that asks for it leaves them out.

    Attributes:
        dataset: The unlabeled dataset.
        kept: Samples that stay.
        dropped: Samples that are out: known people, as far as can be told.
        threshold: The largest activation that stays.
        finding: Fingerprint of the finding.
        rule: ``two-part`` or ``activation``.
        cosine_threshold: The largest cosine that stays, under the two-part rule.
        scale: Softmax scale by dataset.
        identities: How many known identities were compared with.
        warnings: What a reader must know before trusting the result.
        calibrations: What was fitted, by dataset; empty with a head.
        seconds: Of this run.
    """

    dataset: str
    kept: int
    dropped: int
    threshold: float
    finding: str
    rule: Rule
    cosine_threshold: float | None
    scale: dict[str, float]
    identities: int
    warnings: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit filter --json`` prints."""
        return {
            "dataset": self.dataset, "kept": self.kept, "dropped": self.dropped,
            "threshold": self.threshold, "finding": self.finding, "rule": self.rule,
            "cosine_threshold": self.cosine_threshold, "scale": self.scale,
            "identities": self.identities, "warnings": list(self.warnings),
        }  # fmt: skip


@dataclass(frozen=True)
class _Judge:
    """Known people and the rule that decides."""

    known: KnownPeople
    rule: Rule
    cosine: float | None
    calibrations: tuple[Calibration, ...]
    left_out: dict[str, int]


def filter_unlabeled(
    dataset: str,
    *,
    against: Sequence[str] = (),
    head: str | None = None,
    max_activation: float = DEFAULT_THRESHOLD,
    rule: Rule = "two-part",
    model: str | None = None,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> FilterResult:
    """Find the samples of an unlabeled dataset that show a known person.

    A sample's activation is the largest, over the datasets, of the maximum of a softmax over
    that dataset's identities. A sample is out when it is strictly above ``max_activation`` and,
    under the two-part rule, when the cosine with the nearest identity of the same dataset is
    above a threshold too. The result is a finding with both numbers for every sample.

    The classes are those of a trained head, or else prototypes: the normalised mean embedding
    of every identity with two images or more, and scales fitted on held-out images and held-out
    identities. Embeddings that are missing are made first.

    Args:
        dataset: The unlabeled dataset's name.
        against: Labeled datasets whose people are known; with a head, which of its datasets
            count (empty: all).
        head: Name of a head of the store, or path of a ``.safetensors`` or ``.npz`` file; None
            makes prototypes.
        max_activation: The largest activation that stays, over 0, at most 1.
        rule: ``activation`` is the paper's rule alone, which always holds for a head.
        model: Embedder: registry name, ``insightface/PACK`` or path; None takes the one whose
            embeddings stand, else dlib's ResNet.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Returns:
        The counts, what was fitted, and warnings.

    Raises:
        UsageError: The threshold, the rule or a dataset's kind can't be.
        StoreError: A dataset is not ingested, or embeddings of several models stand.
        ModelError: The head does not fit, or the embedder can't be had.
        FindingError: No identity has two images, or too few people are known for the rule.
        WorkError: Crops could not be embedded.
    """
    started = time.monotonic()
    storage = layout.open_store(store)
    crawl, labeled = _datasets(storage, dataset, against, head)
    _check(max_activation, rule)
    trained = None if head is None else load_head(storage, head).of_datasets(against)
    sets = open_embeddings(storage, [crawl, *labeled], model, trained, report)
    if trained is None:
        judge = _by_prototypes(storage, sets[1:], rule, report)
    else:
        trained.check_dim(sets[0].model, sets[0].dim)
        judge = _by_head(trained)
    for name, first, end in judge.known.ranges:
        if judge.rule == "activation" and end - first == 1:
            raise FindingError(
                name, "one known identity, so that every activation is 1", "two or more",
                "leave the dataset out of --against, or use --rule two-part",
            )  # fmt: skip
    table = _table(sets[0], judge, report)
    about = {
        "dataset": dataset,
        "inputs": {d.name: d.fingerprint for d in (crawl, *labeled)},
        "against": list(against),
        "head": trained.sha256 if trained else None,
        "model": asdict(sets[0].model),
        "rule": judge.rule,
        "threshold": max_activation,
        "cosine_threshold": judge.cosine,
        "scale": _scales(judge.known),
        "identities": len(judge.known.identities),
        "calibration": None if trained else calibration.VERSION,
    }
    finding = write_finding(storage, _KIND, about, table, ACTIVATIONS_SCHEMA)
    dropped = int(_out(table, max_activation, judge.cosine).sum())
    return FilterResult(
        dataset=dataset, kept=table.num_rows - dropped, dropped=dropped,
        threshold=max_activation, finding=finding.fingerprint, rule=judge.rule,
        cosine_threshold=judge.cosine, scale=_scales(judge.known),
        identities=len(judge.known.identities), warnings=_warnings(judge, trained),
        calibrations=judge.calibrations, seconds=time.monotonic() - started,
    )  # fmt: skip


def _check(max_activation: float, rule: str) -> None:
    if not 0 < max_activation <= 1:
        raise UsageError("--max-activation", str(max_activation), "over 0, at most 1")
    if rule not in ("two-part", "activation"):
        raise UsageError("--rule", repr(rule), "two-part or activation")


def _datasets(
    storage: Storage, dataset: str, against: Sequence[str], head: str | None
) -> tuple[DatasetInfo, list[DatasetInfo]]:
    crawl = open_dataset(storage, dataset)
    if crawl.kind != "unlabeled":
        raise UsageError(
            dataset, f"is {crawl.kind}", "an unlabeled dataset",
            "people of labeled ones are named by --against",
        )  # fmt: skip
    if len(set(against)) < len(against):
        raise UsageError("--against", f"names a dataset twice: {', '.join(against)}", "each once")
    if head is not None:
        return crawl, []  # the head stands for its datasets, which need not be in this store
    if not against:
        raise UsageError("--against", "is missing", "at least one labeled dataset, or --head")
    labeled = [open_dataset(storage, name) for name in against]
    for info in labeled:
        if info.kind != "labeled":
            where = f"--against {info.name}"
            raise UsageError(where, f"is {info.kind}", "a labeled dataset")
    return crawl, labeled


def _by_head(head: Head) -> _Judge:
    scales = np.full(len(head.ranges), head.scale)
    known = KnownPeople(head.weight, head.ranges, scales, head.identities)
    return _Judge(known, "activation", None, (), {})


def _by_prototypes(
    storage: Storage, sets: Sequence[EmbeddingSet], rule: Rule, report: Report
) -> _Judge:
    people: list[Prototypes] = []
    fitted: list[Calibration] = []
    for number, embeddings in enumerate(sets):
        report(Progress("known people", number, len(sets), "datasets"))
        people.append(make_prototypes(storage, embeddings))
        fitted.append(calibrate(people[-1], embeddings, len(sets)))
    report(Progress("known people", len(sets), len(sets), "datasets"))
    ends = np.cumsum([len(p.identities) for p in people]).tolist()
    starts = [0, *ends[:-1]]
    known = KnownPeople(
        centres=np.concatenate([p.centres for p in people]),
        ranges=tuple((p.dataset, a, b) for p, a, b in zip(people, starts, ends, strict=True)),
        scales=np.array([c.scale for c in fitted]),
        identities=tuple(name for p in people for name in p.identities),
    )
    cosine = cosine_threshold(fitted) if rule == "two-part" else None
    return _Judge(known, rule, cosine, tuple(fitted), {p.dataset: p.left_out for p in people})


def _table(embeddings: EmbeddingSet, judge: _Judge, report: Report) -> pa.Table:
    known = judge.known
    dataset_of = np.repeat(
        np.arange(len(known.ranges)), [end - first for _, first, end in known.ranges]
    )
    names = pa.array([name for name, _, _ in known.ranges], pa.string())
    identities = pa.array(known.identities, pa.string())
    parts = [ACTIVATIONS_SCHEMA.empty_table()]
    done = 0
    stage = f"filter {embeddings.dataset.name}"
    report(Progress(stage, done, embeddings.rows, "samples"))
    for block in embeddings.blocks():
        scores = score(block.vectors, known)
        rows, k = np.arange(len(block.vectors)), _telling(scores, judge.cosine)
        nearest = scores.nearest[rows, k]
        columns = [
            block.keys,
            pa.array(scores.activation[rows, k]),
            pa.array(scores.cosine[rows, k]),
            names.take(pa.array(dataset_of[nearest])),
            identities.take(pa.array(nearest)),
            pa.nulls(len(rows), pa.string()),
            pa.nulls(len(rows), pa.string()),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=ACTIVATIONS_SCHEMA))
        done += len(rows)
        report(Progress(stage, done, embeddings.rows, "samples"))
    return pa.concat_tables(parts)


def _telling(scores: Scores, cosine: float | None) -> np.ndarray[Any, Any]:
    """Choose, for each sample, the dataset whose numbers are written: (N,).

    The one of the largest activation, among those whose cosine passes if any does: then the
    one row says for every threshold whether *some* dataset knows the person by both numbers.
    """
    if cosine is None:
        return np.asarray(scores.activation.argmax(axis=1))
    passes = scores.cosine.astype(np.float64) > cosine  # (N, K)
    counted = passes | ~passes.any(axis=1, keepdims=True)
    return np.asarray(np.where(counted, scores.activation, -1).argmax(axis=1))


def _out(table: pa.Table, threshold: float, cosine: float | None) -> np.ndarray[Any, Any]:
    # As float64, so that a stored float32 is compared with the threshold and not with its
    # rounding: SQL does the same.
    out = table.column("activation").to_numpy().astype(np.float64) > threshold
    if cosine is not None:
        out &= table.column("cosine").to_numpy().astype(np.float64) > cosine
    return np.asarray(out)


def _scales(known: KnownPeople) -> dict[str, float]:
    return {
        name: float(scale) for (name, _, _), scale in zip(known.ranges, known.scales, strict=True)
    }


def _warnings(judge: _Judge, head: Head | None) -> tuple[str, ...]:
    found = []
    count = len(judge.known.identities)
    if count < FEW_IDENTITIES:
        found.append(
            f"{count} known identities are few: with fewer than {FEW_IDENTITIES}, more strangers "
            "are dropped and more known people kept"
        )
    found += [
        f"{dataset}: {left} identities have a single image and can't be told"
        for dataset, left in judge.left_out.items()
        if left
    ]
    if head is not None and head.normalized:
        found.append(f"{head.name}: rows were not of unit length and were normalised")
    if head is not None and head.embedder is None:
        found.append(f"{head.name}: does not say its embedder, so only its dimension was checked")
    return tuple(found)
