"""Ask a store in SQL: one SELECT over its views, and nothing else can happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import SqlError
from fusekit.storage.folder import open_storage
from fusekit.store.layout import open_store
from fusekit.store.session import (
    MEMORY_LIMIT,
    fetch_table,
    first_line,
    lock,
    open_session,
    time_limit,
)
from fusekit.store.statement import check_select, parse_select
from fusekit.store.views import VIEWS, find_tables, make_views

if TYPE_CHECKING:
    import os
    from pathlib import Path


def query(
    sql: str,
    store: str | os.PathLike[str] | None = None,
    *,
    timeout_s: float = 300.0,
    memory_limit: str = MEMORY_LIMIT,
    threads: int | None = None,
) -> pa.Table:
    """Run one SELECT over the store's views and give its rows.

    The views are ``samples, identities, rejects, datasets, mixtures, mixture_labeled,
    mixture_unlabeled, classes``, and of evaluation sets ``pairs, protocol_pairs, templates,
    template_pairs, searches``; ``DESCRIBE samples`` lists the columns of one. Nothing is written,
    no other file is read and no extension is loaded, whatever the text says.

    Args:
        sql: One SELECT statement in DuckDB's dialect.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        timeout_s: Seconds after which the query is stopped.
        memory_limit: What DuckDB may use, such as ``"2GB"``; more goes to a temporary folder.
        threads: How many; None takes one for each core.

    Returns:
        An Arrow table; its rows are in no particular order without ORDER BY.

    Raises:
        SqlError: The text is no single SELECT, names another table, fails, or takes too long.
        StoreError: There is no store, or a dataset in it is damaged.

    Example:
        >>> query("SELECT dataset, count(*) FROM samples GROUP BY ALL", store)  # doctest: +SKIP
    """
    check_select(parse_select(sql), VIEWS)
    tables = find_tables(open_store(store))
    with open_session(tables.files(), memory_limit=memory_limit, threads=threads) as connection:
        try:
            make_views(connection, tables)
            lock(connection)
            with time_limit(connection, timeout_s, "the query"):
                return fetch_table(connection, sql)
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.OutOfMemoryException:
            raise SqlError(
                "the query", f"needs more than {memory_limit} of memory", None,
                "ask for fewer rows or columns at a time",
            ) from None  # fmt: skip
        except (duckdb.Error, pa.ArrowException) as error:
            raise SqlError("the query", first_line(error)) from None


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a query's result as a Parquet file, whole or not at all.

    Args:
        table: What :func:`query` gave.
        path: The file; replaced when it is there.

    Raises:
        SqlError: A column has a type that Parquet lacks, such as an interval.
        StorageError: It can't be written.
    """
    try:
        with open_storage(path.parent).writing(path.name) as file:
            pq.write_table(table, file, compression="zstd")
    except pa.ArrowException as error:
        raise SqlError(path, f"can't hold the result: {first_line(error)}", None,
                       "cast that column in the query") from None  # fmt: skip
