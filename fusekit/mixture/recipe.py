"""Recipes: which datasets make a mixture, under which conditions and in which shares."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, StringConstraints, model_validator

from fusekit.cards.checking import checked, nearest
from fusekit.cards.safe_yaml import read_yaml
from fusekit.errors import RecipeError
from fusekit.mixture.drawing import (
    By,
    Epochs,
    Grouping,
    SamplerSettings,
    Weights,
    check_identities,
    check_named,
    check_weights,
    exact,
)
from fusekit.mixture.rules import (
    AsClean,
    AsDedup,
    Count,
    Exclude,
    Flag,
    Name,
    Prefix,
    Strict,
)
from fusekit.shipped import shipped

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_WHERE: Final = 10_000


def _exact_fraction(value: object) -> Fraction:
    fraction = exact(value, "share", "0.25 or 1/4")
    if not 0 <= fraction < 1:
        msg = f"{value} is no share; expected 0 <= share < 1"
        raise ValueError(msg)
    return fraction


Share: TypeAlias = Annotated[Fraction, PlainValidator(_exact_fraction), PlainSerializer(str)]
Where: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_WHERE)]


class LabeledSource(Strict):
    """One labeled dataset of a recipe.

    Attributes:
        dataset: Its name in the store.
        where: A condition on manifest columns; None keeps every sample.
        clean: How its label-noise finding is applied; None: not cleaned.
        min_images: Fewest images an identity must have left, after every other rule.
        max_images: Most images that are kept of an identity, chosen by their keys' hashes.
    """

    dataset: Name
    where: Where | None = None
    clean: AsClean = None
    min_images: Count | None = None
    max_images: Count | None = None

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values; what is newer than recipes is left out where unsaid."""
        return _without(self.model_dump(mode="json"), {"clean": None})

    @model_validator(mode="after")
    def _some_remain(self) -> LabeledSource:
        if self.min_images and self.max_images and self.min_images > self.max_images:
            msg = f"min_images {self.min_images} is over max_images {self.max_images}"
            raise ValueError(msg)
        return self


