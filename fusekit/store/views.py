"""The views of a store that SQL sees: their columns, and the files behind them.

A view exists, with its columns and no rows, even when nothing of its kind is in the store. A
dataset or mixture that is not finished is not shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import SqlError
from fusekit.schema import (
    ACTIVATIONS,
    CLASSES,
    CLUSTERS,
    CONTAMINATION,
    DUPLICATES,
    IDENTITIES,
    LABEL_NOISE,
    MANIFEST,
    MIXTURE_ROWS,
    OVERLAP,
    PAIRS,
    REJECTS,
    SEARCHES,
    TEMPLATE_PAIRS,
    TEMPLATES,
    Column,
)
from fusekit.store import layout
from fusekit.store.datasets import list_datasets
from fusekit.store.findings import list_findings
from fusekit.store.protocol import KEYED
from fusekit.store.session import literal, scan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

_DATASET: Final = (
    Column("dataset", pa.string(), "name of the dataset in the store"),
    Column("dataset_index", pa.int16(), "the dataset's integer in the store"),
)
_MIXTURE: Final = (Column("mixture", pa.string(), "name of the mixture"),)
_DATASETS: Final = (
    *_DATASET,
    Column("kind", pa.string(), "labeled, unlabeled or evaluation"),
    Column("template", pa.string(), "alignment template of the crops"),
    Column("width", pa.int16(), "crop width in pixels"),
    Column("height", pa.int16(), "crop height in pixels"),
    Column("form", pa.string(), "form of the raw data that was read"),
    Column("units", pa.int32(), "work units, so shards, of the dataset"),
    Column("items", pa.int64(), "raw items; the sum of kept and rejected"),
    Column("kept", pa.int64(), "items that gave at least one sample"),
    Column("rejected", pa.int64(), "items that gave none"),
    Column("samples", pa.int64(), "rows of the manifest"),
    Column("identities", pa.int32(), "distinct identities; 0: unlabeled"),
    Column("faces_left_out", pa.int64(), "faces of kept items that are no samples"),
    Column("fingerprint", pa.string(), "changes with anything that changes a crop or a row"),
)
_MIXTURES: Final = (
    *_MIXTURE,
    Column("labeled", pa.int64(), "labeled rows"),
    Column("unlabeled", pa.int64(), "unlabeled rows"),
    Column("classes", pa.int32(), "labels"),
    Column("datasets", pa.int16(), "sources, labeled and unlabeled"),
    Column("labels", pa.string(), "label policy: keep, naive or merge"),
    Column("softmax", pa.string(), "per_dataset or joint"),
    Column("batch_size", pa.int32(), "samples in a device batch"),
    Column("unlabeled_fraction", pa.string(), "share of unlabeled samples in a batch, exactly"),
    Column("seed", pa.int64(), "of the recipe"),
    Column("fingerprint", pa.string(), "changes with any row or label"),
)
_FINDING: Final = (
    Column("finding", pa.string(), "fingerprint of the finding, 64 hex digits"),
    Column("fresh", pa.bool_(), "the datasets that it was made from are as they were"),
)
_PAIRS: Final = {column.name: column for column in (_DATASET[0], *PAIRS)}

VIEWS: Final[dict[str, tuple[Column, ...]]] = {
    "samples": MANIFEST,
    "identities": (*_DATASET, *IDENTITIES),
    "rejects": (*_DATASET, *REJECTS),
    "datasets": _DATASETS,
    "mixtures": _MIXTURES,
    "mixture_labeled": (*_MIXTURE, *MIXTURE_ROWS),
    "mixture_unlabeled": (*_MIXTURE, *MIXTURE_ROWS),
    "classes": (*_MIXTURE, *CLASSES),
    "pairs": tuple(_PAIRS[name] for name in ("dataset", "fold", "key_a", "key_b", "same")),
    "protocol_pairs": (_DATASET[0], *PAIRS),
    "templates": (_DATASET[0], *TEMPLATES),
    "template_pairs": (_DATASET[0], *TEMPLATE_PAIRS),
    "searches": (_DATASET[0], *SEARCHES),
    "overlap": (*_FINDING, *OVERLAP),
    "contamination": (*_FINDING, *CONTAMINATION),
    "label_noise": (*_FINDING, _DATASET[0], *LABEL_NOISE),
    "clusters": (*_FINDING, _DATASET[0], *CLUSTERS),
    "duplicates": (*_FINDING, *DUPLICATES),
    "activations": (*_FINDING, _DATASET[0], *ACTIVATIONS),
}
#: View to the kind of finding that it shows.
_KINDS: Final = {
    "overlap": "overlap", "contamination": "contamination", "label_noise": "label-noise",
    "clusters": "clusters", "duplicates": "duplicates", "activations": "activation",
}  # fmt: skip
#: View to the table of a dataset's protocol.
_PROTOCOL: Final = {
    "protocol_pairs": "pairs", "templates": "templates", "template_pairs": "template_pairs",
    "searches": "searches",
}  # fmt: skip
_MERGES: Final = 2  # format of mixtures whose classes list their datasets
SQL_TYPES: Final = {
    pa.string(): "VARCHAR", pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INTEGER",
    pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN", pa.float32(): "FLOAT", pa.binary(16): "BLOB",
    pa.list_(pa.float32(), 4): "FLOAT[]", pa.list_(pa.float32(), 10): "FLOAT[]",
    pa.list_(pa.string()): "VARCHAR[]",
}  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Files of one table that share their leading values, such as the dataset's name.

    ``lacking`` are columns of the view that these files were written without, and what stands for
    each: they are of an earlier release.
    """

    values: tuple[str | int, ...]
    files: tuple[Path, ...]
    lacking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreTables:
    """What stands in a store for SQL: the parts of each view, and rows that no file holds."""

    parts: dict[str, list[_Part]]
    rows: dict[str, list[dict[str, Any]]]

    def files(self) -> list[Path]:
        """Give every file that the views read."""
        return [file for parts in self.parts.values() for part in parts for file in part.files]


