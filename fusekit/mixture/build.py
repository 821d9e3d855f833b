"""Build a mixture: select rows, number labels, write tables and index; ``mixture.json`` last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import MixtureError
from fusekit.fingerprint import file_sha256, fingerprint, first_difference
from fusekit.mixture.index import IndexWriter
from fusekit.mixture.labels import class_table, member_table, number_labels
from fusekit.mixture.plan import MixturePlan, SourcePlan, plan_mixture
from fusekit.mixture.recipe import LabeledSource, Recipe, load_recipe
from fusekit.mixture.rows import mixture_rows
from fusekit.mixture.select import Selection, select_labeled, select_unlabeled
from fusekit.mixture.shards import list_shards
from fusekit.mixture.summary import FORMAT_VERSION, MixtureSummary, SourceSummary
from fusekit.progress import Progress, Report, silent
from fusekit.schema import CLASSES_SCHEMA, MEMBERS_SCHEMA, MIXTURE_ROWS_SCHEMA, SHARDS_SCHEMA
from fusekit.store import layout
from fusekit.store.layout import open_store
from fusekit.store.tables import write_table, writing_table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from fusekit.mixture.labels import LabelRange
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

    The rules of a recipe act in one order: erased samples, ``where``, ``max_activation``,
    ``max_images``, ``min_images``. The same recipe over the same datasets and findings gives
    the same bytes; when that mixture is there already, nothing is written.

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
        FindingError: ``max_activation`` without exactly one fresh finding that fits.
        MixtureError: No sample is left of a dataset, or another mixture has this name.

    Example:
        >>> build_mixture("demo", store="fusekit-store").classes  # doctest: +SKIP
        19
    """
    origin = f"recipe {recipe.name}" if isinstance(recipe, Recipe) else str(recipe)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    storage = open_store(store)
    plan = plan_mixture(storage, recipe, origin)
    if dry_run:
        return MixtureSummary.of(_describe(plan, *_select(storage, plan, report)), "dry run")
    with storage.lock(f"mixture-{recipe.name}"):
        there = None if overwrite else _built_before(storage, plan)
        if there is not None:
            return MixtureSummary.of(there, "unchanged")
        return MixtureSummary.of(_build(storage, plan, report), "built")


def _build(storage: Storage, plan: MixturePlan, report: Report) -> dict[str, Any]:
    folder = layout.mixture(plan.recipe.name)
    selections, ranges = _select(storage, plan, report)
    about = _describe(plan, selections, ranges)
    storage.sweep(folder)
    # From here to the end there is no mixture of this name.
    storage.remove(f"{folder}/mixture.json")
    classes = class_table(storage, selections[: len(ranges)], ranges)
    write_table(storage, f"{folder}/classes.parquet", classes, CLASSES_SCHEMA)
    write_table(storage, f"{folder}/members.parquet", member_table(classes), MEMBERS_SCHEMA)
    _write_rows(storage, folder, selections, ranges, report)
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


def _select(
    storage: Storage, plan: MixturePlan, report: Report
) -> tuple[list[Selection], list[LabelRange]]:
    selections = []
    for source in plan.sources:
        report(Progress("select rows", source.number, len(plan.sources), "datasets"))
        selections.append(_select_one(storage, plan.recipe, source))
    report(Progress("select rows", len(plan.sources), len(plan.sources), "datasets"))
    rows = sum(selection.rows for selection in selections)
    if rows > _MAX_ROWS:
        raise MixtureError(plan.recipe.name, f"{rows} rows", f"at most {_MAX_ROWS}")
    return selections, number_labels(selections[: len(plan.recipe.labeled)])


def _select_one(storage: Storage, recipe: Recipe, source: SourcePlan) -> Selection:
    asked, info = source.asked, source.info
    if isinstance(asked, LabeledSource):
        chosen = select_labeled(storage, info, asked, source.condition, recipe.seed)
    else:
        chosen = select_unlabeled(storage, info, asked, source.condition, source.finding)
    if not chosen.rows:
        took = "".join(f", {rule} took {n}" for rule, n in chosen.dropped.items() if n)
        where = f"{recipe.name}: {info.name}"
        found = f"no sample is left of {info.samples}{took}"
        raise MixtureError(where, found, None, "loosen its rules or leave it out")
    return chosen


