"""What a recipe means in one store: every dataset, condition and finding found and checked.

Everything that can be refused without reading rows is refused here, before any work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from fusekit.cards.card import CROP_SIZES
from fusekit.errors import RecipeError
from fusekit.fingerprint import fingerprint
from fusekit.mixture.evidence import (
    find_activation,
    find_contamination,
    find_duplicates,
    find_noise,
    find_overlap,
)
from fusekit.mixture.exclude import find_excluded
from fusekit.mixture.recipe import LabeledSource
from fusekit.mixture.where import EVERY, Condition, parse_where
from fusekit.store.datasets import DatasetInfo, open_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusekit.mixture.recipe import Recipe, UnlabeledSource
    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

# Of what a mixture's fingerprint says; rows and labels follow from the same as they always did.
_SELECTION_VERSION: Final = 1


@dataclass(frozen=True)
class SourcePlan:
    """One dataset of a recipe.

    Attributes:
        number: Its source index.
        asked: What the recipe says of it.
        info: The dataset.
        condition: Its ``where``, checked.
        finding: The activation finding to filter it by, or the label-noise finding to clean it
            by; None: neither.
        excluded: Identity index to the reason why it is left out; None: nobody is asked for.
    """

    number: int
    asked: LabeledSource | UnlabeledSource
    info: DatasetInfo
    condition: Condition
    finding: Finding | None = None
    excluded: dict[int, str] | None = None

    @property
    def noise(self) -> Finding | None:
        """The label-noise finding; None: the dataset is not cleaned."""
        return self.finding if isinstance(self.asked, LabeledSource) else None


@dataclass(frozen=True)
class MixturePlan:
    """A recipe and what it names.

    Attributes:
        recipe: The recipe.
        sources: Labeled datasets, then unlabeled ones, in the recipe's order.
        contamination: The finding of who is in evaluation sets; None: not asked for.
        duplicates: The finding of copies; None: they stay.
        overlap: The finding of who is in several datasets; None: there is not exactly one.
    """

    recipe: Recipe
    sources: tuple[SourcePlan, ...]
    contamination: Finding | None = None
    duplicates: Finding | None = None
    overlap: Finding | None = None

    @property
    def template(self) -> str:
        """What the mixture's crops are aligned to when they are loaded."""
        return self.recipe.template or self.sources[0].info.template

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of the crops that the mixture gives, in pixels."""
        if self.recipe.template is None:
            return self.sources[0].info.crop_size
        return CROP_SIZES[self.recipe.template]

    @property
    def findings(self) -> dict[str, str]:
        """Kind to fingerprint of the findings of all datasets that rows or labels follow from."""
        used = (
            ("contamination", self.contamination), ("duplicates", self.duplicates),
            ("overlap", self.overlap if self.recipe.labels == "merge" else None),
        )  # fmt: skip
        return {kind: finding.fingerprint for kind, finding in used if finding is not None}

    def selection(self, erased: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Give everything that rows, labels and pixels follow from, as JSON values.

        Args:
            erased: Dataset to how many of its samples were erased when a mixture was built; None:
                as many as are now. Erasure leaves a dataset's fingerprint as it is, and a mixture
                that is built later has fewer rows.
        """
        if erased is None:
            erased = {s.info.name: s.info.forgotten.get("samples", 0) for s in self.sources}
        plain = self.recipe.as_json()
        said: dict[str, Any] = {k: plain[k] for k in ("exclude", "dedup") if k in plain}
        template = self.recipe.template
        return {
            "format_version": _SELECTION_VERSION,
            "labels": self.recipe.labels,
            **({} if template is None else {"template": template}),
            **said,
            **({"findings": self.findings} if self.findings else {}),
            "seed": self.recipe.seed,
            "sources": [
                source.asked.as_json()
                | {
                    "kind": source.info.kind,
                    "dataset_index": source.info.index,
                    "fingerprint": source.info.fingerprint,
                    "finding": source.finding.fingerprint if source.finding else None,
                    **({"erased": n} if (n := erased.get(source.info.name, 0)) else {}),
                }
                for source in self.sources
            ],
        }

    @property
    def fingerprint(self) -> str:
        """The mixture's fingerprint: that of :meth:`selection`."""
        return fingerprint(self.selection())