def find_tables(storage: Storage) -> StoreTables:
    """Find the files of every finished dataset, mixture and finding of a store.

    Raises:
        StoreError: A dataset's or mixture's description is damaged.
        FindingError: A finding's is.
        SqlError: A file that belongs to one is missing.
    """
    infos = list_datasets(storage)
    mixtures = {
        name: about for name in storage.names("mixtures") if (about := _about(storage, name))
    }
    every = [name for info in infos for name in info.files]
    parts = {
        "samples": [_part(storage, (), every)] if every else [],
        "identities": [
            _part(storage, _key(info), [layout.identities(info.name)])
            for info in infos
            if storage.exists(layout.identities(info.name))
        ],
        "rejects": [
            _part(storage, _key(info), files)
            for info in infos
            if (files := _rejects(storage, info))
        ],
    }
    for view, table in _PROTOCOL.items():
        name_of = layout.protocol if table in KEYED else layout.protocol_plan
        parts[view] = [
            _part(storage, (info.name,), [name_of(info.name, table)])
            for info in infos
            if table in info.protocol
        ]
    for view in ("mixture_labeled", "mixture_unlabeled", "classes"):
        stem = view.removeprefix("mixture_")
        parts[view] = [
            _part(storage, (name,), [f"{layout.mixture(name)}/{stem}.parquet"]) for name in mixtures
        ]
    # A class of a mixture of format 1 is of one dataset.
    parts["classes"] = [
        replace(
            part, lacking={"datasets": "[dataset]"} if about["format_version"] < _MERGES else {}
        )
        for part, about in zip(parts["classes"], mixtures.values(), strict=True)
    ]
    fingerprints = {info.name: info.fingerprint for info in infos}
    for view, kind in _KINDS.items():
        parts[view] = _finding_parts(storage, kind, view, fingerprints)
    rows = {
        "datasets": [_dataset_row(info) for info in infos],
        "mixtures": [_mixture_row(name, about) for name, about in mixtures.items()],
    }
    return StoreTables(parts, rows)


def make_views(connection: duckdb.DuckDBPyConnection, tables: StoreTables) -> None:
    """Make every view in a session that may read the tables' files."""
    connection.execute("CREATE SCHEMA store")
    for view, columns in VIEWS.items():
        if view in tables.rows:
            _make_table(connection, view, columns, tables.rows[view])
            continue
        if view not in tables.parts:
            continue  # of other views' rows, in views.sql
        selects = [_select(columns, part) for part in tables.parts[view]] or [_nothing(columns)]
        # Every name is of VIEWS or the schema, every value went through literal().
        connection.execute(f"CREATE VIEW store.{view} AS {' UNION ALL '.join(selects)}")
    connection.execute((resources.files("fusekit.store") / "views.sql").read_text("utf-8"))