def _describe(
    plan: MixturePlan, selections: Sequence[Selection], ranges: Sequence[LabelRange]
) -> dict[str, Any]:
    sources: list[SourceSummary] = []
    first_row = 0
    for source, chosen in zip(plan.sources, selections, strict=True):
        labels = ranges[source.number] if source.number < len(ranges) else None
        sources.append(
            SourceSummary(
                dataset=chosen.info.name,
                dataset_index=source.number,
                store_index=chosen.info.index,
                kind="unlabeled" if labels is None else "labeled",
                labels=None if labels is None else (labels.first, labels.end),
                rows=chosen.rows,
                first_row=first_row,
                samples=chosen.info.samples,
                dropped=chosen.dropped,
                finding=source.finding.fingerprint if source.finding else None,
                fingerprint=chosen.info.fingerprint,
                template=chosen.info.template,
            )
        )
        first_row += chosen.rows
    labeled = sum(source.rows for source in sources if source.kind == "labeled")
    recipe = plan.recipe.as_json()
    return {
        "format_version": FORMAT_VERSION,
        "name": plan.recipe.name,
        "fingerprint": plan.fingerprint,
        "recipe": recipe,
        "recipe_fingerprint": fingerprint(recipe),
        "softmax": "per_dataset" if plan.recipe.labels == "keep" else "joint",
        "template": plan.template,
        "crop_size": list(plan.crop_size),
        "labeled": labeled,
        "unlabeled": first_row - labeled,
        "classes": ranges[-1].end,
        "class_ranges": [[labels.first, labels.end] for labels in ranges],
        "datasets": [source.as_json() for source in sources],
    }


def _write_rows(
    storage: Storage,
    folder: str,
    selections: Sequence[Selection],
    ranges: Sequence[LabelRange],
    report: Report,
) -> None:
    shards, numbers = list_shards(storage, selections)
    write_table(storage, f"{folder}/shards.parquet", shards, SHARDS_SCHEMA)
    total = sum(chosen.rows for chosen in selections)
    tables = {"labeled": range(len(ranges)), "unlabeled": range(len(ranges), len(selections))}
    done = 0
    with IndexWriter(storage, folder, total) as index:
        for name, sources in tables.items():
            target = f"{folder}/{name}.parquet"
            with writing_table(storage, target, MIXTURE_ROWS_SCHEMA) as write:
                for source in sources:
                    labels = ranges[source].of_identity if name == "labeled" else None
                    for piece, units in mixture_rows(storage, selections[source], labels, source):
                        write(piece)
                        index.add(piece, numbers[source][units])
                        done += piece.num_rows
                        report(Progress("write rows", done, total, "rows"))
        index.finish(labeled=sum(chosen.rows for chosen in selections[: len(ranges)]))


def _built_before(storage: Storage, plan: MixturePlan) -> dict[str, Any] | None:
    name, folder = plan.recipe.name, layout.mixture(plan.recipe.name)
    if not storage.exists(f"{folder}/mixture.json"):
        return None
    replace = "--overwrite builds it again"
    try:
        about: dict[str, Any] = json.loads(storage.read(f"{folder}/mixture.json"))
        version = about["format_version"]
        recipe = Recipe.model_validate(about["recipe"]).as_json()  # keys that are new since
        there = _comparable(recipe, about["datasets"])
        sizes = {file: about["files"][file]["size"] for file in FILES}
        same = about["fingerprint"] == plan.fingerprint
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
    different = first_difference(there, _comparable(plan.recipe.as_json(), now))
    if different or not same or version != FORMAT_VERSION:
        raise MixtureError(
            name, f"is there, built otherwise ({different or 'in another format'})", None,
            "give the recipe another name, or replace the mixture with --overwrite",
        )  # fmt: skip
    whole = all(
        storage.exists(f"{folder}/{file}") and storage.size(f"{folder}/{file}") == size
        for file, size in sizes.items()
    )
    return about if whole else None


def _comparable(recipe: dict[str, Any], datasets: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = {d["dataset"]: {k: d[k] for k in ("fingerprint", "finding")} for d in datasets}
    return {"recipe": recipe, "datasets": inputs}
