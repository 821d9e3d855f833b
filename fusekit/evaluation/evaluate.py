"""Evaluate a model on the evaluation sets of a store, by their own protocols."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import StoreError, UsageError
from fusekit.evaluation.curves import check_plot, draw_curves
from fusekit.evaluation.embedders import Embeddings
from fusekit.evaluation.groups import (
    PROTOCOL,
    check_group,
    measure_groups,
    pair_groups,
    protocol_groups,
    sample_groups,
)
from fusekit.evaluation.identification import identify_images, search_gallery
from fusekit.evaluation.open_set import activation_table, centre_distance, max_activations
from fusekit.evaluation.rates import FARS, check_fars, gallery_errors
from fusekit.evaluation.templates import check_form, image_features, places_of, uses_mirror
from fusekit.evaluation.verification import (
    check_missing,
    compare_all,
    identity_numbers,
    measure_pairs,
    read_templates,
    score_image_pairs,
    score_template_pairs,
)
from fusekit.mixture.mixture import Mixture
from fusekit.progress import silent
from fusekit.schema import SEARCHES_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, open_dataset
from fusekit.store.heads import load_head
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from fusekit.evaluation.embedders import CropsToVectors, Samples
    from fusekit.evaluation.scores import Flags, Numbers, Vectors
    from fusekit.evaluation.templates import TemplateForm
    from fusekit.evaluation.verification import Missing, ScoredPairs, Verification
    from fusekit.progress import Report
    from fusekit.store.heads import Head

PROBE: Final = "probe"
"""The list of searches whose templates are looked for in each of the others."""


@dataclass(frozen=True)
class SetResult:
    """What one evaluation set gave.

    Attributes:
        name: As it was asked for, ``lfw`` or ``lfw:view-1``.
        verification: Of its pairs; None: the set has searches alone.
        more: Further tables, as :meth:`as_json` gives them.
    """

    name: str
    verification: Verification | None
    more: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give it as an object."""
        empty: dict[str, Any] = {"accuracy": None, "std": None, "stderr": None, "tar": {}}
        return (self.verification.as_json() if self.verification else empty) | self.more


@dataclass(frozen=True)
class EvaluationResult:
    """What a model reached.

    Attributes:
        model: Its name.
        template: The form of image features.
        sets: A result for each evaluation set, in the order they were asked for.
        unchecked: Those whose people nobody looked for in the mixture's training data.
    """

    model: str
    template: str
    sets: tuple[SetResult, ...]
    unchecked: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit evaluate --json`` prints: set to its figures."""
        return {each.name: each.as_json() for each in self.sets}


@dataclass(frozen=True)
class _Asked:
    """The settings of a run, checked."""

    form: TemplateForm
    fars: tuple[float, ...]
    missing: Missing
    by: str | None
    gallery: int | None
    neighbours: int | None
    weigh: bool


@dataclass(frozen=True)
class _Set:
    """One evaluation set, with the model's features of it."""

    storage: Storage
    info: DatasetInfo
    samples: Samples
    features: Vectors
    protocol: str | None


