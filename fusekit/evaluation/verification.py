"""Verification, 1:1: an evaluation set's pairs, their scores, and what these come to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import pyarrow.compute as pc

from fusekit.errors import StoreError, UsageError
from fusekit.evaluation.folds import FoldAccuracy, fold_accuracy
from fusekit.evaluation.rates import (
    PrecisionRecall,
    Rate,
    rates_of_tail,
    tar_at_far,
)
from fusekit.evaluation.scores import pair_cosines
from fusekit.evaluation.tails import within_tail
from fusekit.evaluation.templates import places_of, pool_table, rows_of
from fusekit.schema import MANIFEST_SCHEMA, PAIRS_SCHEMA, TEMPLATE_PAIRS_SCHEMA, TEMPLATES_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from fusekit.evaluation.scores import Flags, Numbers, Scores, Vectors
    from fusekit.evaluation.tails import Tail
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

Missing: TypeAlias = Literal["wrong", "left-out"]
"""What a pair counts as when an item of it gave no sample."""

RECALLS: Final = (0.9, 0.95, 0.99)
PRECISIONS: Final = (0.9, 0.99, 0.999)


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of a protocol with their scores.

    Attributes:
        scores: ``(n,)`` cosines; minus infinity where an item of the pair gave no sample.
        same: ``(n,)`` whether both are one person.
        fold: ``(n,)``; 0: the protocol has no folds.
        a: ``(n,)`` row of the first sample in the manifest, or number of the first template; -1.
        b: ``(n,)`` the second's.
        protocol: ``(n,)`` names; None: the protocol has none.
    """

    scores: Scores
    same: Flags
    fold: Numbers
    a: Numbers
    b: Numbers
    protocol: pa.Array | None = None

    @property
    def missing(self) -> Flags:
        """``(n,)`` of which pairs an item gave no sample."""
        gone: Flags = np.isneginf(self.scores)
        return gone

    def take(self, chosen: Flags) -> ScoredPairs:
        """Keep some pairs."""
        return ScoredPairs(
            self.scores[chosen], self.same[chosen], self.fold[chosen], self.a[chosen],
            self.b[chosen], None if self.protocol is None else self.protocol.filter(chosen),
        )  # fmt: skip


@dataclass(frozen=True)
class Verification:
    """What a set's pairs came to.

    Attributes:
        pairs: How many there are, with those that are missing unless they were left out.
        genuine: Pairs of one person among them.
        missing: Pairs of which an item gave no sample.
        folds: Accuracy over folds; None where all images are compared with all.
        rates: TAR at FAR.
        precisions: Recall to the highest precision with it.
        recalls: Precision to the highest recall with it.
        curve: Genuine scores ascending, impostor scores descending (all, or the highest), and how
            many impostors there are: what ROC and DET are drawn of.
    """

    pairs: int
    genuine: int
    missing: int
    folds: FoldAccuracy | None
    rates: tuple[Rate, ...]
    precisions: dict[float, float | None] = field(default_factory=dict)
    recalls: dict[float, float | None] = field(default_factory=dict)
    curve: tuple[Scores, Scores, int] = field(
        default_factory=lambda: (np.empty(0), np.empty(0), 0), repr=False, compare=False
    )

    def as_json(self) -> dict[str, Any]:
        """Give it as an object; every share is 0 to 1."""
        folds = self.folds
        return {
            "accuracy": folds.accuracy if folds else None,
            "std": folds.std if folds else None,
            "stderr": folds.stderr if folds else None,
            "tar": {f"{r.far:g}": r.tar for r in self.rates},
            "tar_interval": {
                f"{r.far:g}": list(r.interval) if r.interval else None for r in self.rates
            },
            "few": [f"{r.far:g}" for r in self.rates if r.few],
            "threshold": {f"{r.far:g}": r.threshold for r in self.rates},
            "precision_at_recall": {f"{x:g}": y for x, y in self.precisions.items()},
            "recall_at_precision": {f"{x:g}": y for x, y in self.recalls.items()},
            "pairs": self.pairs, "genuine": self.genuine, "missing": self.missing,
            "folds": list(folds.folds) if folds else [],
        }  # fmt: skip


def check_missing(missing: str) -> Missing:
    """Give a policy back if it is one.

    Raises:
        UsageError: It is none.
    """
    for known in get_args(Missing):
        if known == missing:
            policy: Missing = known
            return policy
    raise UsageError("--missing", repr(missing), "wrong or left-out")


def measure_pairs(pairs: ScoredPairs, fars: Sequence[float], missing: Missing) -> Verification:
    """Work out every measure of scored pairs.

    A pair of which an item gave no sample is rejected at every threshold: a genuine one lowers
    TAR and recall, an impostor stays among those that FAR is a share of. In the accuracy it is
    wrong, whichever of the two it is: a system does not earn a point by seeing no face.

    Args:
        pairs: At least one.
        fars: For TAR at FAR.
        missing: ``left-out`` drops such pairs instead.

    Raises:
        UsageError: A rate can't be, or no pair is left to choose a threshold by.
    """
    gone = pairs.missing
    count = int(gone.sum())
    if missing == "left-out":
        pairs, gone = pairs.take(~gone), np.zeros(len(gone) - count, np.bool_)
    scores, same = pairs.scores, pairs.same
    both = PrecisionRecall.of(scores, same)
    return Verification(
        len(same), int(same.sum()), count, fold_accuracy(scores, same, pairs.fold, gone),
        tuple(tar_at_far(scores, same, fars)),
        {recall: both.precision_at(recall) for recall in RECALLS},
        {precision: both.recall_at(precision) for precision in PRECISIONS},
        (np.sort(scores[same]), -np.sort(-scores[~same]), int((~same).sum())),
    )  # fmt: skip


