"""A dataset's signature: how well a linear probe tells the datasets of a store apart.

The probe sees embeddings only. Where it names the dataset of people that it has never seen, the
embedder carries something of how a dataset was taken, chosen, cut or compressed, and a head that
is trained on all of them can use it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.rng import derive, permute
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.embeddings import EmbeddingSet, embedding_models
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.embeddings import EmbeddingModel

_MOST: Final = 2_000  # samples of a dataset
_LEAST: Final = 40
_LEAST_PEOPLE: Final = 10
_RIDGE: Final = 1e-2  # of the mean eigenvalue of the samples' second moments
_FOLDS: Final = 2


@dataclass(frozen=True)
class DatasetSignature:
    """What the probe says of one dataset.

    Attributes:
        dataset: Its name.
        samples: Held-out samples that were judged.
        identities: Of so many people.
        recall: Share of them that the probe gave to this dataset.
        taken_for: The other dataset that it named most often; None when it never erred.
    """

    dataset: str
    samples: int
    identities: int
    recall: float
    taken_for: str | None


@dataclass(frozen=True)
class Signature:
    """How well a linear probe tells datasets apart.

    Attributes:
        model: Whose embeddings.
        datasets: What it says of each.
        accuracy: Mean of the recalls.
        chance: Of as many datasets.
        control: The same accuracy where identities were dealt out to the datasets at random: what
            the probe makes of people alone.
    """

    model: str
    datasets: tuple[DatasetSignature, ...]
    accuracy: float
    chance: float
    control: float

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return asdict(self) | {"datasets": [asdict(each) for each in self.datasets]}


@dataclass(frozen=True, eq=False)
class _Samples:
    """Embeddings of several datasets, and whose they are."""

    vectors: npt.NDArray[np.float64]  # (N, D)
    dataset: npt.NDArray[np.int64]  # (N,)
    person: npt.NDArray[np.int64]  # (N,) unique over all datasets


def measure_signature(storage: Storage, infos: Sequence[DatasetInfo]) -> Signature | None:
    """Train a probe on half of the people of each dataset and judge the other half by it.

    The probe is a ridge regression onto the datasets, all with the same weight. Halves are cut by
    identity (by sample where there are none) and judged by each other. Of a dataset at most 2,000
    samples count; those of fewer than 40 samples or 10 people, and those that lack the model's
    embeddings, are left out.

    Args:
        storage: The store.
        infos: The datasets.

    Returns:
        None when fewer than two datasets have embeddings by one model.

    Raises:
        StorageError: A part of the embeddings is damaged.
    """
    model, sets = _common(storage, infos)
    if model is None or len(sets) < 2:
        return None
    samples = _gather(storage, sets)
    classes = len(sets)
    judged = _judge(samples.vectors, samples.dataset, samples.person, classes)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (samples.dataset, judged), 1)
    recalls = np.diag(confusion) / confusion.sum(axis=1)
    each = tuple(
        DatasetSignature(
            dataset=found.dataset.name, samples=int(confusion[k].sum()),
            identities=len(np.unique(samples.person[samples.dataset == k])),
            recall=round(float(recalls[k]), 3), taken_for=_confused(confusion[k], k, sets),
        )
        for k, found in enumerate(sets)
    )  # fmt: skip
    return Signature(
        model=model.name, datasets=each, accuracy=round(float(recalls.mean()), 3),
        chance=round(1 / classes, 3), control=round(_control(samples, classes), 3),
    )  # fmt: skip


def _common(
    storage: Storage, infos: Sequence[DatasetInfo]
) -> tuple[EmbeddingModel | None, list[EmbeddingSet]]:
    """Choose the model that most datasets have whole embeddings of, the first by name of equals."""
    having: dict[EmbeddingModel, list[DatasetInfo]] = {}
    for info in infos:
        people = info.identities or info.samples
        if info.samples < _LEAST or people < _LEAST_PEOPLE:
            continue
        for model in embedding_models(storage, info.name):
            having.setdefault(model, []).append(info)
    if not having:
        return None, []
    model = min(having, key=lambda m: (-len(having[m]), m.folder))
    return model, [EmbeddingSet.open(storage, info, model) for info in having[model]]


def _gather(storage: Storage, sets: Sequence[EmbeddingSet]) -> _Samples:
    vectors, dataset, person = [], [], []
    people = 0
    for k, found in enumerate(sets):
        index = _identities(storage, found.dataset)
        picked = permute(np.arange(min(_MOST, len(index))), len(index), derive("signature"))
        rows = np.sort(picked.astype(np.int64))
        taken = found.take(rows).astype(np.float64)
        stored = np.abs(taken).any(axis=1)  # erased samples are zeros
        taken, who = taken[stored], index[rows[stored]].astype(np.int64)
        who = np.where(who < 0, np.arange(len(who)), who)
        _, numbered = np.unique(who, return_inverse=True)
        vectors.append(taken)
        dataset.append(np.full(len(taken), k))
        person.append(numbered + people)
        people += int(numbered.max(initial=-1)) + 1
    return _Samples(np.concatenate(vectors), np.concatenate(dataset), np.concatenate(person))


def _identities(storage: Storage, info: DatasetInfo) -> npt.NDArray[np.int32]:
    """Give the identity of the samples of enough units to choose from: units are random ones."""
    parts: list[npt.NDArray[np.int32]] = []
    for unit in range(info.units):
        if sum(map(len, parts)) >= _MOST:
            break
        name = layout.manifest_part(info.name, unit)
        rows = read_table(storage, name, MANIFEST_SCHEMA, ["identity_index"])
        parts.append(rows.column("identity_index").to_numpy())
    return np.concatenate(parts)


def _judge(
    vectors: npt.NDArray[np.float64], classes_of: npt.NDArray[np.int64],
    person: npt.NDArray[np.int64], classes: int,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Name the class of every sample by a probe that has not seen its person: (N,)."""
    fold = _fold(classes_of, person)
    judged = np.zeros(len(vectors), np.int64)
    for held in range(_FOLDS):
        train, test = fold != held, fold == held
        weights, bias = _fit(vectors[train], classes_of[train], classes)
        judged[test] = (vectors[test] @ weights + bias).argmax(axis=1)
    return judged