def evaluate(
    model: str | CropsToVectors,
    *,
    on: Sequence[str],
    template: str = "N0F0",
    fars: Sequence[float] = FARS,
    by: str | None = None,
    gallery: int | None = None,
    neighbours: int | None = None,
    head: str | None = None,
    missing: str = "wrong",
    weigh: bool = True,
    mixture: str | None = None,
    plot: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    report: Report = silent,
) -> EvaluationResult:
    """Evaluate a model on evaluation sets of a store, by their own protocols.

    A set with pairs gives accuracy over its folds and TAR at FAR; one with templates the same of
    template pairs, and 1:N figures where it has searches; one with identities alone is compared
    image by image, all with all. All of it is read, nothing in the store is written.

    Args:
        model: As :class:`fusekit.evaluation.embedders.Embeddings` takes it: a registry name, a
            pack, the path of an ONNX file, a torch module, or a callable.
        on: Names of evaluation sets in the store; ``NAME:PROTOCOL`` for one that is not the main.
        template: N0F0, N0F1, N1F0 or N1F1; see :mod:`fusekit.evaluation.templates`.
        fars: The false accept rates of TAR.
        by: Also judge each group apart: a column of the manifest, such as ``split``, or
            ``protocol``; None: not.
        gallery: Also say what the rates come to in a gallery of so many images; None: not.
        neighbours: Also identify every image among its set's others, by a vote of so many nearest
            ones; None: not.
        head: Also tabulate the activations that a trained head has on the sets' samples: a name
            in the store or a file's path; None: not.
        missing: What a pair counts as when an item of it gave no sample: ``wrong``, or
            ``left-out``.
        weigh: Whether the images of a template are weighted by the score that the release gives
            them, where it does.
        mixture: The mixture that the model was trained on, to say which sets' people were not
            looked for in it; None: nothing is said.
        plot: An SVG file to draw ROC and DET into; None: not.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        workers: Processes; None takes one per processor, 0 works in this process.
        report: Told of progress.

    Returns:
        The figures of each set.

    Raises:
        UsageError: A setting can't be; all are checked before any work.
        StoreError: A set is not in the store, is none for evaluation, or has no protocol.
        ModelError: The model is not here or gives no directions, or is not the head's.
        MixtureError: The mixture can't be opened.
        WorkError: Crops could not be embedded.

    Example:
        >>> evaluate("models/r50.onnx", on=["lfw"]).as_json()["lfw"]["pairs"]  # doctest: +SKIP
        6000

    Reference:
        The protocols: Huang et al. 2007 (folds), Maze et al. 2018 (templates and searches), Yu et
        al. 2019 (the four forms); each measure names its own.
    """
    asked = _Asked(
        check_form(template), check_fars(fars), check_missing(missing),
        None if by is None else check_group(by), gallery, neighbours, weigh,
    )  # fmt: skip
    _check_counts(gallery, neighbours)
    drawing = None if plot is None else check_plot(Path(plot))
    storage = layout.open_store(store)
    sets = [_open_set(storage, name, asked) for name in _distinct(on)]
    checked = None if mixture is None else Mixture.open(mixture, store=store).checked_against
    trained = None if head is None else load_head(storage, head)
    embeddings = Embeddings(model, workers, report)
    _check_head(trained, embeddings)
    results = []
    for name, info, protocol in sets:
        samples = embeddings.of(storage, info, mirrored=uses_mirror(asked.form))
        features = image_features(samples, asked.form)
        each = _Set(storage, info, samples, features, protocol)
        verification, more = _judge(each, asked, report)
        if trained is not None:
            more["open_set"] = _activations(trained, features)
        if checked is not None:
            more["unchecked"] = info.name not in checked
        about = {"model": embeddings.name, "template": asked.form}
        results.append(SetResult(name, verification, more | about))
    if drawing is not None:
        drawn = {r.name: r.verification.curve for r in results if r.verification is not None}
        _write(drawing, draw_curves(drawn))
    unchecked = tuple(r.name for r in results if r.more.get("unchecked"))
    return EvaluationResult(embeddings.name, asked.form, tuple(results), unchecked)


def _judge(each: _Set, asked: _Asked, report: Report) -> tuple[Verification | None, dict[str, Any]]:
    """Work out a set's figures by the tables that its protocol has."""
    info, more = each.info, {}
    verification: Verification | None = None
    if info.protocol.get("pairs"):
        pairs = score_image_pairs(
            each.storage, info, each.samples.keys, each.features, each.protocol
        )
        verification = measure_pairs(pairs, asked.fars, asked.missing)
        if asked.by is not None:
            more["by"] = _by(each, pairs, verification, asked)
    elif info.protocol.get("templates"):
        numbers, pooled = read_templates(
            each.storage, info, each.samples.keys, each.features, weigh=asked.weigh
        )
        if info.protocol.get("template_pairs"):
            scored = score_template_pairs(each.storage, info, numbers, pooled)
            verification = measure_pairs(scored, asked.fars, asked.missing)
        if info.protocol.get("searches"):
            more["identification"] = _searches(each.storage, info, numbers, pooled)
    else:
        people = identity_numbers(each.storage, info)
        verification = compare_all(each.features, people, asked.fars, report)
        if asked.by is not None:
            more["by"] = _compare_groups(each, people, asked, report)
    if asked.gallery is not None and verification is not None:
        more["gallery"] = _in_gallery(verification, asked.gallery)
    if asked.neighbours is not None:
        more["neighbours"] = _neighbours(each, verification, asked.neighbours)
    return verification, more


def _by(each: _Set, pairs: ScoredPairs, whole: Verification, asked: _Asked) -> dict[str, Any]:
    assert asked.by is not None
    if asked.by == PROTOCOL:
        names, groups = protocol_groups(pairs)
    else:
        names, of_samples = sample_groups(each.storage, each.info, asked.by)
        groups = pair_groups(pairs, of_samples)
    return measure_groups(pairs, names, groups, whole, asked.fars, asked.missing)


def _compare_groups(each: _Set, people: Numbers, asked: _Asked, report: Report) -> dict[str, Any]:
    assert asked.by is not None
    names, groups = sample_groups(each.storage, each.info, asked.by)
    return {
        name: compare_all(
            each.features[groups == n], people[groups == n], asked.fars, report
        ).as_json()
        for n, name in enumerate(names)
    }  # fmt: skip


