"""Build a mixture: select rows, number labels, write tables and index; ``mixture.json`` last."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import MixtureError
from fusekit.fingerprint import file_sha256, fingerprint, first_difference
from fusekit.mixture.classes import class_tables, read_classes
from fusekit.mixture.exclude import name_removed
from fusekit.mixture.index import IndexWriter
from fusekit.mixture.labels import Labels, merge_labels, number_labels
from fusekit.mixture.people import count_overlap, read_clusters
from fusekit.mixture.plan import MixturePlan, plan_mixture
from fusekit.mixture.recipe import Recipe, load_recipe
from fusekit.mixture.rows import mixture_rows
from fusekit.mixture.select import Selection, select_rows
from fusekit.mixture.shards import list_shards
from fusekit.mixture.summary import FORMAT_VERSION, MixtureSummary, Overlap, SourceSummary
from fusekit.progress import Progress, Report, silent
from fusekit.schema import CLASSES_SCHEMA, MEMBERS_SCHEMA, MIXTURE_ROWS_SCHEMA, SHARDS_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import were_erased
from fusekit.store.layout import open_store
from fusekit.store.tables import write_table, writing_table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.storage.folder import Storage

FILES: Final = (
    "labeled.parquet", "unlabeled.parquet", "classes.parquet", "members.parquet",
    "shards.parquet", "index.arrow", "keys.arrow", "by_class.arrow",
)  # fmt: skip
_MAX_ROWS: Final = 2**31 - 1


def build_mixture(
    recipe: Recipe | str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    report: Report = silent,
) -> MixtureSummary:
    """Build a training mixture from ingested datasets.

    The rules of a recipe act in one order: erased samples, ``where``, ``exclude``, ``clean``,
    ``max_activation``, ``drop``, ``dedup``, ``max_images``, ``min_images``. The same recipe over
    the same datasets and findings gives the same bytes; when that mixture is there already,
    nothing is written.

    Args:
        recipe: A recipe, the path of its file, or the name of one of fusekit's own.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        overwrite: Replace a mixture of this name that was built otherwise.
        dry_run: Tell what would be built and write nothing.
        report: Told of the progress.

    Returns:
        What the mixture holds, and what each rule took.

    Raises:
        RecipeError: The recipe, or what it asks of a dataset, can't be.
        StoreError: A dataset is not ingested, or another process builds this mixture.
        FindingError: A rule, or merged labels, without exactly one fresh finding that fits.
        MixtureError: No sample is left of a dataset, another mixture has this name, or samples
            were erased while it was built.

    Example:
        >>> build_mixture("demo", store="fusekit-store").classes  # doctest: +SKIP
        19
    """
    origin = f"recipe {recipe.name}" if isinstance(recipe, Recipe) else str(recipe)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    storage = open_store(store)
    plan = plan_mixture(storage, recipe, origin)
    if dry_run:
        return _summary(storage, _choose(storage, plan, report))
    with storage.lock(f"mixture-{recipe.name}"):
        there = None if overwrite else _built_before(storage, plan)
        if there is not None:
            return MixtureSummary.of(there, "unchanged", _overlap_of_built(storage, plan, there))
        choice = _choose(storage, plan, report)
        about = _build(storage, choice, report)
        return MixtureSummary.of(about, "built", choice.overlap)


@dataclass(frozen=True)
class _Choice:
    """Rows and labels of a mixture that is to be built.

    Attributes:
        plan: What the recipe means.
        selections: One for each source.
        labels: Of the labeled ones.
        overlap: Who has several classes or, where labels are merged, would have; None: not known.
    """

    plan: MixturePlan
    selections: list[Selection]
    labels: Labels
    overlap: Overlap | None

    @property
    def labeled(self) -> list[Selection]:
        return self.selections[: len(self.labels.of_person)]


def _choose(storage: Storage, plan: MixturePlan, report: Report) -> _Choice:
    selections = select_rows(storage, plan, report)
    rows = sum(selection.rows for selection in selections)
    if rows > _MAX_ROWS:
        raise MixtureError(plan.recipe.name, f"{rows} rows", f"at most {_MAX_ROWS}")
    labeled = selections[: len(plan.recipe.labeled)]
    clusters = _clusters(storage, plan)
    if plan.recipe.labels == "merge" and clusters is not None:
        labels = merge_labels(labeled, clusters)
    else:
        labels = number_labels(labeled)
    present = [
        np.flatnonzero(mine[: chosen.info.identities] >= 0)
        for mine, chosen in zip(labels.of_person, labeled, strict=True)
    ]
    return _Choice(plan, selections, labels, _overlap(plan, clusters, present))


def _clusters(storage: Storage, plan: MixturePlan) -> list[npt.NDArray[np.int64]] | None:
    if plan.overlap is None:
        return None
    infos = [source.info for source in plan.sources[: len(plan.recipe.labeled)]]
    return read_clusters(storage, plan.overlap, infos)


def _overlap(
    plan: MixturePlan,
    clusters: Sequence[npt.NDArray[np.int64]] | None,
    present: Sequence[npt.NDArray[np.int64]],
) -> Overlap | None:
    if plan.overlap is None or clusters is None:
        return None
    return count_overlap(plan.overlap, clusters, present)


def _overlap_of_built(storage: Storage, plan: MixturePlan, about: dict[str, Any]) -> Overlap | None:
    if plan.recipe.labels == "merge":
        return Overlap(**about["merged"])
    name, columns = plan.recipe.name, ["source_index", "identity_index"]
    classes = read_classes(storage, name, about["format_version"], columns)
    source, person = (classes[column].to_numpy() for column in columns)
    present = [np.unique(person[source == k]) for k in range(len(plan.recipe.labeled))]
    return _overlap(plan, _clusters(storage, plan), present)


def _summary(storage: Storage, choice: _Choice) -> MixtureSummary:
    return MixtureSummary.of(_describe(storage, choice), "dry run", choice.overlap)


def _build(storage: Storage, choice: _Choice, report: Report) -> dict[str, Any]:
    folder = layout.mixture(choice.plan.recipe.name)
    about = _describe(storage, choice)
    storage.sweep(folder)
    # From here to the end there is no mixture of this name.
    storage.remove(f"{folder}/mixture.json")
    classes, members = class_tables(storage, choice.labeled, choice.labels)
    write_table(storage, f"{folder}/classes.parquet", classes, CLASSES_SCHEMA)
    write_table(storage, f"{folder}/members.parquet", members, MEMBERS_SCHEMA)
    _write_rows(storage, folder, choice, report)
    _check_erasures(storage, choice.plan)
    about["files"] = {
        name: {
            "sha256": file_sha256(storage.path(f"{folder}/{name}")),
            "size": storage.size(f"{folder}/{name}"),
        }
        for name in FILES
    }
    about["digest"] = fingerprint(about)
    text = json.dumps(about, indent=1, sort_keys=True)
    storage.write(f"{folder}/mixture.json", text.encode())
    return about


def _describe(storage: Storage, choice: _Choice) -> dict[str, Any]:
    plan, labels = choice.plan, choice.labels
    sources = _describe_sources(choice)
    labeled = sum(source.rows for source in sources if source.kind == "labeled")
    rows = sum(source.rows for source in sources)
    recipe = plan.recipe.as_json()
    excluded = plan.recipe.exclude
    removed = [
        each.as_json()
        for chosen in choice.labeled
        for each in name_removed(storage, chosen.info, chosen.removed)
    ]
    merged = choice.overlap if plan.recipe.labels == "merge" else None
    return {
        "format_version": FORMAT_VERSION,
        "name": plan.recipe.name,
        "fingerprint": plan.fingerprint,
        "recipe": recipe,
        "recipe_fingerprint": fingerprint(recipe),
        "findings": plan.findings,
        "softmax": "per_dataset" if plan.recipe.labels == "keep" else "joint",
        "template": plan.template,
        "crop_size": list(plan.crop_size),
        "labeled": labeled,
        "unlabeled": rows - labeled,
        "classes": labels.count,
        "class_ranges": labels.ranges and [list(pair) for pair in labels.ranges],
        "checked_against": list(excluded.evaluation) if excluded else [],
        "removed": removed,
        "merged": merged and vars(merged),
        "datasets": [source.as_json() for source in sources],
    }


def _describe_sources(choice: _Choice) -> list[SourceSummary]:
    sources: list[SourceSummary] = []
    labels, first_row = choice.labels, 0
    for source, chosen in zip(choice.plan.sources, choice.selections, strict=True):
        is_labeled = source.number < len(labels.of_person)
        sources.append(
            SourceSummary(
                dataset=chosen.info.name,
                dataset_index=source.number,
                store_index=chosen.info.index,
                kind="labeled" if is_labeled else "unlabeled",
                labels=labels.ranges[source.number] if is_labeled and labels.ranges else None,
                classes=len(labels.of_source(source.number)) if is_labeled else 0,
                rows=chosen.rows,
                first_row=first_row,
                samples=chosen.info.samples,
                steps=chosen.steps,
                finding=source.finding.fingerprint if source.finding else None,
                fingerprint=chosen.info.fingerprint,
                template=chosen.info.template,
            )
        )
        first_row += chosen.rows
    return sources


def _write_rows(storage: Storage, folder: str, choice: _Choice, report: Report) -> None:
    selections, of_person = choice.selections, choice.labels.of_person
    shards, numbers = list_shards(storage, selections)
    write_table(storage, f"{folder}/shards.parquet", shards, SHARDS_SCHEMA)
    total = sum(chosen.rows for chosen in selections)
    tables = {"labeled": range(len(of_person)), "unlabeled": range(len(of_person), len(selections))}
    done = 0
    with IndexWriter(storage, folder, total) as index:
        for name, sources in tables.items():
            target = f"{folder}/{name}.parquet"
            with writing_table(storage, target, MIXTURE_ROWS_SCHEMA) as write:
                for source in sources:
                    labels = of_person[source] if name == "labeled" else None
                    for piece, units in mixture_rows(storage, selections[source], labels, source):
                        write(piece)
                        index.add(piece, numbers[source][units])
                        done += piece.num_rows
                        report(Progress("write rows", done, total, "rows"))
        index.finish(labeled=sum(chosen.rows for chosen in choice.labeled))


def _check_erasures(storage: Storage, plan: MixturePlan) -> None:
    """Refuse what was read before or while samples were erased: it may say who they were."""
    if not were_erased(storage, [source.info for source in plan.sources]):
        return
    shutil.rmtree(storage.path(layout.mixture(plan.recipe.name)), ignore_errors=True)
    raise MixtureError(
        plan.recipe.name, "samples were erased while it was built", None,
        "build it again when fusekit forget is done",
    )  # fmt: skip


def _built_before(storage: Storage, plan: MixturePlan) -> dict[str, Any] | None:
    name, folder = plan.recipe.name, layout.mixture(plan.recipe.name)
    if not storage.exists(f"{folder}/mixture.json"):
        return None
    replace = "--overwrite builds it again"
    try:
        about: dict[str, Any] = json.loads(storage.read(f"{folder}/mixture.json"))
        version = about["format_version"]
        recipe = Recipe.model_validate(about["recipe"]).as_json()  # keys that are new since
        there = _comparable(recipe, about["datasets"], about.get("findings", {}))
        sizes = {file: about["files"][file]["size"] for file in FILES}
        erased = {d["dataset"]: d["dropped"].get("erased", 0) for d in about["datasets"]}
        same = about["fingerprint"] == fingerprint(plan.selection(erased))
    except (ValueError, KeyError, TypeError):
        raise MixtureError(name, "its mixture.json is damaged", None, replace) from None
    now = [
        {
            "dataset": source.info.name,
            "fingerprint": source.info.fingerprint,
            "finding": source.finding.fingerprint if source.finding else None,
        }
        for source in plan.sources
    ]
    different = first_difference(there, _comparable(plan.recipe.as_json(), now, plan.findings))
    if different or not same or version > FORMAT_VERSION:
        raise MixtureError(
            name, f"is there, built otherwise ({different or 'in another format'})", None,
            "give the recipe another name, or replace the mixture with --overwrite",
        )  # fmt: skip
    whole = all(
        storage.exists(f"{folder}/{file}") and storage.size(f"{folder}/{file}") == size
        for file, size in sizes.items()
    )
    return about if whole else None


def _comparable(
    recipe: dict[str, Any], datasets: list[dict[str, Any]], findings: dict[str, str]
) -> dict[str, Any]:
    inputs = {d["dataset"]: {k: d[k] for k in ("fingerprint", "finding")} for d in datasets}
    return {"recipe": recipe, "datasets": inputs, "findings": findings}
