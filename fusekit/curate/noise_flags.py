"""Flag samples: like nobody of their identity, of a second person in it, or of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.curate.dominant import LEAST_PERSON, take
from fusekit.curate.search import nearest
from fusekit.progress import Progress
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from fusekit.curate.dominant import Dominant
    from fusekit.curate.noise_thresholds import NoiseThresholds
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet

TURNED_DEGREES: Final = 45.0
"""Of faces turned further, an embedding says too little to drop them."""
FEW_IDENTITIES: Final = 30
"""With fewer, what strangers score is known too roughly to drop anything."""
FLAGS: Final = ("outlier", "split", "mislabeled")
"""What :attr:`Flags.flag` counts in."""
NO_FLAG, OUTLIER, SPLIT, MISLABELED = -1, 0, 1, 2

_NEAREST: Final = 4  # so many are looked at for one who is not the same person twice
_BLOCK: Final = 1 << 15


@dataclass(frozen=True)
class Flags:
    """What is wrong with the samples of identities, in the order of a :class:`Dominant`.

    Attributes:
        flag: int8 ``(N,)``, a place in :data:`FLAGS`; -1: nothing.
        drop: ``(N,)``, flagged and clear; what is flagged and not clear is unsure.
        other: int64 ``(N,)``, place of the nearest other identity; -1: there is none, or the
            sample surely belongs where it is.
        other_score: float32 ``(N,)``, cosine with that identity's centre; -1: none.
    """

    flag: npt.NDArray[np.int8]
    drop: npt.NDArray[np.bool_]
    other: npt.NDArray[np.int64]
    other_score: npt.NDArray[np.float32]


def find_flags(
    storage: Storage, embeddings: EmbeddingSet, people: Dominant, limits: NoiseThresholds,
    report: Report,
) -> Flags:  # fmt: skip
    """Flag the samples of identities.

    Where several hold, a second person in the identity goes before another identity, and that
    before being like nobody.

    Args:
        storage: The store.
        embeddings: Of the dataset.
        people: The clusters inside its identities.
        limits: What decides.
        report: Told of progress.

    Raises:
        StorageError: A part of the embeddings or of the manifest is damaged.
    """
    other, other_score = _nearest_others(embeddings, people, limits, report)
    sizes = people.sizes
    owner = np.repeat(np.arange(len(sizes)), sizes)
    several = (sizes > 1)[owner]
    outside = people.cluster != 0
    unlike = people.score < limits.outlier
    clear = people.score < limits.clear
    nearer = other_score - people.score >= limits.margin
    outlier = several & ((outside & unlike) | clear)
    mislabeled = several & nearer & (other_score >= limits.search)
    split = people.apart <= limits.apart
    flag = np.select(
        [split, mislabeled, outlier], [SPLIT, MISLABELED, OUTLIER], default=NO_FLAG
    ).astype(np.int8)
    # Where half of the samples are not of one cluster, nobody can tell who belongs.
    told = ((2 * people.largest > sizes) & (people.largest >= LEAST_PERSON))[owner]
    near = ~_turned(storage, embeddings)[people.rows]
    drop = np.select(
        [split, mislabeled, outlier],
        [near & (people.apart <= limits.far_apart), told & unlike, near & told & outside & clear],
        default=False,
    )
    return Flags(flag, drop & (len(sizes) >= FEW_IDENTITIES), other, other_score)


def _nearest_others(
    embeddings: EmbeddingSet, people: Dominant, limits: NoiseThresholds, report: Report
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Compare the samples that don't surely belong with the centres of all other identities.

    An identity whose centre is that of the sample's own is the same person twice, which is no
    noise (``fusekit overlap`` finds it): the next one counts.
    """
    other = np.full(len(people.rows), -1, np.int64)
    score = np.full(len(people.rows), -1, np.float32)
    owner = np.repeat(np.arange(len(people.sizes), dtype=np.int32), people.sizes)
    unsure = (people.score < limits.search) | (people.apart < 1)
    doubtful = np.flatnonzero(unsure & (people.sizes > 1)[owner])
    places = np.arange(len(people.centres), dtype=np.int32)
    stage = f"compare {embeddings.dataset.name}"
    for begin in range(0, len(doubtful), _BLOCK):
        report(Progress(stage, begin, len(doubtful), "samples"))
        some = doubtful[begin : begin + _BLOCK]
        found = nearest(
            take(embeddings, people.rows[some]), people.centres, _NEAREST,
            query_of=owner[some], centre_of=places,
        )  # fmt: skip
        own = people.centres[owner[some]]  # (n, D)
        alike = np.stack([(people.centres[at] * own).sum(axis=1) for at in found.index.T], axis=1)
        somebody_else = (found.index >= 0) & (alike < limits.same)  # (n, k)
        first = somebody_else.argmax(axis=1)
        rows = np.arange(len(some))
        real = somebody_else[rows, first]
        other[some[real]] = found.index[rows, first][real]
        score[some[real]] = found.cosine[rows, first][real].clip(-1, 1)
    report(Progress(stage, len(doubtful), len(doubtful), "samples"))
    return other, score


def _turned(storage: Storage, embeddings: EmbeddingSet) -> npt.NDArray[np.bool_]:
    """Say which faces are turned so far away that they may be like nobody for that, (N,)."""
    yaws = [np.zeros(0, np.float32)]
    for unit in range(embeddings.dataset.units):
        part = layout.manifest_part(embeddings.dataset.name, unit)
        column = read_table(storage, part, MANIFEST_SCHEMA, ["yaw"]).column("yaw")
        yaws.append(column.fill_null(0).to_numpy())
    return np.abs(np.concatenate(yaws)) > TURNED_DEGREES
