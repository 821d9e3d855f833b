"""The table of activations: every sample's numbers, and who is out by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from fusekit.curate.flags import make_flags
from fusekit.curate.scores import KnownPeople, Scores, score
from fusekit.errors import FindingError
from fusekit.progress import Progress, Report
from fusekit.schema import ACTIVATIONS_SCHEMA

if TYPE_CHECKING:
    from fusekit.curate.calibration import Calibration
    from fusekit.curate.products import Precision
    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet

Rule: TypeAlias = Literal["two-part", "activation"]

BF16_DIFFERS: Final = 0.02
"""Activations of bf16 may differ by this much from those of float32."""
_PROBES: Final = 256


@dataclass(frozen=True)
class Judge:
    """Known people and the rule that decides.

    Attributes:
        known: The people.
        rule: ``two-part`` or ``activation``.
        cosine: The largest cosine that stays; None under the rule of activations alone.
        calibrations: What was fitted; empty with a head.
        left_out: Identities of one image, by dataset.
    """

    known: KnownPeople
    rule: Rule
    cosine: float | None
    calibrations: tuple[Calibration, ...]
    left_out: dict[str, int]


def make_table(
    storage: Storage, embeddings: EmbeddingSet, by: Judge, precision: Precision, report: Report
) -> pa.Table:
    """Score and flag all samples of a dataset, in the manifest's order.

    Memory holds the table, the known people and one block of products.

    Args:
        storage: The store.
        embeddings: Of the unlabeled dataset.
        by: Whom to compare with.
        precision: Of the products.
        report: Told of progress.

    Raises:
        StorageError: Embeddings or a manifest are damaged.
    """
    known = by.known if precision == "float32" else by.known.rounded()
    dataset_of = np.repeat(
        np.arange(len(known.ranges)), [end - first for _, first, end in known.ranges]
    )
    names = pa.array([name for name, _, _ in known.ranges], pa.string())
    identities = pa.array(known.identities, pa.string())
    low_quality, duplicate_of = make_flags(storage, embeddings.dataset)
    parts = [ACTIVATIONS_SCHEMA.empty_table()]
    done = 0
    stage = f"filter {embeddings.dataset.name}"
    report(Progress(stage, done, embeddings.rows, "samples"))
    for block in embeddings.blocks():
        scores = score(block.vectors, known, precision=precision)
        rows, k = np.arange(len(block.vectors)), _telling(scores, by.cosine)
        nearest = scores.nearest[rows, k]
        columns = [
            block.keys,
            pa.array(scores.activation[rows, k]),
            pa.array(scores.cosine[rows, k]),
            names.take(pa.array(dataset_of[nearest])),
            identities.take(pa.array(nearest)),
            low_quality.slice(done, len(rows)),
            duplicate_of.slice(done, len(rows)),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=ACTIVATIONS_SCHEMA))
        done += len(rows)
        report(Progress(stage, done, embeddings.rows, "samples"))
    return pa.concat_tables(parts)


def out_of(table: pa.Table, threshold: float, cosine: float | None) -> np.ndarray[Any, Any]:
    """Tell which samples are dropped: bool ``(N,)``.

    Args:
        table: The finding's.
        threshold: The largest activation that stays.
        cosine: The largest cosine that stays; None: it does not count.
    """
    # As float64, so that a stored float32 is compared with the threshold and not with its
    # rounding: SQL does the same.
    out = table.column("activation").to_numpy().astype(np.float64) > threshold
    if cosine is not None:
        out &= table.column("cosine").to_numpy().astype(np.float64) > cosine
    return np.asarray(out)


def check_bf16(embeddings: EmbeddingSet, by: Judge) -> dict[str, float]:
    """Compare bf16 with float32 on at most 256 samples, spread evenly over the dataset.

    Returns:
        The largest differences, of ``activation`` and ``cosine``, and how many ``samples`` were
        looked at.

    Raises:
        FindingError: An activation differs by more than :data:`BF16_DIFFERS`.
        MissingExtraError: torch is not installed.
    """
    count = min(_PROBES, embeddings.rows)
    rows = np.arange(count) * embeddings.rows // max(count, 1)
    vectors = embeddings.take(rows)
    exact = score(vectors, by.known)
    coarse = score(vectors, by.known.rounded(), precision="bf16")
    differs = {
        "activation": _largest(exact.activation - coarse.activation),
        "cosine": _largest(exact.cosine - coarse.cosine),
        "samples": count,
    }
    if differs["activation"] > BF16_DIFFERS:
        raise FindingError(
            embeddings.dataset.name,
            f"activations by bf16 differ from float32's by {differs['activation']:.3f}",
            f"at most {BF16_DIFFERS}", "leave --precision bf16 out",
        )  # fmt: skip
    return differs


def _largest(differences: np.ndarray[Any, Any]) -> float:
    return round(float(np.abs(differences).max(initial=0)), 6)


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
