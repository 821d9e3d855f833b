"""The findings that a recipe's rules go by: each found, fresh, and about what the recipe asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusekit.errors import FindingError
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import SCHEMAS, Finding, find_fresh, read_finding_table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from fusekit.mixture.candidates import Mask
    from fusekit.mixture.recipe import LabeledSource, Recipe, UnlabeledSource
    from fusekit.storage.folder import Storage

_DECISIONS: Final = {
    "contamination": ("same", "different", "unsure"),
    "duplicates": ("keep", "drop", "unsure"),
    "label-noise": ("keep", "drop", "unsure"),
}


def find_activation(
    storage: Storage, asked: UnlabeledSource, labeled: Sequence[str]
) -> Finding | None:
    """Find what an unlabeled dataset is filtered by; None: it is not.

    Raises:
        FindingError: There is not exactly one fresh finding, or it does not know a labeled dataset
            of the recipe, or was made before the columns that ``drop`` reads.
    """
    if not asked.uses_finding:
        return None
    # A dataset that is not there is a plainer answer than a finding that is not there.
    open_dataset(storage, asked.dataset)
    finding = find_fresh(storage, "activation", datasets=[asked.dataset], prefix=asked.finding)
    options = " ".join(f"--against {name}" for name in labeled)
    fix = f"fusekit filter {asked.dataset} {options}"
    if asked.max_activation is not None and not finding.about.get("head"):
        _check_speaks(asked.dataset, finding, labeled, "every labeled dataset of the recipe", fix)
    columns = {"low-quality": "low_quality", "duplicate": "duplicate_of"}
    wanted = {columns[flag] for flag in asked.drop}
    if wanted - set(pq.read_schema(finding_file(storage, finding)).names):
        raise FindingError(
            asked.dataset, f"{_named(finding)} was made before such samples were flagged", None,
            f"{fix} makes it again",
        )  # fmt: skip
    return finding


def find_noise(storage: Storage, asked: LabeledSource) -> Finding | None:
    """Find what a labeled dataset is cleaned by; None: it is not.

    Raises:
        FindingError: There is not exactly one fresh finding.
    """
    if asked.clean is None:
        return None
    open_dataset(storage, asked.dataset)
    prefix = asked.clean.finding
    return find_fresh(storage, "label-noise", datasets=[asked.dataset], prefix=prefix)


def find_contamination(storage: Storage, recipe: Recipe) -> Finding | None:
    """Find who is in the recipe's evaluation sets; None: it asks for none.

    Raises:
        FindingError: There is not exactly one fresh finding of all labeled datasets, or it was not
            made against every set.
    """
    asked = recipe.exclude
    if asked is None or not asked.evaluation:
        return None
    labeled = [source.dataset for source in recipe.labeled]
    finding = find_fresh(storage, "contamination", datasets=labeled, prefix=asked.finding)
    fix = f"fusekit decontaminate {' '.join(labeled)} --against {' '.join(asked.evaluation)}"
    sets = "every evaluation set of the recipe"
    _check_speaks(", ".join(labeled), finding, asked.evaluation, sets, fix)
    return finding


def find_duplicates(storage: Storage, recipe: Recipe) -> Finding | None:
    """Find the copies in the recipe's datasets; None: they stay.

    Raises:
        FindingError: There is not exactly one fresh finding of all its datasets.
    """
    if recipe.dedup is None:
        return None
    prefix = recipe.dedup.finding
    return find_fresh(storage, "duplicates", datasets=names_of(recipe), prefix=prefix)


def find_overlap(storage: Storage, recipe: Recipe) -> Finding | None:
    """Find who is in several of the recipe's labeled datasets.

    Returns:
        The finding; None where labels are not merged and there is not exactly one.

    Raises:
        FindingError: Labels are merged, or the recipe names a finding, and there is not exactly
            one fresh finding of all labeled datasets.
    """
    labeled = [source.dataset for source in recipe.labeled]
    try:
        return find_fresh(storage, "overlap", datasets=labeled, prefix=recipe.overlap)
    except FindingError:
        # Elsewhere it is only told, so a damaged or second one is no reason to stop.
        if recipe.labels == "merge" or recipe.overlap is not None:
            raise
        return None


def names_of(recipe: Recipe) -> list[str]:
    """Give the recipe's datasets in the order of their source indexes."""
    labeled, unlabeled = recipe.labeled, recipe.unlabeled
    return [source.dataset for source in labeled] + [source.dataset for source in unlabeled]


