"""Which rows of every dataset go into a mixture, rule after rule, and what each rule took.

The rules' order: erased samples, ``where``, ``exclude``, ``clean``, ``max_activation``, ``drop``,
``dedup``, ``max_images``, ``min_images``. First what is true of a sample by itself; then copies, of
which one must stand among those that are left; then what counts the images of an identity. What is
kept by chance follows from the sample's key and the seed alone, whatever the order, engine or
version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusekit.errors import MixtureError
from fusekit.mixture.candidates import Candidates, Mask, read_candidates
from fusekit.mixture.clean import clean, read_noise
from fusekit.mixture.dedup import copies_of, dedup, read_copies
from fusekit.mixture.evidence import keyed
from fusekit.mixture.exclude import exclude
from fusekit.mixture.recipe import LabeledSource
from fusekit.progress import Progress, Report

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from fusekit.mixture.plan import MixturePlan, SourcePlan
    from fusekit.mixture.summary import Step
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo


@dataclass(frozen=True)
class Selection:
    """The rows of one dataset that go into a mixture.

    Attributes:
        info: The dataset.
        kept: One truth for each row of its compacted manifests, in their order.
        units: Work unit of each row, int32.
        identities: Identity index of each row, int32; -1: unlabeled.
        people: Whom each row's class is of, int32: the identity index, or ``info.identities + i``
            for the person ``split[i]``; -1: unlabeled.
        split: Identity index and cluster of each person who was split off an identity.
        steps: What each rule did, in the rules' order; rules not asked for are left out.
        removed: Identity index to the reason for which the identity was left out whole.
    """

    info: DatasetInfo
    kept: Mask
    units: npt.NDArray[np.int32]
    identities: npt.NDArray[np.int32]
    people: npt.NDArray[np.int32]
    split: tuple[tuple[int, int], ...]
    steps: tuple[Step, ...]
    removed: dict[int, str]

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return int(np.count_nonzero(self.kept))


def select_rows(storage: Storage, plan: MixturePlan, report: Report) -> list[Selection]:
    """Select the rows of every dataset of a recipe.

    Args:
        storage: The store.
        plan: The recipe and what it names.
        report: Told of the progress.

    Returns:
        One selection for each source, in the order of source indexes.

    Raises:
        FindingError: A finding does not fit the samples.
        MixtureError: A condition fails on a value, the manifests are damaged, or no sample is left
            of a dataset.
        StoreError: A compacted manifest is missing.
    """
    recipe, total = plan.recipe, len(plan.sources)
    copies = read_copies(storage, plan.duplicates)
    chosen: list[Candidates] = []
    removed: list[dict[int, str]] = []
    for source in plan.sources:
        report(Progress("select rows", source.number, total, "datasets"))
        noise = read_noise(storage, source.noise)
        mine = copies_of(copies, source.info.name)
        told = None if noise is None else keyed(noise)
        rows = read_candidates(storage, source, recipe.seed, told, mine)
        removed.append(_judge_alone(rows, source, noise))
        chosen.append(rows)
    if recipe.dedup is not None and plan.duplicates is not None and copies is not None:
        dedup(chosen, recipe.dedup, plan.duplicates, copies)
    for source, rows in zip(plan.sources, chosen, strict=True):
        _count_images(rows, source)
        _check_some_left(rows, recipe.name)
    report(Progress("select rows", total, total, "datasets"))
    return [
        Selection(
            info=rows.info, kept=rows.kept, units=rows.units, identities=rows.identities,
            people=rows.people, split=rows.split, steps=tuple(rows.steps), removed=gone,
        )
        for rows, gone in zip(chosen, removed, strict=True)
    ]  # fmt: skip


def _judge_alone(rows: Candidates, source: SourcePlan, noise: pa.Table | None) -> dict[int, str]:
    """Apply what needs no other dataset; give the identities that are left out whole."""
    removed = dict(source.excluded or {})
    asked = source.asked
    if source.excluded is not None:
        exclude(rows, source.excluded)
    if not isinstance(asked, LabeledSource):
        if asked.max_activation is not None:
            rows.take("max_activation", rows.known)
        if asked.drop:
            _drop_flagged(rows, asked.drop)
    elif asked.clean is not None and source.noise is not None and noise is not None:
        for index, reason in clean(rows, asked.clean, source.noise, noise).items():
            removed[index] = f"{removed[index]}; {reason}" if index in removed else reason
    return dict(sorted(removed.items()))


def _drop_flagged(rows: Candidates, flags: tuple[str, ...]) -> None:
    out = np.zeros(len(rows.kept), np.bool_)
    if "low-quality" in flags:
        out |= rows.poor
    if "duplicate" in flags:
        left = rows.kept & ~out & (rows.original >= 0)
        number = rows.original
        stands = np.zeros(int(number.max(initial=-1)) + 1, np.bool_)
        stands[number[left & ~rows.is_copy]] = True
        copies = np.flatnonzero(left & rows.is_copy)
        # Where the better copy fell to another rule, the first one that is left stands for it.
        orphans = copies[~stands[number[copies]]]
        firsts = orphans[np.unique(number[orphans], return_index=True)[1]]
        out[np.setdiff1d(copies, firsts)] = True
    rows.take("drop", out)


def _count_images(rows: Candidates, source: SourcePlan) -> None:
    asked = source.asked
    if not isinstance(asked, LabeledSource):
        return
    if asked.max_images is not None:
        rows.take("max_images", _over(rows, asked.max_images))
    if asked.min_images is not None:
        left = np.flatnonzero(rows.kept)
        images = np.bincount(rows.people[left])
        out = np.zeros(len(rows.kept), np.bool_)
        out[left[images[rows.people[left]] < asked.min_images]] = True
        rows.take("min_images", out)


def _over(rows: Candidates, most: int) -> Mask:
    left = np.flatnonzero(rows.kept)
    # Equal ranks, one pair in 2^64, go by plan order: lexsort is stable.
    order = left[np.lexsort((rows.ranks[left], rows.people[left]))]
    people = rows.people[order]
    starts = np.flatnonzero(np.diff(people, prepend=np.int32(-1)))
    nth = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    out = np.zeros(len(rows.kept), np.bool_)
    out[order[nth >= most]] = True
    return out


def _check_some_left(rows: Candidates, recipe: str) -> None:
    if rows.rows:
        return
    took = "".join(f", {step.rule} took {step.taken}" for step in rows.steps if step.taken)
    found = f"no sample is left of {rows.info.samples}{took}"
    where = f"{recipe}: {rows.info.name}"
    raise MixtureError(where, found, None, "loosen its rules or leave it out")
