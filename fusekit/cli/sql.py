"""``fusekit sql``: one SELECT over the store's tables."""

import csv
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fusekit.cli.options import Store
from fusekit.cli.show import remark, show_line, show_table
from fusekit.errors import SqlError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN: Final = 60  # rows of a table for people; every other form has them all
_BATCH: Final = 10_000


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT.")],
    *,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet file instead.")
    ] = None,
) -> None:
    """Ask the store by SQL, read-only.

    Views: samples, identities, rejects, datasets, mixtures, mixture_labeled,
    mixture_unlabeled, classes.

    \b
    Example:
      fusekit sql "SELECT dataset, count(*) FROM samples GROUP BY 1" --store faces
    """
    from fusekit.store.sql import query as run_query
    from fusekit.store.sql import write_parquet

    if as_json + as_csv + (parquet is not None) > 1:
        raise UsageError("sql", "more than one of --json, --csv, --parquet", "one")
    table = run_query(query, store)
    if parquet is not None:
        write_parquet(table, parquet)
        remark(f"{table.num_rows:,} rows in {parquet}")
    else:
        (show_objects if as_json else show_csv if as_csv else show_rows)(table)


def show_objects(table: "pa.Table") -> None:
    """Print rows as a JSON list, one object a line: blobs as hex, dates ISO, NaN null."""
    import json

    again = next((c for c in table.column_names if table.column_names.count(c) > 1), None)
    if again is not None:  # an object would hold the last of them alone
        raise SqlError(
            "the query", f"gives two columns named {again!r}", "a name for each with --json",
            "rename one by AS, or take --csv",
        )  # fmt: skip
    start = "["
    for row in _rows(table):
        values = dict(zip(table.column_names, map(plain, row), strict=True))
        sys.stdout.write(f"{start}{json.dumps(values, ensure_ascii=False)}")
        start = ",\n "
    show_line("[]" if start == "[" else "]")


def show_csv(table: "pa.Table") -> None:
    """Print rows as CSV with a heading; null is an empty field, lists and structs are JSON."""
    import json

    def spelled(value: Any) -> Any:  # noqa: ANN401 - whatever a query gives
        nested = isinstance(value, list | dict | bool)
        return json.dumps(value, ensure_ascii=False) if nested else value

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows([spelled(plain(value)) for value in row] for row in _rows(table))


def show_rows(table: "pa.Table") -> None:
    """Print the first rows as a table, and say so when there are more."""
    show_table(table.column_names, _rows(table.slice(0, _SHOWN)), exact=True)
    if table.num_rows > _SHOWN:
        remark(f"{table.num_rows:,} rows, the first {_SHOWN} shown; --csv or --json print them all")


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a query gives
    """Turn a value into what JSON can hold.

    Example:
        >>> plain([b"\\xff", float("nan"), {"a": 1}])
        ['ff', None, {'a': 1}]
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # infinite and NaN have no JSON form
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, Decimal):  # DuckDB sums integers in 128 bits, which Arrow calls decimal
        return int(value) if value == value.to_integral_value() else float(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def _rows(table: "pa.Table") -> Iterator[tuple[Any, ...]]:
    # Columns may share a name (SELECT 1 AS a, 2 AS a), so rows go by place, never as dicts.
    for batch in table.to_batches(max_chunksize=_BATCH):
        yield from zip(*map(_values, batch.columns), strict=True)


def _values(column: "pa.Array") -> list[Any]:
    import pyarrow as pa

    inner = column.type
    while hasattr(inner, "value_type"):
        inner = inner.value_type
    values: list[Any] = column.to_pylist()
    return [_shortest(value) for value in values] if inner == pa.float32() else values


def _shortest(value: Any) -> Any:  # noqa: ANN401 - a float32, or lists of them
    """Spell a float32 as itself: 0.51, not the nearest double's 0.5099999904632568."""
    import numpy as np

    if isinstance(value, list):
        return [_shortest(inner) for inner in value]
    return value if value is None else float(str(np.float32(value)))