def _fold(
    classes_of: npt.NDArray[np.int64], person: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Deal the people of every class out to the folds in turn, in an order of their own: (N,)."""
    fold = np.zeros(len(person), np.int64)
    for k in np.unique(classes_of):
        mine = np.flatnonzero(classes_of == k)
        people, number = np.unique(person[mine], return_inverse=True)
        order = permute(np.arange(len(people)), len(people), derive("fold", int(k)))
        fold[mine] = (order.astype(np.int64) % _FOLDS)[number]
    return fold


def _fit(
    vectors: npt.NDArray[np.float64], classes_of: npt.NDArray[np.int64], classes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit a ridge regression onto the classes, each of the same weight: (D, K) and (K,)."""
    counts = np.bincount(classes_of, minlength=classes)
    share = 1 / (classes * np.maximum(counts, 1))[classes_of]  # (N,), sums to 1
    mean = share @ vectors
    centred = vectors - mean
    wanted = np.eye(classes)[classes_of] - 1 / classes
    moments = (centred * share[:, None]).T @ centred  # (D, D)
    ridge = _RIDGE * np.trace(moments) / len(moments)
    weights = np.linalg.solve(
        moments + ridge * np.eye(len(moments)), (centred * share[:, None]).T @ wanted
    )
    return weights, -mean @ weights


def _control(samples: _Samples, classes: int) -> float:
    """Deal all people out to as many classes at random, and give the probe's mean recall."""
    people = int(samples.person.max()) + 1
    dealt = permute(np.arange(people), people, derive("control")).astype(np.int64) % classes
    classes_of = dealt[samples.person]
    right = _judge(samples.vectors, classes_of, samples.person, classes) == classes_of
    return float(np.mean([right[classes_of == k].mean() for k in np.unique(classes_of)]))


def _confused(row: npt.NDArray[np.int64], mine: int, sets: Sequence[EmbeddingSet]) -> str | None:
    others = row.copy()
    others[mine] = 0
    return sets[int(others.argmax())].dataset.name if others.any() else None