def told_of(storage: Storage, finding: Finding, columns: Sequence[str]) -> pa.Table:
    """Read columns of a finding's table and check that its decisions are known.

    Raises:
        FindingError: The table is damaged, lacks a column or has a decision of a later release.
    """
    wanted = pa.schema([SCHEMAS[finding.kind].field(name) for name in columns])
    table = read_finding_table(storage, finding)
    if set(wanted.names) - set(table.schema.names):
        raise damaged(finding, "lacks columns of this release")
    try:
        table = table.select(wanted.names).cast(wanted).combine_chunks()
    except (pa.ArrowException, ValueError):
        raise damaged(finding, "has columns of other types than this release's") from None
    if "decision" in columns:
        check_words(finding, table["decision"], _DECISIONS[finding.kind], "decision")
    return table


def check_words(
    finding: Finding, column: pa.ChunkedArray, known: Collection[str], what: str
) -> None:
    """Check that a column of a finding holds known words only.

    Raises:
        FindingError: It holds another.
    """
    for word in pc.unique(column).to_pylist():
        if word not in known:
            raise damaged(finding, f"has a {what} {word!r} that can't be followed")


def holds(table: pa.Table, column: str, word: str) -> Mask:
    """Say for each row whether a column of text is this word; a null is not."""
    same = pc.fill_null(pc.equal(table[column], word), fill_value=False)
    found: Mask = same.to_numpy()
    return found


def keyed(table: pa.Table, rows: npt.NDArray[np.int64] | None = None) -> pa.Table:
    """Give ``key`` and ``row`` of a finding's table, without those that were erased.

    Args:
        table: With the column ``key``.
        rows: Which rows of it; None: all.
    """
    rows = np.arange(table.num_rows) if rows is None else rows
    found = pa.table({"key": table["key"].take(pa.array(rows)), "row": rows.astype(np.int32)})
    return found.filter(pc.not_equal(found["key"], ""))


def check_matches(
    finding: Finding, found: npt.NDArray[np.int32], wanted: pa.Table, name: str
) -> None:
    """Check that every sample that a finding names is one of the dataset's.

    Args:
        finding: The finding.
        found: Row in its table of each sample of the dataset; -1: none.
        wanted: From :func:`keyed`.
        name: The dataset.

    Raises:
        FindingError: Some are not.
    """
    missing = wanted.num_rows - int(np.count_nonzero(found >= 0))
    if missing:
        raise damaged(finding, f"names {missing} samples that {name} does not have")


def finding_file(storage: Storage, finding: Finding) -> Path:
    """Give the path of a finding's table.

    Raises:
        FindingError: It is not there.
    """
    path = storage.path(f"{layout.finding(finding.kind, finding.fingerprint)}/table.parquet")
    if not path.is_file():
        raise damaged(finding, "has no table")
    return path.absolute()


def damaged(finding: Finding, found: str) -> FindingError:
    """Say that a finding can't be used, and what makes it again."""
    names = " ".join(finding.datasets)
    made_by = {
        "activation": f"fusekit filter {names}", "contamination": f"fusekit decontaminate {names}",
        "duplicates": f"fusekit dedup {names}", "label-noise": f"fusekit clean {names}",
        "overlap": f"fusekit overlap {names}",
    }[finding.kind]  # fmt: skip
    where = f"{', '.join(finding.datasets)}: {_named(finding)}"
    return FindingError(where, found, None, f"{made_by} makes it again")


def _check_speaks(
    where: str, finding: Finding, wanted: Sequence[str], expected: str, fix: str
) -> None:
    missing = [name for name in wanted if name not in finding.about.get("against", [])]
    if missing:
        found = f"{_named(finding)} does not know {', '.join(missing)}"
        raise FindingError(where, found, expected, fix)


def _named(finding: Finding) -> str:
    return f"{finding.kind} finding {finding.fingerprint[:12]}"
