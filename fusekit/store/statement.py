"""What a query may be: one SELECT over known views, judged by DuckDB's own parse of it.

DuckDB's switches alone do not make it read-only. So the parsed statement is walked, and whatever
gives rows (a table, a table function, a kind of query) must be one that is listed here; what a
later DuckDB adds is refused until it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import duckdb

from fusekit.errors import SqlError
from fusekit.store.session import first_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MAX_CHARACTERS: Final = 100_000
_QUERY: Final = "the query"
_NODES: Final = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLES: Final = {
    "BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT",
    "SHOW_REF", "EMPTY_FROM",
}  # fmt: skip
# What stands in a WITH's node before its name is in force: a repeating one's start, its query.
_BEFORE_NAME: Final = {"left", "query"}
_TABLE_FUNCTIONS: Final = {"range", "generate_series", "unnest", "repeat"}
# Scalar functions that reach past the rows: settings, variables, logs, the clock's patience.
_REFUSED_FUNCTIONS: Final = {
    "current_setting", "getenv", "getvariable", "write_log", "sleep_ms", "set_config",
    "json_execute_serialized_sql", "json_serialize_plan", "nextval", "setval", "setseed",
}  # fmt: skip


def parse_select(text: str) -> dict[str, Any]:
    """Parse a text that must be one SELECT statement.

    Returns:
        DuckDB's tree of it: the query node.

    Raises:
        SqlError: It is empty, too long, no SQL, more than one statement, or no SELECT.
    """
    if len(text) > MAX_CHARACTERS:
        raise SqlError(_QUERY, f"has {len(text)} characters", f"at most {MAX_CHARACTERS}")
    if "\0" in text:
        raise SqlError(_QUERY, "holds a zero byte", "text")
    with duckdb.connect(":memory:", config={"threads": 1}) as parser:
        try:
            statements = parser.extract_statements(text)
        except duckdb.Error as error:
            raise SqlError(_QUERY, first_line(error)) from None
        if len(statements) != 1:
            raise SqlError(_QUERY, f"holds {len(statements)} statements", "one SELECT")
        kind = statements[0].type.name
        if kind != "SELECT":
            found = "several statements in one" if kind == "MULTI" else f"is {kind}"
            raise SqlError(_QUERY, found, "SELECT; a query can only read")
        try:
            row = parser.execute("SELECT json_serialize_sql($1)", [text]).fetchone()
            tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
        except (duckdb.Error, RecursionError):
            raise SqlError(_QUERY, "is nested too deep to be checked") from None
    if tree["error"]:
        found = tree.get("error_message", "can't be parsed")
        raise SqlError(_QUERY, f"can't be checked: {found.splitlines()[0]}", "one SELECT")
    if len(tree["statements"]) != 1:
        raise SqlError(_QUERY, f"holds {len(tree['statements'])} statements", "one SELECT")
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def check_select(node: dict[str, Any], views: Collection[str]) -> None:
    """Check that a parsed SELECT reads only these views and runs only harmless functions.

    Args:
        node: From :func:`parse_select`.
        views: Names of the views.

    Raises:
        SqlError: It reads another table or a file, writes, or runs a function that is refused.
    """
    for part, names in _walk(node, frozenset(map(_folded, views))):
        _check(part, names, views)


def _check(part: dict[str, Any], names: frozenset[str], views: Collection[str]) -> None:
    kind = part.get("type")
    if not isinstance(kind, str):
        return
    if kind.endswith("_NODE") and kind not in _NODES:
        raise SqlError(_QUERY, f"holds {kind.removesuffix('_NODE')}", "SELECT; it can only read")
    if "class" in part:
        _check_expression(part)
    elif "sample" in part and "alias" in part and kind not in _TABLES:
        raise SqlError(_QUERY, f"reads from {kind}", f"the views {_list(views)}")
    elif kind == "BASE_TABLE":
        path = [part.get("catalog_name"), part.get("schema_name"), part["table_name"]]
        path = (part.get("qualified_name") or {}).get("path") or [p for p in path if p]
        name = ".".join(path)
        # A name with a schema is never a WITH's, whatever that is called.
        if len(path) > 1 or _folded(name) not in names:
            raise SqlError(_QUERY, f"no view named {name!r}", f"one of {_list(views)}")
        if part.get("at_clause"):
            raise SqlError(_QUERY, "holds AT", "a view as it is now")
    elif kind == "TABLE_FUNCTION":
        name = _function_name(part["function"])
        if name not in _TABLE_FUNCTIONS:
            raise SqlError(_QUERY, f"reads from the function {name}()", f"the views {_list(views)}")
    elif kind == "SHOW_REF" and part.get("query") is None:
        name = _folded(str(part.get("table_name", "")).strip('"'))
        if name not in names | {"tables"}:
            raise SqlError(_QUERY, f"shows {name!r}", f"one of {_list(views)}, or tables")


def _check_expression(part: dict[str, Any]) -> None:
    if part["class"] in ("FUNCTION", "WINDOW"):
        name = _function_name(part)
        if name in _REFUSED_FUNCTIONS:
            raise SqlError(_QUERY, f"runs the function {name}()", "functions of the rows alone")
    elif part["class"] == "PARAMETER":
        raise SqlError(_QUERY, "holds a parameter without a value", "the value itself")


def _function_name(part: dict[str, Any]) -> str:
    return str(part.get("function_name", "")).lower()


def _walk(
    node: dict[str, Any], views: frozenset[str]
) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Give each part of a tree with the names that its tables may have there.

    A name of WITH hides DuckDB's own table of that name only where it is in force: not in its own
    query unless that repeats, and not in a query before or beside it.
    """
    waiting: list[tuple[Any, frozenset[str]]] = [(node, views)]
    while waiting:
        current, names = waiting.pop()
        if isinstance(current, list):
            waiting += [(inner, names) for inner in current]
        if not isinstance(current, dict):
            continue
        for entry in (current.get("cte_map") or {}).get("map", ()):
            waiting.append((entry["value"], names))
            names |= {_folded(str(entry["key"]))}
        yield current, names
        own = {_folded(str(current["cte_name"]))} if current.get("cte_name") else set()
        for key, value in current.items():
            if key != "cte_map":
                waiting.append((value, names if key in _BEFORE_NAME else names | own))


def _folded(name: str) -> str:
    """Spell a name as DuckDB compares it, which folds the letters of ASCII alone."""
    return name.lower() if name.isascii() else name


def _list(views: Collection[str]) -> str:
    return ", ".join(sorted(views))
