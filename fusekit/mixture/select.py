"""Which rows of a dataset go into a mixture, rule after rule, and what each rule took.

The rules' order: erased samples, ``where``, ``max_activation``, ``max_images``, ``min_images``.
SQL only tells what is true of a row; what is kept by chance follows from the sample's key and
the seed alone, whatever the order, engine or version.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import FindingError, MixtureError, StoreError
from fusekit.mixture.where import EVERY
from fusekit.rng import derive, rank_words
from fusekit.store import layout
from fusekit.store.session import fetch_batches, first_line, lock, open_session, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from fusekit.mixture.recipe import LabeledSource, UnlabeledSource
    from fusekit.mixture.where import Condition
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.findings import Finding

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

_BATCH: Final = 122_880
_KEY_BYTES: Final = 24  # three words; a key has 19 letters


@dataclass(frozen=True)
class Selection:
    """The rows of one dataset that go into a mixture.

    Attributes:
        info: The dataset.
        kept: One truth for each row of its compacted manifests, in their order.
        units: Work unit of each row, int32.
        identities: Identity index of each row, int32; -1: unlabeled.
        dropped: Rule to the rows it took, in the rules' order; rules not asked for are left out.
        finding: The activation finding that was used; None: not filtered.
    """

    info: DatasetInfo
    kept: Mask
    units: npt.NDArray[np.int32]
    identities: npt.NDArray[np.int32]
    dropped: dict[str, int]
    finding: Finding | None = None

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return int(np.count_nonzero(self.kept))


def select_labeled(
    storage: Storage, info: DatasetInfo, source: LabeledSource, condition: Condition, seed: int
) -> Selection:
    """Select rows of a labeled dataset.

    Args:
        storage: The store.
        info: The dataset.
        source: What the recipe says of it.
        condition: Its ``where``, checked; :data:`fusekit.mixture.where.EVERY` without one.
        seed: The recipe's.

    Raises:
        MixtureError: The condition fails on a value, or the manifests are damaged.
    """
    rows = info.samples
    units, people = np.empty(rows, np.int32), np.empty(rows, np.int32)
    kept, present = np.empty(rows, np.bool_), np.empty(rows, np.bool_)
    ranks = np.empty(rows if source.max_images else 0, np.uint64)
    key = derive(seed, "max_images", info.name)
    with _judging(storage, info, [], condition) as connection:
        sql = _sql("rows.sql", condition).replace("{keys}", str(bool(source.max_images)))
        for place, batch in _placed(connection, sql, condition, info):
            units[place], people[place] = _numpy(batch, "unit"), _numpy(batch, "identity_index")
            present[place], kept[place] = _numpy(batch, "present"), _numpy(batch, "matches")
            if source.max_images:
                ranks[place] = rank_words(_key_words(batch["key"], info), key)
    dropped = _start(kept, present, source.where)
    if source.max_images is not None:
        dropped["max_images"] = _keep_most(kept, people, ranks, source.max_images)
    if source.min_images is not None:
        dropped["min_images"] = _keep_frequent(kept, people, source.min_images)
    return Selection(info, kept, units, people, dropped)


def select_unlabeled(
    storage: Storage,
    info: DatasetInfo,
    source: UnlabeledSource,
    condition: Condition,
    finding: Finding | None,
) -> Selection:
    """Select rows of an unlabeled dataset.

    Args:
        storage: The store.
        info: The dataset.
        source: What the recipe says of it.
        condition: Its ``where``, checked.
        finding: The activation finding; None: not filtered.

    Raises:
        FindingError: The finding has not exactly one activation for each sample.
        MixtureError: As :func:`select_labeled`.
    """
    rows = info.samples
    units, people = np.empty(rows, np.int32), np.full(rows, -1, np.int32)
    kept, present = np.empty(rows, np.bool_), np.empty(rows, np.bool_)
    known = np.zeros(rows, np.bool_)
    tables = [] if finding is None else [_table(storage, finding)]
    sql = _sql("rows.sql", condition).replace("{keys}", "FALSE")
    if finding is not None:
        sql = _sql("activations.sql", condition)
    with _judging(storage, info, tables, condition) as connection:
        for place, batch in _placed(connection, sql, condition, info):
            units[place] = _numpy(batch, "unit")
            present[place], kept[place] = _numpy(batch, "present"), _numpy(batch, "matches")
            if finding is not None:
                known[place] = _known(batch, finding, source.max_activation or 0.0)
    dropped = _start(kept, present, source.where)
    if finding is not None:
        dropped["max_activation"] = int(np.count_nonzero(kept & known))
        kept &= ~known
    return Selection(info, kept, units, people, dropped, finding)


def _start(kept: Mask, present: Mask, where: str | None) -> dict[str, int]:
    erased = int(np.count_nonzero(~present))
    dropped = {"erased": erased} if erased else {}
    if where is not None:
        dropped["where"] = int(np.count_nonzero(present & ~kept))
    kept &= present
    return dropped


def _keep_most(
    kept: Mask, people: npt.NDArray[np.int32], ranks: npt.NDArray[np.uint64], most: int
) -> int:
    rows = np.flatnonzero(kept)
    # Equal ranks, one pair in 2^64, go by plan order: lexsort is stable.
    order = rows[np.lexsort((ranks[rows], people[rows]))]
    ordered = people[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=np.int32(-1)))
    nth = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    out = order[nth >= most]
    kept[out] = False
    return len(out)


def _keep_frequent(kept: Mask, people: npt.NDArray[np.int32], fewest: int) -> int:
    rows = np.flatnonzero(kept)
    images = np.bincount(people[rows])
    out = rows[images[people[rows]] < fewest]
    kept[out] = False
    return len(out)


def _known(batch: pa.RecordBatch, finding: Finding, threshold: float) -> Mask:
    # Compared as float64: 0.3 as a float32 lies above 0.3.
    activation = _numpy(batch, "activation").astype(np.float64)
    cosine = _numpy(batch, "cosine").astype(np.float64)
    silent = np.isnan(activation) & _numpy(batch, "present")
    if silent.any():
        raise _damaged(finding, f"says nothing of {np.count_nonzero(silent)} samples")
    out: Mask = activation > threshold
    match finding.about.get("rule"), finding.about.get("cosine_threshold"):
        case "activation", _:
            return out
        case "two-part", float(limit):
            return out & (cosine > limit)
        case rule, _:
            raise _damaged(finding, f"has a rule {rule!r} that can't be followed")


def _placed(
    connection: duckdb.DuckDBPyConnection, sql: str, condition: Condition, info: DatasetInfo
) -> Iterator[tuple[slice, pa.RecordBatch]]:
    start = 0
    for batch in fetch_batches(connection, sql, condition.values, rows=_BATCH):
        end = start + batch.num_rows
        if end > info.samples:
            break
        yield slice(start, end), batch
        start = end
    else:
        if start == info.samples:
            return
    raise MixtureError(
        info.name, f"its manifests or its finding do not have {info.samples} rows, one a sample",
        None, "fusekit verify tells what is damaged",
    )  # fmt: skip


@contextmanager
def _judging(
    storage: Storage, info: DatasetInfo, tables: list[Path], condition: Condition
) -> Iterator[duckdb.DuckDBPyConnection]:
    files = [storage.path(name).absolute() for name in info.files]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        where = f"{layout.dataset(info.name)}/{missing.name}"
        raise StoreError(where, "is missing", None, "fusekit verify tells what else is")
    try:
        with open_session([*files, *tables]) as connection:
            connection.execute(f"CREATE VIEW samples AS SELECT * FROM {scan(files)}")  # noqa: S608 - paths, escaped
            if tables:
                connection.execute(f"CREATE VIEW finding AS SELECT * FROM {scan(tables)}")  # noqa: S608 - the same
            lock(connection)
            yield connection
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        where = info.name if condition is EVERY else f"{info.name}: where"
        raise MixtureError(where, first_line(error)) from None


def _sql(name: str, condition: Condition) -> str:
    text = (resources.files("fusekit.mixture") / name).read_text("utf-8")
    return text.replace("{where}", condition.sql)


def _table(storage: Storage, finding: Finding) -> Path:
    path = storage.path(f"{layout.finding(finding.kind, finding.fingerprint)}/table.parquet")
    if not path.is_file():
        raise _damaged(finding, "has no table")
    return path.absolute()


def _damaged(finding: Finding, found: str) -> FindingError:
    about = finding.about
    return FindingError(
        f"{about['dataset']}: {finding.kind} finding {finding.fingerprint[:12]}", found, None,
        f"fusekit filter {about['dataset']} makes it again",
    )  # fmt: skip


def _numpy(batch: pa.RecordBatch, name: str) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    column: pa.Array = batch[name]
    if pa.types.is_floating(column.type) and column.null_count:
        column = pc.fill_null(column, float("nan"))
    values: np.ndarray[tuple[int], np.dtype[np.generic]] = column.to_numpy(zero_copy_only=False)
    return values


def _key_words(keys: pa.Array, info: DatasetInfo) -> npt.NDArray[np.uint64]:
    if pc.max(pc.binary_length(keys)).as_py() > _KEY_BYTES:
        raise MixtureError(info.name, "has a key over 24 letters", "keys of this release")
    padded = pc.ascii_rpad(keys, _KEY_BYTES, padding="\0").cast(pa.binary())
    fixed = padded.cast(pa.binary(_KEY_BYTES))
    words = np.frombuffer(fixed.buffers()[1], "<u8", count=3 * len(keys))
    return words.reshape(-1, 3)
