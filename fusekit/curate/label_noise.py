"""Clean a dataset: samples that are not the person whose label they carry.

Inside each identity the samples are clustered by their likeness; who is outside the largest
cluster and unlike its centre is an outlier, and a further cluster as far from the largest as
strangers are is a second person. Then those who do not surely belong are compared with the
centres of all other identities. ``docs/explanation/label-noise.md`` gives the reasons and what
was measured.

Reference:
    Biemann, "Chinese whispers", TextGraphs 2006. Deng et al., "ArcFace", CVPR 2019, section 3.1,
    and Zhu et al., "WebFace260M", CVPR 2021 (CAST), for cleaning inside identities and then
    between them.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fusekit.curate.dominant import Dominant, find_dominant
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.noise_flags import (
    FEW_IDENTITIES,
    FLAGS,
    MISLABELED,
    NO_FLAG,
    OUTLIER,
    SPLIT,
    TURNED_DEGREES,
    Flags,
    find_flags,
)
from fusekit.curate.noise_thresholds import NoiseThresholds, noise_thresholds
from fusekit.curate.templates import make_templates
from fusekit.errors import UsageError
from fusekit.progress import Report, silent
from fusekit.schema import LABEL_NOISE_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import write_finding

if TYPE_CHECKING:
    import os

    from fusekit.curate.templates import Templates
    from fusekit.store.embeddings import EmbeddingSet

FALSE_MATCH: Final = 0.01
"""Share of strangers' images that would pass as an identity's own."""
VERSION: Final = 1

_KIND: Final = "label-noise"


@dataclass(frozen=True)
class NoisyIdentity:
    """What is wrong with one identity.

    Attributes:
        identity: As the dataset names it.
        name: Its display name; None: it has none.
        samples: How many it has.
        outliers: Samples like nobody of it.
        split: Samples of a second person in it.
        mislabeled: Samples nearer to another identity.
        dropped: Of the three, those that a recipe leaves out.
    """

    identity: str
    name: str | None
    samples: int
    outliers: int
    split: int
    mislabeled: int
    dropped: int


@dataclass(frozen=True)
class LabelNoiseResult:
    """What cleaning proposes; nothing is deleted, and a recipe that asks for it leaves them out.

    Attributes:
        dataset: The dataset.
        samples: How many were looked at: all but erased ones.
        identities: How many have samples.
        outliers: Samples like nobody of their identity.
        split: Identities of two people, as the dataset names them.
        mislabeled: Samples that are nearer to another identity.
        split_samples: Samples of the smaller of two people.
        dropped: Flagged samples that a recipe leaves out.
        unsure: Flagged samples that stay until a person says.
        noisy: Identities with anything flagged, by falling share of flagged samples.
        thresholds: Cosines that decided.
        finding: Fingerprint of the finding.
        warnings: What a reader must know before trusting the result.
        seconds: Of this run.
    """

    dataset: str
    samples: int
    identities: int
    outliers: int
    split: tuple[str, ...]
    mislabeled: int
    split_samples: int
    dropped: int
    unsure: int
    noisy: tuple[NoisyIdentity, ...]
    thresholds: NoiseThresholds
    finding: str
    warnings: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit clean --json`` prints."""
        return {
            "dataset": self.dataset, "samples": self.samples, "identities": self.identities,
            "outliers": self.outliers, "split": list(self.split), "mislabeled": self.mislabeled,
            "split_samples": self.split_samples, "dropped": self.dropped, "unsure": self.unsure,
            "thresholds": asdict(self.thresholds), "finding": self.finding,
            "warnings": list(self.warnings),
        }  # fmt: skip