def _select(columns: Sequence[Column], part: _Part) -> str:
    spelled = [
        f'{literal(value)}::{SQL_TYPES[column.type]} AS "{column.name}"'
        for column, value in zip(columns, part.values, strict=False)
    ]
    names = [column.name for column in columns[len(part.values) :]]
    lacking = {name: f'{value} AS "{name}"' for name, value in part.lacking.items()}
    spelled += [lacking.get(name, f'"{name}"') for name in names]
    return f"SELECT {', '.join(spelled)} FROM {scan(part.files)}"  # noqa: S608 - as above


def _nothing(columns: Sequence[Column]) -> str:
    spelled = ", ".join(f'NULL::{SQL_TYPES[c.type]} AS "{c.name}"' for c in columns)
    return f"SELECT {spelled} WHERE false"


def _make_table(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    columns: Sequence[Column],
    rows: list[dict[str, Any]],
) -> None:
    spelled = ", ".join(f'"{c.name}" {SQL_TYPES[c.type]}' for c in columns)
    connection.execute(f"CREATE TABLE store.{view} ({spelled})")
    if rows:
        marks = ", ".join("?" for _ in columns)
        values = [[row[c.name] for c in columns] for row in rows]
        connection.executemany(f"INSERT INTO store.{view} VALUES ({marks})", values)  # noqa: S608 - names of VIEWS


def _part(storage: Storage, values: tuple[str | int, ...], names: Sequence[str]) -> _Part:
    files = []
    for name in names:
        path = storage.path(name).absolute()
        if not path.is_file():
            raise SqlError(name, "is missing", None, "fusekit verify tells what else is")
        files.append(path)
    return _Part(values, tuple(files))


def _finding_parts(
    storage: Storage, kind: str, view: str, fingerprints: Mapping[str, str]
) -> list[_Part]:
    parts = []
    for finding in list_findings(storage, kind):
        inputs = finding.about["inputs"].items()
        fresh = all(fingerprints.get(name) == was for name, was in inputs)
        values: tuple[str | int, ...] = (finding.fingerprint, fresh)
        if VIEWS[view][len(values)] is _DATASET[0]:
            values = (*values, finding.datasets[0])
        folder = layout.finding(kind, finding.fingerprint)
        part = _part(storage, values, [f"{folder}/table.parquet"])
        there = set(pq.read_schema(part.files[0]).names)
        lacking = {
            column.name: f"NULL::{SQL_TYPES[column.type]}"
            for column in VIEWS[view][len(values) :]
            if column.nullable and column.name not in there
        }
        parts.append(replace(part, lacking=lacking))
    return parts


def _rejects(storage: Storage, info: DatasetInfo) -> list[str]:
    folder = layout.dataset(info.name)
    return [f"{folder}/{n}" for n in storage.names(folder) if n.startswith("rejects-")]


def _key(info: DatasetInfo) -> tuple[str, int]:
    return info.name, info.index


def _dataset_row(info: DatasetInfo) -> dict[str, Any]:
    width, height = info.crop_size
    return vars(info) | {
        "dataset": info.name, "dataset_index": info.index, "width": width, "height": height,
    }  # fmt: skip


def _about(storage: Storage, name: str) -> dict[str, Any] | None:
    where = f"{layout.mixture(name)}/mixture.json"
    if not storage.exists(where):
        return None
    try:
        about = json.loads(storage.read(where))
        _mixture_row(name, about)
    except (ValueError, KeyError, TypeError):
        raise SqlError(where, "is damaged", None, "build the mixture again") from None
    return dict(about)


def _mixture_row(name: str, about: dict[str, Any]) -> dict[str, Any]:
    batch = about["recipe"]["batch"]
    return {
        "mixture": name, "labeled": about["labeled"], "unlabeled": about["unlabeled"],
        "classes": about["classes"], "datasets": len(about["datasets"]),
        "labels": about["recipe"]["labels"], "softmax": about["softmax"],
        "batch_size": batch["size"], "unlabeled_fraction": batch["unlabeled_fraction"],
        "seed": about["recipe"]["seed"], "fingerprint": about["fingerprint"],
    }  # fmt: skip