class UnlabeledSource(Strict):
    """One unlabeled dataset of a recipe.

    Attributes:
        dataset: Its name in the store.
        where: A condition on manifest columns; None keeps every sample.
        max_activation: Samples above it are left out, by the dataset's activation finding;
            None: not filtered.
        drop: ``low-quality``: samples that the same finding says are too poor to learn from;
            ``duplicate``: copies of a better one that is left.
        finding: First digits of the finding's fingerprint, where there are several.
    """

    dataset: Name
    where: Where | None = None
    max_activation: Annotated[float, Field(gt=0, le=1)] | None = None
    drop: tuple[Flag, ...] = ()
    finding: Prefix | None = None

    @property
    def uses_finding(self) -> bool:
        """Whether a rule reads the dataset's activation finding."""
        return self.max_activation is not None or bool(self.drop)

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values; what is newer than recipes is left out where unsaid."""
        return _without(self.model_dump(mode="json"), {"drop": []})

    @model_validator(mode="after")
    def _finding_is_used(self) -> UnlabeledSource:
        if self.finding is not None and not self.uses_finding:
            msg = "finding without max_activation or drop filters nothing; add max_activation"
            raise ValueError(msg)
        return self


class BatchShape(Strict):
    """The batch that the mixture is meant for; a loader may take another size.

    Attributes:
        size: Samples in a device batch.
        unlabeled_fraction: Share of unlabeled samples, exactly; ``0 <= share < 1``.
        by: How the labeled datasets share the labeled rows: by ``images``, by ``identities``,
            ``{weights: {dataset: number}}`` or ``{temperature: t}``; each dataset then cycles
            on its own. None: one pooled stream of all labeled rows.
        grouping: ``mixed``: rows of all datasets in any order; ``sub_batches``: the labeled rows
            of a batch stand dataset by dataset; ``one_dataset``: the labeled rows of a step are
            of one dataset.
    """

    size: Annotated[int, Field(ge=1, le=1 << 20)] = 256
    unlabeled_fraction: Share = Fraction(1, 4)
    by: By = None
    grouping: Grouping = "mixed"


class Recipe(Strict):
    """What makes a mixture.

    Attributes:
        name: The mixture's name.
        labeled: Labeled datasets; their order is the order of labels and source indexes.
        unlabeled: Unlabeled datasets; their source indexes follow.
        batch: The batch.
        labels: ``keep``: each dataset has its own softmax over its range of labels; ``naive``:
            one softmax over all, as if nobody were in two datasets. The tables are the same.
            ``merge``: identities that the overlap finding says are one person share a label.
        overlap: First digits of the overlap finding's fingerprint, where there are several.
        exclude: Identities that are left out; None: nobody, and nothing is checked.
        dedup: How copies of one picture are dropped; None: they stay.
        template: What every crop is brought to where datasets are aligned otherwise, as it is
            loaded; None: all datasets have one template.
        seed: Of every random choice: ``max_images``, and the order unless a loader is given one.
        sampler: Batches of whole identities; None: rows are drawn one by one.
        epochs: Where an epoch ends: ``cycle``: after as many labeled draws as there are labeled
            rows; ``stop_first``: when the first source has given all its rows; ``{steps: N}``.
    """

    name: Name
    labeled: Annotated[tuple[LabeledSource, ...], Field(min_length=1, max_length=1000)]
    unlabeled: Annotated[tuple[UnlabeledSource, ...], Field(max_length=1000)] = ()
    batch: BatchShape = BatchShape()
    labels: Literal["keep", "naive", "merge"] = "keep"
    overlap: Prefix | None = None
    exclude: Exclude | None = None
    dedup: AsDedup = None
    template: Literal["arcface-112"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    sampler: SamplerSettings | None = None
    epochs: Epochs = "cycle"

    @model_validator(mode="after")
    def _each_dataset_once(self) -> Recipe:
        names = [s.dataset for s in self.labeled] + [s.dataset for s in self.unlabeled]
        again = next((name for name in names if names.count(name) > 1), None)
        if again:
            msg = f"the dataset {again!r} is there twice"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _excluded_are_labeled(self) -> Recipe:
        if self.exclude is not None:
            labeled = [source.dataset for source in self.labeled]
            _at("exclude.identities", check_named, tuple(self.exclude.identities), labeled)
        return self

    @model_validator(mode="after")
    def _drawing_fits(self) -> Recipe:
        labeled = [source.dataset for source in self.labeled]
        if isinstance(self.batch.by, Weights):
            _at("batch.by.weights", check_weights, self.batch.by, labeled)
        if self.sampler is None:
            return self
        if self.batch.by is not None:
            msg = "sampler draws identities whatever their dataset; leave out batch.by"
            raise ValueError(msg)
        if self.batch.grouping == "one_dataset":
            msg = "sampler does not go with batch.grouping one_dataset; sampler.datasets can be one"
            raise ValueError(msg)
        _at("sampler.datasets", check_named, self.sampler.datasets or (), labeled)
        share = self.unlabeled_fraction
        _at("sampler", check_identities, self.sampler, self.batch.size, share)
        return self

    @property
    def unlabeled_fraction(self) -> Fraction:
        """The share of unlabeled samples in a batch: 0 without an unlabeled dataset."""
        return self.batch.unlabeled_fraction if self.unlabeled else Fraction(0)

    def as_json(self) -> dict[str, Any]:
        """Give the recipe as plain JSON values; it loads to an equal recipe.

        Complete but for what is newer than recipes: left out where it is the default, so that the
        recipe of a mixture that was built before these keys stays what it was.
        """
        plain = self.model_dump(mode="json")
        plain["labeled"] = [source.as_json() for source in self.labeled]
        plain["unlabeled"] = [source.as_json() for source in self.unlabeled]
        plain["batch"] = _without(plain["batch"], {"by": None, "grouping": "mixed"})
        newer = {"sampler": None, "epochs": "cycle", "overlap": None, "exclude": None}
        return _without(plain, newer | {"dedup": None})


def _without(plain: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in plain.items() if k not in defaults or v != defaults[k]}


def _at(place: str, check: Callable[..., None], *args: object) -> None:
    """Run a check and put the place before what it found."""
    try:
        check(*args)
    except ValueError as error:
        msg = f"{place}: {error}"
        raise ValueError(msg) from None


def load_recipe(path_or_name: str | os.PathLike[str]) -> Recipe:
    """Load a recipe from its file, or one of fusekit's own by its name.

    Args:
        path_or_name: A path that ends in ``.yaml`` or ``.yml``, or a name such as
            ``ten-datasets``.

    Raises:
        RecipeError: There is no such recipe (the nearest name is given), or it is not well
            formed; the place in the file is named.

    Example:
        >>> load_recipe("ms1mv2-crawl").unlabeled_fraction
        Fraction(1, 4)
    """
    text = os.fspath(path_or_name)
    path = Path(text).expanduser()
    if not text.endswith((".yaml", ".yml")):
        paths = recipe_paths()
        if text not in paths:
            near = nearest(text, paths)
            fix = f"did you mean {near!r}?" if near else "fusekit's own: " + ", ".join(paths)
            raise RecipeError(text, "no recipe has this name", "a name or a path to a .yaml", fix)
        path = paths[text]
    elif not path.is_file():
        raise RecipeError(text, "there is no such file")
    return checked(Recipe, read_yaml(path, RecipeError), path, RecipeError)


def recipe_paths() -> dict[str, Path]:
    """Give fusekit's own recipes, name to path.

    Raises:
        RecipeError: They are not installed.
    """
    paths = shipped("pipelines")
    if not paths:
        where = "pipelines"
        raise RecipeError(where, "fusekit's recipes are not installed", None, "install it again")
    return paths