def _searches(
    storage: Storage, info: DatasetInfo, numbers: Numbers, pooled: Vectors
) -> dict[str, Any]:
    """Search the probes in each gallery; a template without a sample has no embedding."""
    name = layout.protocol_plan(info.name, "searches")
    table = read_table(storage, name, SEARCHES_SCHEMA)
    of_list = np.array(table["list"].to_pylist(), np.str_)
    subjects = np.unique(np.array(table["subject"].to_pylist(), np.str_), return_inverse=True)[1]
    at = places_of(numbers, table["template"].to_numpy())
    vectors = np.where(at[:, None] >= 0, pooled[np.maximum(at, 0)], 0) if len(pooled) else (
        np.zeros((len(at), 1), np.float32)
    )  # fmt: skip
    probe = of_list == PROBE
    if not probe.any():
        raise StoreError(info.name, "its searches have no probes", f"a list {PROBE!r}")
    found = {}
    for gallery in sorted(set(of_list[~probe].tolist())):
        mine = of_list == gallery
        search = search_gallery(vectors[probe], subjects[probe], vectors[mine], subjects[mine])
        found[gallery] = search.as_json()
    return found


def _neighbours(each: _Set, verification: Verification | None, count: int) -> dict[str, Any]:
    """Identify every image among the others; strangers are told apart by the pairs' thresholds."""
    people = identity_numbers(each.storage, each.info)
    found = identify_images(each.features, people, count)
    rates = verification.rates if verification else ()
    return {
        "neighbours": count, **found.search.as_json(), "closed": found.vote_rates(),
        "open": {
            f"{rate.far:g}": found.vote_rates(rate.threshold)
            for rate in rates if rate.threshold is not None
        },
    }  # fmt: skip


def _in_gallery(verification: Verification, size: int) -> dict[str, Any]:
    folds = verification.folds
    return {
        "size": size,
        "far": {
            f"{rate.far:g}": gallery_errors(rate.far, size)
            for rate in verification.rates if rate.tar is not None
        },
        "accuracy": gallery_errors(1 - folds.accuracy, size) if folds else None,
    }  # fmt: skip


def _activations(head: Head, features: Vectors) -> dict[str, Any]:
    """Tabulate a head's activations: the largest over its datasets, each a softmax of its own."""
    there: Flags = np.any(features, axis=1)
    if head.weight.shape[1] != features.shape[1]:
        raise UsageError(
            "--head", f"{head.name} has centres of {head.weight.shape[1]} numbers",
            f"{features.shape[1]} as the model gives",
        )  # fmt: skip
    each = [
        max_activations(features[there], head.weight[first:end], head.scale)
        for _, first, end in head.ranges
    ]
    table = activation_table(np.max(each, axis=0))
    return {"head": head.name, **table, "centre_distance": centre_distance(head.weight)}


def _check_head(head: Head | None, embeddings: Embeddings) -> None:
    if head is None or head.embedder is None or embeddings.sha256 is None:
        return
    if head.embedder != embeddings.sha256:
        raise UsageError(
            "--head", f"{head.name} was trained on another model than {embeddings.name}",
            f"the one of sha256 {head.embedder[:8]}…",
        )  # fmt: skip


def _check_counts(gallery: int | None, neighbours: int | None) -> None:
    for option, count in (("--gallery", gallery), ("--neighbours", neighbours)):
        if count is not None and count < 1:
            raise UsageError(option, str(count), "1 or more")


def _distinct(on: Sequence[str]) -> list[str]:
    if not on:
        raise UsageError("--on", "no evaluation set", "one or more of the store")
    return list(dict.fromkeys(on))


def _open_set(storage: Storage, name: str, asked: _Asked) -> tuple[str, DatasetInfo, str | None]:
    dataset, _, protocol = name.partition(":")
    info = open_dataset(storage, layout.check_name(dataset, "dataset"))
    if info.kind != "evaluation":
        raise StoreError(dataset, f"is {info.kind}", "an evaluation set")
    tables = info.protocol
    if protocol and not tables.get("pairs"):
        raise StoreError(dataset, f"has no pairs, so no protocol {protocol!r}", dataset)
    if not (tables.get("pairs") or tables.get("templates") or info.identities):
        raise StoreError(dataset, "has no pairs, templates or identities", "a protocol")
    if tables.get("templates") and not any(
        map(tables.get, ("pairs", "template_pairs", "searches"))
    ):
        raise StoreError(
            dataset, "has templates, and nothing says which of them are one person's",
            "pairs of templates, or searches",
        )  # fmt: skip
    if asked.by is not None and tables.get("templates") and not tables.get("pairs"):
        raise UsageError("--by", f"{dataset} compares templates", "a set of image pairs")
    if asked.by == PROTOCOL and not tables.get("pairs"):
        raise UsageError("--by", f"{dataset} has no protocols", "a column of the manifest")
    return name, info, protocol or None


def _write(path: Path, text: str) -> None:
    folder = Storage(path.expanduser().absolute().parent)
    folder.write(path.name, text.encode())