def plan_mixture(storage: Storage, recipe: Recipe, origin: str) -> MixturePlan:
    """Find and check everything that a recipe names.

    Args:
        storage: The store.
        recipe: The recipe.
        origin: Its file, for messages.

    Raises:
        StoreError: A dataset is not ingested.
        RecipeError: A dataset is of another kind or aligned otherwise; a condition can't be.
        FindingError: A rule asks for a finding, and there is not exactly one fresh one that speaks
            of what it asks.
    """
    known = [source.dataset for source in recipe.labeled]
    plans = [
        _plan(storage, asked, number, f"{origin}: labeled[{number}]", "labeled")
        for number, asked in enumerate(recipe.labeled)
    ]
    for number, asked in enumerate(recipe.unlabeled):
        place = f"{origin}: unlabeled[{number}]"
        plans.append(_plan(storage, asked, len(plans), place, "unlabeled"))
    _check_alignment([plan.info for plan in plans], recipe.template, origin)
    contamination = find_contamination(storage, recipe)
    infos = [plan.info for plan in plans[: len(known)]]
    excluded = find_excluded(storage, recipe.exclude, infos, contamination, origin)
    sources = tuple(
        replace(
            plan,
            finding=_finding(storage, plan.asked, known),
            excluded=excluded.get(plan.info.name),
        )
        for plan in plans
    )
    return MixturePlan(
        recipe, sources, contamination, find_duplicates(storage, recipe),
        find_overlap(storage, recipe),
    )  # fmt: skip


def _plan(
    storage: Storage,
    asked: LabeledSource | UnlabeledSource,
    number: int,
    place: str,
    kind: Literal["labeled", "unlabeled"],
) -> SourcePlan:
    info = open_dataset(storage, asked.dataset)
    if info.kind == "evaluation":
        raise RecipeError(
            place, f"{info.name} is an evaluation dataset", None,
            "leave it out: what was trained on can't measure the result",
        )  # fmt: skip
    if info.kind != kind:
        raise RecipeError(
            place, f"{info.name} is {info.kind}", f"a dataset that is {kind}",
            f"list it under '{info.kind}:'",
        )  # fmt: skip
    condition = parse_where(asked.where, f"{place}.where") if asked.where else EVERY
    return SourcePlan(number, asked, info, condition)


def _finding(
    storage: Storage, asked: LabeledSource | UnlabeledSource, known: list[str]
) -> Finding | None:
    if isinstance(asked, LabeledSource):
        return find_noise(storage, asked)
    return find_activation(storage, asked, known)


def _check_alignment(infos: list[DatasetInfo], asked: str | None, origin: str) -> None:
    """Refuse two templates in one mixture, and those that can't be brought to the asked one."""
    if asked is not None:
        for info in infos:
            if CROP_SIZES.get(info.template) != info.crop_size:
                raise RecipeError(
                    origin, f"{info.name} is aligned to {_alignment(info)}",
                    f"a template that can be brought to {asked}: {', '.join(CROP_SIZES)}",
                )  # fmt: skip
        return
    aligned: dict[str, list[str]] = {}
    for info in infos:
        aligned.setdefault(_alignment(info), []).append(info.name)
    if len(aligned) > 1:
        found = "; ".join(f"{', '.join(names)}: {which}" for which, names in aligned.items())
        raise RecipeError(
            origin, f"its datasets are aligned to {len(aligned)} templates ({found})", "one",
            "'template: arcface-112' in the recipe brings every crop to it",
        )  # fmt: skip


def _alignment(info: DatasetInfo) -> str:
    return f"{info.template} ({info.crop_size[0]}x{info.crop_size[1]})"
