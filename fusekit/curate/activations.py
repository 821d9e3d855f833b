"""Filter an unlabeled dataset: which of its samples show a person that is known already.

Reference:
    Yu et al., "Unknown Identity Rejection Loss: Utilizing Unlabeled Data for Face Recognition",
    ICCV Workshops 2019, section 3.2: images whose maximum activation is above 0.9 are discarded.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.curate import calibration
from fusekit.curate.activation_table import Judge, Rule, check_bf16, make_table, out_of
from fusekit.curate.calibration import Calibration, calibrate, cosine_threshold
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.flags import about_flags
from fusekit.curate.histogram import Histogram, make_histograms
from fusekit.curate.products import Precision, check_precision
from fusekit.curate.prototypes import Prototypes, make_prototypes
from fusekit.curate.scores import KnownPeople
from fusekit.curate.truth import Judged, judge, read_truth
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
        histograms: How the activations are spread: over all samples, then by nearest dataset.
        low_quality: Samples that are flagged as too poor to learn from.
        duplicates: Samples that are flagged as copies of another one.
        judged: Against a truth file; None without one.
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
    histograms: tuple[Histogram, ...]
    low_quality: int
    duplicates: int
    judged: Judged | None
    seconds: float

    @property
    def held_out(self) -> dict[str, dict[str, float]]:
        """Give what the fit expects of each dataset at an activation of 0.9; empty with a head.

        ``known_dropped`` is the share of held-out images of its own people that are above it,
        ``strangers_kept`` that of images of held-out identities that are not. The cosine of the
        two-part rule comes on top: it can only keep more of both.
        """
        return {
            c.dataset: {
                "known_dropped": round(c.known, 4), "strangers_kept": round(1 - c.strangers, 4),
            }
            for c in self.calibrations
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit filter --json`` prints."""
        return {
            "dataset": self.dataset, "kept": self.kept, "dropped": self.dropped,
            "threshold": self.threshold, "finding": self.finding, "rule": self.rule,
            "cosine_threshold": self.cosine_threshold, "scale": self.scale,
            "identities": self.identities, "warnings": list(self.warnings),
            "held_out": self.held_out,
            "histogram": [h.as_json() for h in self.histograms],
            "low_quality": self.low_quality, "duplicates": self.duplicates,
            "truth": self.judged.as_json() if self.judged else None,
        }  # fmt: skip


