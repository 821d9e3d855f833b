"""What a recipe means in one store: every dataset, condition and finding found and checked.

Everything that can be refused without reading rows is refused here, before any work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fusekit.cards.card import CROP_SIZES
from fusekit.errors import FindingError, RecipeError
from fusekit.fingerprint import fingerprint
from fusekit.mixture.summary import FORMAT_VERSION
from fusekit.mixture.where import EVERY, Condition, parse_where
from fusekit.store.datasets import DatasetInfo, open_dataset
from fusekit.store.findings import Finding, find_fresh

if TYPE_CHECKING:
    from fusekit.mixture.recipe import LabeledSource, Recipe, UnlabeledSource
    from fusekit.storage.folder import Storage


@dataclass(frozen=True)
class SourcePlan:
    """One dataset of a recipe.

    Attributes:
        number: Its source index.
        asked: What the recipe says of it.
        info: The dataset.
        condition: Its ``where``, checked.
        finding: The activation finding to filter it by; None: not filtered.
    """

    number: int
    asked: LabeledSource | UnlabeledSource
    info: DatasetInfo
    condition: Condition
    finding: Finding | None = None


@dataclass(frozen=True)
class MixturePlan:
    """A recipe and what it names.

    Attributes:
        recipe: The recipe.
        sources: Labeled datasets, then unlabeled ones, in the recipe's order.
    """

    recipe: Recipe
    sources: tuple[SourcePlan, ...]

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

    def selection(self) -> dict[str, Any]:
        """Give everything that rows, labels and pixels follow from, as JSON values."""
        template = self.recipe.template
        return {
            "format_version": FORMAT_VERSION,
            "labels": self.recipe.labels,
            **({} if template is None else {"template": template}),
            "seed": self.recipe.seed,
            "sources": [
                source.asked.model_dump(mode="json")
                | {
                    "kind": source.info.kind,
                    "dataset_index": source.info.index,
                    "fingerprint": source.info.fingerprint,
                    "finding": source.finding.fingerprint if source.finding else None,
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
        FindingError: There is not exactly one fresh finding that knows the labeled datasets.
    """
    known = [source.dataset for source in recipe.labeled]
    plans = [
        _plan(storage, asked, number, f"{origin}: labeled[{number}]", "labeled")
        for number, asked in enumerate(recipe.labeled)
    ]
    for number, asked in enumerate(recipe.unlabeled):
        place = f"{origin}: unlabeled[{number}]"
        finding = _finding(storage, asked, known)
        plans.append(_plan(storage, asked, len(plans), place, "unlabeled", finding))
    _check_alignment([plan.info for plan in plans], recipe.template, origin)
    return MixturePlan(recipe, tuple(plans))


def _plan(
    storage: Storage,
    asked: LabeledSource | UnlabeledSource,
    number: int,
    place: str,
    kind: Literal["labeled", "unlabeled"],
    finding: Finding | None = None,
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
    return SourcePlan(number, asked, info, condition, finding)


def _finding(storage: Storage, asked: UnlabeledSource, known: list[str]) -> Finding | None:
    if asked.max_activation is None:
        return None
    # A dataset that is not there is a plainer answer than a finding that is not there.
    open_dataset(storage, asked.dataset)
    finding = find_fresh(storage, "activation", datasets=[asked.dataset], prefix=asked.finding)
    missing = [name for name in known if name not in finding.about.get("against", [])]
    if missing and not finding.about.get("head"):
        options = " ".join(f"--against {name}" for name in known)
        raise FindingError(
            asked.dataset,
            f"activation finding {finding.fingerprint[:12]} does not know {', '.join(missing)}",
            "every labeled dataset of the recipe",
            f"fusekit filter {asked.dataset} {options}",
        )
    return finding


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