def measure_tail(tail: Tail, fars: Sequence[float], samples_missing: int) -> Verification:
    """Work out the rates of all images against all; there is no accuracy, for there are no folds.

    Args:
        tail: From :func:`fusekit.evaluation.tails.within_tail`.
        fars: Those that the tail was made for.
        samples_missing: Erased samples, which are in no pair.
    """
    return Verification(
        len(tail.genuine) + tail.impostors, len(tail.genuine), samples_missing, None,
        tuple(rates_of_tail(tail.genuine, tail.top, tail.impostors, fars)),
        curve=(tail.genuine, tail.top, tail.impostors),
    )  # fmt: skip


def score_image_pairs(
    storage: Storage, info: DatasetInfo, keys: pa.Array, features: Vectors, protocol: str | None
) -> ScoredPairs:
    """Score the image pairs of a set.

    Args:
        storage: The store.
        info: The set's record, with a table of pairs.
        keys: ``(N,)`` of its samples.
        features: ``(N, D)``; zeros for erased samples, whose pairs are missing.
        protocol: Whose pairs; None: those of the main protocols.

    Raises:
        StoreError: There is no such protocol.
        StorageError: The table is damaged.
    """
    table = read_table(storage, layout.protocol(info.name, "pairs"), PAIRS_SCHEMA)
    names = table["protocol"].unique().to_pylist()
    if protocol is not None and protocol not in names:
        raise StoreError(info.name, f"no protocol {protocol!r}", f"one of {', '.join(names)}")
    table = table.filter(
        table["main"] if protocol is None else pc.equal(table["protocol"], protocol)
    )
    if not table.num_rows:
        raise StoreError(
            info.name, "has no pairs of a main protocol", None,
            f"name one: {info.name}:{names[0] if names else 'PROTOCOL'}",
        )  # fmt: skip
    there: Flags = np.any(features, axis=1)
    a, b = (_present(rows_of(keys, table[name]), there) for name in ("key_a", "key_b"))
    return ScoredPairs(
        pair_cosines(features, features, a, b), table["same"].to_numpy(),
        table["fold"].to_numpy().astype(np.int64), a, b, table["protocol"].combine_chunks(),
    )  # fmt: skip


def read_templates(
    storage: Storage, info: DatasetInfo, keys: pa.Array, features: Vectors, *, weigh: bool
) -> tuple[Numbers, Vectors]:
    """Pool a set's templates; see :func:`fusekit.evaluation.templates.pool_table`.

    Raises:
        StorageError: The table is damaged.
    """
    table = read_table(storage, layout.protocol(info.name, "templates"), TEMPLATES_SCHEMA)
    there: Flags = np.any(features, axis=1)
    rows = _present(rows_of(keys, table["key"]), there)
    numbers, pooled = pool_table(table, rows, features, weigh=weigh)
    known = pooled.any(axis=1)
    return numbers[known], pooled[known]


def score_template_pairs(
    storage: Storage, info: DatasetInfo, numbers: Numbers, pooled: Vectors
) -> ScoredPairs:
    """Score the template pairs of a set, which have no folds.

    Args:
        storage: The store.
        info: The set's record, with a table of template pairs.
        numbers: ``(t,)`` the templates that have an embedding, ascending.
        pooled: ``(t, D)``.

    Raises:
        StorageError: The table is damaged.
    """
    name = layout.protocol_plan(info.name, "template_pairs")
    table = read_table(storage, name, TEMPLATE_PAIRS_SCHEMA)
    a, b = (places_of(numbers, table[c].to_numpy()) for c in ("template_a", "template_b"))
    return ScoredPairs(
        pair_cosines(pooled, pooled, a, b), table["same"].to_numpy(),
        np.zeros(table.num_rows, np.int64), a, b,
    )  # fmt: skip


def compare_all(
    features: Vectors, people: Numbers, fars: Sequence[float], report: Report
) -> Verification:
    """Compare every image with every other.

    Args:
        features: ``(N, D)``; zeros for erased samples, which are in no pair.
        people: ``(N,)``; -1: nobody's.
        fars: The rates.
        report: Told of progress.
    """
    there = features.any(axis=1)
    tail = within_tail(features[there], people[there], fars, report)
    return measure_tail(tail, fars, int((~there).sum()))


def identity_numbers(storage: Storage, info: DatasetInfo) -> Numbers:
    """Give each sample's person (N,), in the manifest's order; -1: unknown."""
    parts = [
        read_table(storage, layout.manifest_part(info.name, unit), MANIFEST_SCHEMA,
                   ["identity_index"])["identity_index"].to_numpy()
        for unit in range(info.units)
    ]  # fmt: skip
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


def without_folds(pairs: ScoredPairs) -> ScoredPairs:
    """Take the folds off, where a part of the pairs is judged whose folds may be empty."""
    return replace(pairs, fold=np.zeros_like(pairs.fold))


def _present(rows: Numbers, there: Flags) -> Numbers:
    if not len(there):
        return np.full(len(rows), -1, np.int64)
    return np.where((rows >= 0) & there[rows], rows, -1)