def filter_unlabeled(
    dataset: str,
    *,
    against: Sequence[str] = (),
    head: str | None = None,
    max_activation: float = DEFAULT_THRESHOLD,
    rule: Rule = "two-part",
    model: str | None = None,
    precision: Precision = "float32",
    truth: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> FilterResult:
    """Find the samples of an unlabeled dataset that show a known person.

    A sample's activation is the largest, over the datasets, of the maximum of a softmax over
    that dataset's identities. A sample is out when it is strictly above ``max_activation`` and,
    under the two-part rule, when the cosine with the nearest identity of the same dataset is
    above a threshold too. The result is a finding with both numbers for every sample; it also
    flags poor crops and copies, which are neither kept nor dropped for that.

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
        precision: Of the factors of the matrix products; ``bf16`` needs torch, and is refused
            where a sample of rows differs from float32 by more than an activation of 0.02.
        truth: CSV file with the columns ``key`` and ``known`` (1 or 0) that the result is judged
            by; it changes nothing. None: no judgement.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Returns:
        The counts, what was fitted, and warnings.

    Raises:
        UsageError: The threshold, the rule, the precision, the truth file or a dataset's kind
            can't be.
        MissingExtraError: bf16 is asked for and torch is not installed.
        StoreError: A dataset is not ingested, or embeddings of several models stand.
        ModelError: The head does not fit, or the embedder can't be had.
        FindingError: No identity has two images, too few people are known for the rule, or
            bf16 is too coarse.
        WorkError: Crops could not be embedded.
    """
    started = time.monotonic()
    storage = layout.open_store(store)
    crawl, labeled = _datasets(storage, dataset, against, head)
    _check(max_activation, rule)
    check_precision(precision)
    told = None if truth is None else read_truth(truth)
    trained = None if head is None else load_head(storage, head).of_datasets(against)
    sets = open_embeddings(storage, [crawl, *labeled], model, trained, report)
    if trained is None:
        by = _by_prototypes(storage, sets[1:], rule, report)
    else:
        trained.check_dim(sets[0].model, sets[0].dim)
        by = _by_head(trained)
    for name, first, end in by.known.ranges:
        if by.rule == "activation" and end - first == 1:
            raise FindingError(
                name, "one known identity, so that every activation is 1", "two or more",
                "leave the dataset out of --against, or use --rule two-part",
            )  # fmt: skip
    differs = check_bf16(sets[0], by) if precision == "bf16" else None
    table = make_table(storage, sets[0], by, precision, report)
    out = out_of(table, max_activation, by.cosine)
    keys = table.column("key").to_pylist() if told is not None else []
    judged = None if told is None else judge(keys, out, told)
    about = {
        "dataset": dataset,
        "inputs": {d.name: d.fingerprint for d in (crawl, *labeled)},
        "against": list(against),
        "head": trained.sha256 if trained else None,
        "model": asdict(sets[0].model),
        "rule": by.rule,
        "threshold": max_activation,
        "cosine_threshold": by.cosine,
        "scale": _scales(by.known),
        "identities": len(by.known.identities),
        "calibration": None if trained else calibration.VERSION,
        "precision": precision,
        "precision_differs": differs,
        "flags": about_flags(),
    }
    finding = write_finding(
        storage, _KIND, about, table, ACTIVATIONS_SCHEMA, read=[crawl, *labeled]
    )
    dropped = int(out.sum())
    return FilterResult(
        dataset=dataset, kept=table.num_rows - dropped, dropped=dropped,
        threshold=max_activation, finding=finding.fingerprint, rule=by.rule,
        cosine_threshold=by.cosine, scale=_scales(by.known),
        identities=len(by.known.identities), warnings=_warnings(by, trained),
        calibrations=by.calibrations,
        histograms=make_histograms(table, tuple(name for name, _, _ in by.known.ranges)),
        low_quality=table.num_rows - table.column("low_quality").null_count,
        duplicates=table.num_rows - table.column("duplicate_of").null_count,
        judged=judged, seconds=time.monotonic() - started,
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


def _by_head(head: Head) -> Judge:
    scales = np.full(len(head.ranges), head.scale)
    known = KnownPeople(head.weight, head.ranges, scales, head.identities)
    return Judge(known, "activation", None, (), {})


def _by_prototypes(
    storage: Storage, sets: Sequence[EmbeddingSet], rule: Rule, report: Report
) -> Judge:
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
    return Judge(known, rule, cosine, tuple(fitted), {p.dataset: p.left_out for p in people})


def _scales(known: KnownPeople) -> dict[str, float]:
    return {
        name: float(scale) for (name, _, _), scale in zip(known.ranges, known.scales, strict=True)
    }


def _warnings(by: Judge, head: Head | None) -> tuple[str, ...]:
    found = []
    count = len(by.known.identities)
    if count < FEW_IDENTITIES:
        found.append(
            f"{count} known identities are few: with fewer than {FEW_IDENTITIES}, more strangers "
            "are dropped and more known people kept"
        )
    found += [
        f"{dataset}: {left} identities have a single image and can't be told"
        for dataset, left in by.left_out.items()
        if left
    ]
    if head is not None and head.normalized:
        found.append(f"{head.name}: rows were not of unit length and were normalised")
    if head is not None and head.embedder is None:
        found.append(f"{head.name}: does not say its embedder, so only its dimension was checked")
    return tuple(found)