def find_label_noise(
    dataset: str,
    *,
    embedder: str | None = None,
    false_match: float = FALSE_MATCH,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> LabelNoiseResult:
    """Find the samples of a dataset that are not the person whose label they carry.

    The result is a finding with one row for each flagged sample. Thresholds come from the
    dataset itself: how its identities score against each other. An identity of one sample has
    nothing to be compared with, so it is never flagged.

    Args:
        dataset: A dataset with identities.
        embedder: Model whose embeddings to compare: registry name, pack or path; None takes the
            one whose embeddings stand, else the default.
        false_match: Share of strangers' images that may pass as an identity's own, over 0, at
            most 0.1. A smaller one flags more.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Raises:
        UsageError: The dataset has no identities, or the rate can't be.
        StoreError: The dataset is not ingested, or embeddings of several models stand.
        ModelError: The embedder can't be had.
        FindingError: Fewer than two identities have images, so that nothing tells how strangers
            score.
        WorkError: Crops could not be embedded.
    """
    started = time.monotonic()
    storage = layout.open_store(store)
    info = open_dataset(storage, dataset)
    if not 0 < false_match <= 0.1:  # ten times as much is used too
        raise UsageError("--false-match", str(false_match), "over 0, at most 0.1")
    if not info.identities:
        raise UsageError(
            dataset, f"is {info.kind} and has no identities", "a dataset with identities",
            f"fusekit cluster {dataset} gives it pseudo-identities",
        )  # fmt: skip
    (embeddings,) = open_embeddings(storage, [info], embedder, None, report)
    templates = make_templates(storage, embeddings)
    limits = noise_thresholds(templates, embeddings, false_match)
    people = find_dominant(embeddings, templates, limits.edge, report)
    flags = find_flags(storage, embeddings, people, limits, report)
    table = _table(embeddings, templates, people, flags)
    about = {
        "dataset": dataset, "inputs": {dataset: info.fingerprint},
        "model": asdict(embeddings.model), "false_match": false_match,
        "thresholds": asdict(limits), "turned": TURNED_DEGREES, "version": VERSION,
    }  # fmt: skip
    finding = write_finding(storage, _KIND, about, table, LABEL_NOISE_SCHEMA, read=[info])
    noisy = _noisy(templates, people, flags)
    flagged = flags.flag != NO_FLAG
    return LabelNoiseResult(
        dataset=dataset, samples=len(people.rows), identities=len(people.identity),
        outliers=int((flags.flag == OUTLIER).sum()),
        split=tuple(templates.identities[i] for i in _split_identities(people, flags)),
        mislabeled=int((flags.flag == MISLABELED).sum()),
        split_samples=int((flags.flag == SPLIT).sum()),
        dropped=int(flags.drop.sum()), unsure=int((flagged & ~flags.drop).sum()),
        noisy=noisy, thresholds=limits, finding=finding.fingerprint,
        warnings=_warnings(people), seconds=time.monotonic() - started,
    )  # fmt: skip


def _table(
    embeddings: EmbeddingSet, templates: Templates, people: Dominant, flags: Flags
) -> pa.Table:
    """Make the finding's rows, in the order of the dataset's samples."""
    flagged = np.flatnonzero(flags.flag != NO_FLAG)
    flagged = flagged[np.argsort(people.rows[flagged])]
    owner = people.identity[np.searchsorted(people.starts, flagged, "right") - 1]
    other = flags.other[flagged]
    nobody = other < 0
    names = pa.array(templates.identities, pa.string())
    of_other = people.identity[other.clip(0)]
    columns = {
        "key": _keys(embeddings, people.rows[flagged]),
        "identity": names.take(pa.array(owner)),
        "identity_index": pa.array(owner),
        "flag": pa.array(FLAGS).take(pa.array(flags.flag[flagged])),
        "cluster": pa.array(people.cluster[flagged]),
        "score": pa.array(people.score[flagged]),
        "nearest_identity": names.take(pa.array(of_other, mask=nobody)),
        "nearest_score": pa.array(flags.other_score[flagged], mask=nobody),
        "decision": pa.array(["unsure", "drop"]).take(pa.array(flags.drop[flagged].astype(int))),
    }
    return pa.table(columns).select(LABEL_NOISE_SCHEMA.names).cast(LABEL_NOISE_SCHEMA)


def _keys(embeddings: EmbeddingSet, rows: npt.NDArray[np.int64]) -> pa.Array:
    parts = [pa.array([], pa.string())]
    for block in embeddings.blocks():
        begin, end = np.searchsorted(rows, [block.first_row, block.first_row + len(block.keys)])
        if begin < end:
            parts.append(block.keys.take(pa.array(rows[begin:end] - block.first_row)))
    return pa.concat_arrays(parts)


def _split_identities(people: Dominant, flags: Flags) -> list[int]:
    owner = np.repeat(people.identity, people.sizes)
    return [int(index) for index in np.unique(owner[flags.flag == SPLIT])]


def _noisy(templates: Templates, people: Dominant, flags: Flags) -> tuple[NoisyIdentity, ...]:
    owner = np.repeat(np.arange(len(people.sizes)), people.sizes)
    counts = np.stack(
        [np.bincount(owner[flags.flag == f], minlength=len(people.sizes)) for f in range(3)], axis=1
    )  # (I, 3)
    dropped = np.bincount(owner[flags.drop], minlength=len(people.sizes))
    share = counts.sum(axis=1) / people.sizes
    worst = np.lexsort((people.identity, -counts.sum(axis=1), -share))
    found = []
    for i in worst[: np.count_nonzero(share)].tolist():
        index = int(people.identity[i])
        outliers, split, mislabeled = counts[i].tolist()
        who = templates.identities[index], templates.names[index], int(people.sizes[i])
        found.append(NoisyIdentity(*who, outliers, split, mislabeled, int(dropped[i])))
    return tuple(found)


def _warnings(people: Dominant) -> tuple[str, ...]:
    found = []
    count = len(people.identity)
    if count < FEW_IDENTITIES:
        found.append(
            f"{count} identities are few: with fewer than {FEW_IDENTITIES}, what strangers score "
            "is known roughly, so nothing is dropped and all that is flagged is unsure"
        )
    if single := int((people.sizes == 1).sum()):
        found.append(f"{single} identities have a single image and can't be told")
    return tuple(found)
