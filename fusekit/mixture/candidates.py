"""The rows of one dataset while the recipe's rules act on them, and what findings say of each.

SQL only tells what is true of a row; the rules themselves are array operations on these columns.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusekit.errors import MixtureError, StoreError
from fusekit.mixture.evidence import damaged, finding_file
from fusekit.mixture.recipe import LabeledSource, UnlabeledSource
from fusekit.mixture.summary import Step
from fusekit.mixture.where import EVERY
from fusekit.rng import derive, rank_words
from fusekit.store import layout
from fusekit.store.session import fetch_batches, first_line, lock, open_session, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from fusekit.mixture.plan import SourcePlan
    from fusekit.mixture.where import Condition
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.findings import Finding

Mask: TypeAlias = np.ndarray[tuple[int], np.dtype[np.bool_]]

_BATCH: Final = 122_880
_KEY_BYTES: Final = 24  # three words; a key has 19 letters
_NOTHING: Final = pa.schema([("key", pa.string()), ("row", pa.int32())]).empty_table()
_NO_ACTIVATIONS: Final = (
    'SELECT NULL::VARCHAR AS "key", NULL::FLOAT AS activation, NULL::FLOAT AS cosine, '
    "NULL::BOOLEAN AS poor, NULL::VARCHAR AS duplicate_of WHERE false"
)


@dataclass
class Candidates:
    """The rows of one dataset, all of N, in the order of its compacted manifests.

    Attributes:
        info: The dataset.
        present: Not erased.
        kept: Still in the mixture; every rule clears some.
        units: Work unit, int32.
        identities: Identity index in the manifest, int32; -1: unlabeled.
        people: Whom the row's class is of, int32: its identity index, or one past those for a
            second person that was split off; -1: unlabeled.
        split: Identity index and cluster of each person that was split off: person number
            ``info.identities + i`` is ``split[i]``.
        ranks: By which images of an identity are chosen, uint64; empty: none are.
        noise: Row in the label-noise finding's table, int32; -1: none; empty: not asked for.
        copies: Row in the duplicates finding's table, as ``noise``.
        known: Above ``max_activation``; empty: not asked for.
        poor: Of low quality; empty: not asked for.
        original: A number for each better copy, shared with its worse ones, int32; -1: neither.
        is_copy: A better copy is in the dataset.
        steps: What each rule did so far.
    """

    info: DatasetInfo
    present: Mask
    kept: Mask
    units: npt.NDArray[np.int32]
    identities: npt.NDArray[np.int32]
    people: npt.NDArray[np.int32]
    ranks: npt.NDArray[np.uint64]
    noise: npt.NDArray[np.int32]
    copies: npt.NDArray[np.int32]
    known: Mask
    poor: Mask
    original: npt.NDArray[np.int32]
    is_copy: Mask
    split: tuple[tuple[int, int], ...] = ()
    steps: list[Step] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows are left."""
        return int(np.count_nonzero(self.kept))

    def take(self, rule: str, out: Mask) -> None:
        """Take rows out, those that are left of ``out``, and write down what it cost."""
        before = self.rows
        self.kept &= ~out
        after = self.rows
        self.steps.append(Step(rule, before, before - after, after, self._identities()))

    def _identities(self) -> int | None:
        if self.info.kind != "labeled":
            return None
        counts = np.bincount(self.people[self.kept], minlength=1)
        return int(np.count_nonzero(counts))


def read_candidates(
    storage: Storage,
    plan: SourcePlan,
    seed: int,
    noise: pa.Table | None = None,
    copies: pa.Table | None = None,
) -> Candidates:
    """Read the rows of one dataset and judge each by the condition; erased ones are out.

    Args:
        storage: The store.
        plan: The dataset and what the recipe says of it.
        seed: The recipe's.
        noise: ``key`` and ``row`` of what the label-noise finding says; None: not asked for.
        copies: The same of the duplicates finding's rows of this dataset.

    Raises:
        FindingError: The activation finding does not speak of every sample.
        MixtureError: The condition fails on a value, or the manifests are damaged.
        StoreError: A compacted manifest is missing.
    """
    asked, info = plan.asked, plan.info
    most = asked.max_images if isinstance(asked, LabeledSource) else None
    empty = _empty(plan, ranked=most is not None, told=(noise is not None, copies is not None))
    key = derive(seed, "max_images", info.name)
    originals: list[pa.Array] = []
    with _judging(storage, plan, noise, copies) as connection:
        sql = _sql(plan.condition).replace("{keys}", str(most is not None))
        for place, batch in _placed(connection, sql, plan):
            empty.units[place] = _numpy(batch, "unit")
            empty.identities[place] = _numpy(batch, "identity_index")
            empty.present[place] = _numpy(batch, "present")
            empty.kept[place] = _numpy(batch, "matches")
            if most is not None:
                empty.ranks[place] = rank_words(_key_words(batch["key"], info), key)
            if len(empty.noise):
                empty.noise[place] = _rows(batch, "noise")
            if len(empty.copies):
                empty.copies[place] = _rows(batch, "copy")
            if isinstance(asked, UnlabeledSource) and plan.finding is not None:
                _read_activations(empty, place, batch, asked, plan.finding)
                originals.append(batch["original"])
    if originals:
        codes = pa.chunked_array(originals).combine_chunks().dictionary_encode().indices
        empty.original[:] = codes.fill_null(-1).to_numpy(zero_copy_only=False)
    _start(empty, where=asked.where is not None)
    return empty


