"""DuckDB connections that see the files they are given and nothing else."""

from __future__ import annotations

import re
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import duckdb

from fusekit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

MEMORY_LIMIT: Final = "2GB"
_MAX_TEMPORARY: Final = "100GB"
_GLOB: Final = re.compile(r"([*?\[])")
_SETTINGS: Final = {
    # A table of the caller's Python variables must not answer for a missing view.
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


@contextmanager
def open_session(
    files: Sequence[Path], *, memory_limit: str = MEMORY_LIMIT, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database in memory that may read these files; it spills to a folder of ours.

    Views over the files are made by the caller; then :func:`lock` closes the session.

    Args:
        files: What may be read.
        memory_limit: In DuckDB's words, such as ``"2GB"``; more goes to the temporary folder.
        threads: How many; None takes one for each core.

    Yields:
        The connection; closed, and its temporary folder removed, when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="fusekit-sql-") as folder:
        settings: dict[str, Any] = _SETTINGS | {
            "memory_limit": memory_limit,
            "temp_directory": folder,
            "max_temp_directory_size": _MAX_TEMPORARY,
        }
        if threads is not None:
            settings["threads"] = threads
        connection = duckdb.connect(":memory:", config=settings)
        try:
            allowed = [literal(str(file)) for file in files] + [_pattern(file) for file in files]
            connection.execute(f"SET allowed_paths = [{', '.join(allowed)}]")
            connection.execute("SET enable_progress_bar = false")
            yield connection
        finally:
            connection.close()


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Turn off every other file, every extension and every later change of a setting."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def time_limit(
    connection: duckdb.DuckDBPyConnection, timeout_s: float, what: str
) -> Iterator[None]:
    """Interrupt whatever the connection runs when the time is over.

    Raises:
        SqlError: It was.
    """
    over = threading.Event()

    def stop() -> None:
        over.set()
        connection.interrupt()

    timer = threading.Timer(timeout_s, stop)
    timer.start()
    try:
        yield
    except duckdb.InterruptException:
        if not over.is_set():
            raise  # Ctrl-C: the caller's own
        raise SqlError(
            what, f"ran longer than {timeout_s:g} s and was stopped", None, "ask for less at a time"
        ) from None
    finally:
        timer.cancel()


def fetch_table(
    connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any] = ()
) -> pa.Table:
    """Run one statement and take its rows as an Arrow table."""
    return connection.sql(sql, params=list(values) or None).to_arrow_table()


def fetch_batches(
    connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any] = (), *, rows: int
) -> pa.RecordBatchReader:
    """Run one statement and take its rows as a stream of Arrow batches of about ``rows``."""
    relation = connection.sql(sql, params=list(values) or None)
    # The name before DuckDB 2 gives a warning in it.
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    return read(rows)


def first_line(error: Exception) -> str:
    """Give the first line of DuckDB's message, without its class and its drawing of the query."""
    text = str(error).split("\n", 1)[0].strip()
    kind, _, rest = text.partition(": ")
    text = rest if kind.endswith("Error") and rest else text
    start = text[:1] if text[1:2].isupper() else text[:1].lower()  # SELECT stays SELECT
    return start + text[1:300].rstrip(".!")


def literal(value: str | int) -> str:
    """Spell a value for a statement that takes no parameters (SET, CREATE VIEW)."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def scan(files: Sequence[Path]) -> str:
    """Spell the reading of these Parquet files, in this order, with their own columns only."""
    # Without the last part a folder named a=3 would add a column a.
    return f"read_parquet([{', '.join(map(_pattern, files))}], hive_partitioning = false)"


def _pattern(file: Path) -> str:
    # read_parquet takes every path for a glob: unescaped, "run[1]" would read "run1".
    return literal(_GLOB.sub(r"[\1]", str(file)))