def _empty(plan: SourcePlan, *, ranked: bool, told: tuple[bool, bool]) -> Candidates:
    info, rows = plan.info, plan.info.samples
    noise, copies = told
    filtered = isinstance(plan.asked, UnlabeledSource) and plan.finding is not None
    judged = rows if filtered else 0
    people = np.empty(rows, np.int32)
    return Candidates(
        info=info, present=np.empty(rows, np.bool_), kept=np.empty(rows, np.bool_),
        units=np.empty(rows, np.int32), identities=people, people=people,
        ranks=np.empty(rows if ranked else 0, np.uint64),
        noise=np.empty(rows if noise else 0, np.int32),
        copies=np.empty(rows if copies else 0, np.int32),
        known=np.zeros(judged, np.bool_), poor=np.zeros(judged, np.bool_),
        original=np.full(judged, -1, np.int32), is_copy=np.zeros(judged, np.bool_),
    )  # fmt: skip


def _start(rows: Candidates, *, where: bool) -> None:
    matches = rows.kept
    rows.kept = np.ones(len(matches), np.bool_)
    if not rows.present.all():
        rows.take("erased", ~rows.present)
    if where:
        rows.take("where", ~matches)


def _read_activations(
    rows: Candidates, place: slice, batch: pa.RecordBatch, asked: UnlabeledSource, finding: Finding
) -> None:
    silent = ~_numpy(batch, "known_of") & rows.present[place]
    if asked.max_activation is not None:
        # Compared as float64: 0.3 as a float32 lies above 0.3.
        activation = _numpy(batch, "activation").astype(np.float64)
        silent |= np.isnan(activation) & rows.present[place]
        cosine = _numpy(batch, "cosine").astype(np.float64)
        rows.known[place] = _known(activation, cosine, finding, asked.max_activation)
    if silent.any():
        raise damaged(finding, f"says nothing of {np.count_nonzero(silent)} samples")
    rows.poor[place], rows.is_copy[place] = _numpy(batch, "poor"), _numpy(batch, "is_copy")


def _known(
    activation: npt.NDArray[np.float64],
    cosine: npt.NDArray[np.float64],
    finding: Finding,
    threshold: float,
) -> Mask:
    out: Mask = activation > threshold
    match finding.about.get("rule"), finding.about.get("cosine_threshold"):
        case "activation", _:
            return out
        case "two-part", float(limit):
            return out & (cosine > limit)
        case rule, _:
            raise damaged(finding, f"has a rule {rule!r} that can't be followed")


def _placed(
    connection: duckdb.DuckDBPyConnection, sql: str, plan: SourcePlan
) -> Iterator[tuple[slice, pa.RecordBatch]]:
    start, info = 0, plan.info
    for batch in fetch_batches(connection, sql, plan.condition.values, rows=_BATCH):
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
    storage: Storage, plan: SourcePlan, noise: pa.Table | None, copies: pa.Table | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    info = plan.info
    files = [storage.path(name).absolute() for name in info.files]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        where = f"{layout.dataset(info.name)}/{missing.name}"
        raise StoreError(where, "is missing", None, "fusekit verify tells what else is")
    judged = plan.finding if isinstance(plan.asked, UnlabeledSource) else None
    table = None if judged is None else finding_file(storage, judged)
    try:
        with open_session([*files, *([] if table is None else [table])]) as connection:
            connection.execute(f"CREATE VIEW samples AS SELECT * FROM {scan(files)}")  # noqa: S608 - paths, escaped
            activations = _NO_ACTIVATIONS if table is None else _activations(table)
            connection.execute(f"CREATE VIEW activations AS {activations}")
            connection.register("noise", _NOTHING if noise is None else noise)
            connection.register("copies", _NOTHING if copies is None else copies)
            lock(connection)
            yield connection
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        where = info.name if plan.condition is EVERY else f"{info.name}: where"
        raise MixtureError(where, first_line(error)) from None


def _activations(table: Path) -> str:
    # A finding that was made before these columns says nothing in them.
    there = pq.read_schema(table).names
    poor = "low_quality IS NOT NULL" if "low_quality" in there else "false"
    copy = "duplicate_of" if "duplicate_of" in there else "NULL::VARCHAR AS duplicate_of"
    return f'SELECT "key", activation, cosine, {poor} AS poor, {copy} FROM {scan([table])}'  # noqa: S608 - names of ours, a path escaped


def _sql(condition: Condition) -> str:
    text = (resources.files("fusekit.mixture") / "rows.sql").read_text("utf-8")
    return text.replace("{where}", condition.sql)


def _rows(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int32]:
    rows: npt.NDArray[np.int32] = pc.fill_null(batch[name], -1).to_numpy(zero_copy_only=False)
    return rows


def _numpy(batch: pa.RecordBatch, name: str) -> np.ndarray[tuple[int], np.dtype[Any]]:
    column: pa.Array = batch[name]
    if pa.types.is_floating(column.type) and column.null_count:
        column = pc.fill_null(column, float("nan"))
    values: np.ndarray[tuple[int], np.dtype[Any]] = column.to_numpy(zero_copy_only=False)
    return values


def _key_words(keys: pa.Array, info: DatasetInfo) -> npt.NDArray[np.uint64]:
    if pc.max(pc.binary_length(keys)).as_py() > _KEY_BYTES:
        raise MixtureError(info.name, "has a key over 24 letters", "keys of this release")
    padded = pc.ascii_rpad(keys, _KEY_BYTES, padding="\0").cast(pa.binary())
    fixed = padded.cast(pa.binary(_KEY_BYTES))
    words = np.frombuffer(fixed.buffers()[1], "<u8", count=3 * len(keys))
    return words.reshape(-1, 3)
