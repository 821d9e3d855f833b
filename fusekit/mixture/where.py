"""A recipe's ``where``: parsed by DuckDB, judged node by node, and spelled anew.

What runs is never the recipe's own text. Its parsed tree may hold comparisons, AND, OR, NOT,
BETWEEN, IN lists, LIKE, IS NULL and arithmetic over manifest columns and literals; from these
the condition is written again, with columns quoted and every literal a bound value.
"""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import duckdb
import pyarrow as pa

from fusekit.errors import RecipeError
from fusekit.schema import MANIFEST
from fusekit.store.session import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

Node: TypeAlias = dict[str, Any]
Value: TypeAlias = bool | int | float | str | Decimal | None
Kind: TypeAlias = Literal["truth", "number", "text", "null"]
Spelled: TypeAlias = tuple[str, Kind]

_ALLOWED: Final = (
    "comparisons, AND, OR, NOT, BETWEEN, IN (…), LIKE, IS NULL and + - * / % "
    "over columns, numbers and texts"
)
_COLUMNS: Final = {
    c.name: "text" if c.type == pa.string() else "number"
    for c in MANIFEST
    if not pa.types.is_nested(c.type) and c.type != pa.binary(16)
}
_OTHER_COLUMNS: Final = {c.name for c in MANIFEST} - _COLUMNS.keys()
_COMPARISONS: Final = {
    "COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">", "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=", "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}  # fmt: skip
_ARITHMETIC: Final = ("+", "-", "*", "/", "%")
_LIKE: Final = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
_NAMES: Final = {
    "SUBQUERY": "a subquery", "CAST": "a cast", "CASE": "CASE", "PARAMETER": "a parameter",
    "WINDOW": "a window function", "LAMBDA": "a lambda", "STAR": "*", "COLLATE": "COLLATE",
    "DEFAULT": "DEFAULT", "POSITIONAL_REFERENCE": "a column by number",
}  # fmt: skip
_PARSED: Final = "SELECT 1 FROM samples WHERE "
_MAX_DEPTH: Final = 100
_INT64: Final = range(-(2**63), 2**63)
_MAX_DIGITS: Final = 18  # of DuckDB's 64-bit decimals


@dataclass(frozen=True)
class Condition:
    """A checked condition.

    Attributes:
        sql: An expression over manifest columns with ``?`` for each value, in parentheses.
        values: The values, in order.
    """

    sql: str
    values: tuple[Value, ...]


EVERY: Final = Condition("TRUE", ())


def parse_where(text: str, where: str) -> Condition:
    """Check a recipe's condition and spell it anew.

    Args:
        text: The condition, such as ``det_score >= 0.8 AND media = 'still'``.
        where: The recipe and the place in it, for the message.

    Raises:
        RecipeError: It is no expression, holds what a condition may not, names an unknown
            column, or compares what can't be compared.

    Example:
        >>> parse_where("yaw between -30 and 30", "a.yaml")
        Condition(sql='("yaw" BETWEEN ? AND ?)', values=(-30, 30))
    """
    if "\0" in text:
        raise RecipeError(where, "holds a zero byte", "a condition")
    with duckdb.connect(":memory:", config={"threads": 1}) as parser:
        node = _parse(parser, text, where)
    speller = _Speller(where)
    sql, kind = speller.spell(node, 0)
    if kind != "truth":
        raise RecipeError(where, f"gives a {kind}", "a condition that is true or false")
    return Condition(sql if sql.startswith("(") else f"({sql})", tuple(speller.values))


def _parse(parser: duckdb.DuckDBPyConnection, text: str, where: str) -> Node:
    shape = _tree(parser, f"{_PARSED}true", where)
    tree = _tree(parser, _PARSED + text, where)
    expression = tree.pop("where_clause")
    shape.pop("where_clause")
    # Whatever else the text brought (UNION, GROUP BY, ORDER BY, …) changed the tree around it.
    if _without_places(tree) != _without_places(shape) or not isinstance(expression, dict):
        raise RecipeError(where, "holds more than a condition", _ALLOWED)
    return expression


def _tree(parser: duckdb.DuckDBPyConnection, text: str, where: str) -> Node:
    try:
        row = parser.execute("SELECT json_serialize_sql($1)", [text]).fetchone()
        tree: Node = json.loads(row[0]) if row else {"error": True}
    except RecursionError:
        raise RecipeError(where, "is nested too deep", f"at most {_MAX_DEPTH} levels") from None
    except duckdb.Error as error:
        raise RecipeError(where, first_line(error), "a condition") from None
    if tree["error"]:
        found = str(tree.get("error_message", "is no condition")).split("\n", 1)[0]
        if "expression depth" in found:
            raise RecipeError(where, "is nested too deep", f"at most {_MAX_DEPTH} levels")
        raise RecipeError(where, f"{found[:1].lower()}{found[1:]}", "a condition")
    if len(tree["statements"]) != 1 or "where_clause" not in tree["statements"][0]["node"]:
        raise RecipeError(where, "holds more than a condition", _ALLOWED)
    node: Node = tree["statements"][0]["node"]
    return node


def _without_places(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {k: _without_places(v) for k, v in value.items() if "location" not in k}
    if isinstance(value, list):
        return [_without_places(inner) for inner in value]
    return value


class _Speller:
    """Spell a tree as SQL, collecting its literals as values, in the order of their marks."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.values: list[Value] = []

    def spell(self, node: Node, depth: int) -> Spelled:
        if depth > _MAX_DEPTH:
            raise RecipeError(self._where, "is nested too deep", f"at most {_MAX_DEPTH} levels")
        kind = str(node.get("class"))
        speak = _SPELLERS.get(kind)
        if speak is None:
            raise self._refused(_NAMES.get(kind, _words(kind)))
        return speak(self, node, depth + 1)

    def conjunction(self, node: Node, depth: int) -> Spelled:
        word = {"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}[node["type"]]
        return f"({word.join(self._all(node['children'], depth, 'truth'))})", "truth"

    def comparison(self, node: Node, depth: int) -> Spelled:
        sign = _COMPARISONS.get(node["type"])
        if sign is None:
            raise self._refused(_words(node["type"]))
        left, right = self._alike([node["left"], node["right"]], depth)
        return f"({left} {sign} {right})", "truth"

    def between(self, node: Node, depth: int) -> Spelled:
        value, low, high = self._alike([node["input"], node["lower"], node["upper"]], depth)
        return f"({value} BETWEEN {low} AND {high})", "truth"

    def operator(self, node: Node, depth: int) -> Spelled:
        match node["type"]:
            case "OPERATOR_NOT":
                return f"(NOT {self._all(node['children'], depth, 'truth')[0]})", "truth"
            case "OPERATOR_IS_NULL":
                return f"({self._alike(node['children'], depth)[0]} IS NULL)", "truth"
            case "OPERATOR_IS_NOT_NULL":
                return f"({self._alike(node['children'], depth)[0]} IS NOT NULL)", "truth"
            case "COMPARE_IN" | "COMPARE_NOT_IN" as kind:
                word = "IN" if kind == "COMPARE_IN" else "NOT IN"
                value, *options = self._alike(node["children"], depth)
                return f"({value} {word} ({', '.join(options)}))", "truth"
            case other:
                raise self._refused(_words(str(other).removeprefix("OPERATOR_")))

    def function(self, node: Node, depth: int) -> Spelled:
        name = str(node["function_name"])
        # DuckDB 2 wraps what DuckDB 1 calls children.
        parts = node.get("children") or [a["expression"] for a in node.get("arguments", ())]
        if node.get("is_operator") and name in _ARITHMETIC:
            spelled = self._all(parts, depth, "number")
            sides = ["", *spelled] if len(spelled) == 1 else spelled
            return f"({f' {name} '.join(sides)})", "number"
        if node.get("is_operator") and name in _LIKE:
            return f"({f' {_LIKE[name]} '.join(self._all(parts, depth, 'text'))})", "truth"
        what = "the operator " if node.get("is_operator") else "the function "
        raise self._refused(what + name)

    def column(self, node: Node, _: int) -> Spelled:
        spelled = ".".join(map(str, node["column_names"]))
        name = spelled.lower()
        if name in _OTHER_COLUMNS:
            raise RecipeError(self._where, f"column {name!r} holds no single number or text")
        if name not in _COLUMNS:
            near = difflib.get_close_matches(name.rpartition(".")[2], _COLUMNS, 1)
            fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_COLUMNS)}"
            raise RecipeError(self._where, f"unknown column {spelled!r}", None, fix)
        return f'"{name}"', "text" if _COLUMNS[name] == "text" else "number"

    def constant(self, node: Node, _: int) -> Spelled:
        if "literal" in node:
            value = self._literal(node["literal"]["kind"], str(node["literal"]["text"]))
        else:
            value = self._old_literal(node["value"])
        if value is None:
            return "NULL", "null"
        if isinstance(value, bool):
            return str(value).upper(), "truth"
        self.values.append(value)
        return "?", "text" if isinstance(value, str) else "number"

    def cast(self, node: Node, _: int) -> Spelled:
        # DuckDB 1 reads the words true and false as casts of 't' and 'f'.
        text = node["child"].get("value", {}).get("value")
        if node.get("cast_type", {}).get("id") == "BOOLEAN" and text in ("t", "f"):
            return ("TRUE" if text == "t" else "FALSE"), "truth"
        raise self._refused(_NAMES["CAST"])

    def _all(self, nodes: list[Node], depth: int, kind: Kind) -> list[str]:
        spelled = [self.spell(node, depth) for node in nodes]
        for _, found in spelled:
            if found not in (kind, "null"):
                raise RecipeError(self._where, f"has a {found} where a {kind} belongs")
        return [sql for sql, _ in spelled]

    def _alike(self, nodes: list[Node], depth: int) -> list[str]:
        spelled = [self.spell(node, depth) for node in nodes]
        kinds = sorted({kind for _, kind in spelled} - {"null"})
        if len(kinds) > 1:
            raise RecipeError(
                self._where, f"compares a {kinds[0]} with a {kinds[1]}", "two of a kind",
                "texts stand in single quotes, numbers in none",
            )  # fmt: skip
        return [sql for sql, _ in spelled]

    def _refused(self, what: str) -> RecipeError:
        return RecipeError(self._where, f"holds {what}", _ALLOWED)

    def _literal(self, kind: str, text: str) -> Value:
        match kind:
            case "STRING":
                return text
            case "NULL_LITERAL":
                return None
            case "BOOLEAN":
                return text.lower() == "true"
            case "INTEGER" | "NUMERIC":
                return self._number(text)
            case _:
                raise self._refused("a literal of kind " + kind.lower())

    def _old_literal(self, value: Node) -> Value:
        kind, inner = value["type"]["id"], value.get("value")
        if isinstance(inner, dict):  # 128 bits in two halves
            inner = (int(inner["upper"]) << 64) + int(inner["lower"])
        match kind:
            case _ if value["is_null"]:
                return None
            case "DECIMAL":
                scale = int(value["type"]["type_info"]["scale"])
                return self._number(str(Decimal(str(inner)).scaleb(-scale)))
            case "VARCHAR":
                return str(inner)
            case "BOOLEAN":
                return bool(inner)
            case "INTEGER" | "BIGINT" | "HUGEINT" | "UHUGEINT" | "UBIGINT" | "DOUBLE":
                return self._number(str(inner))
            case _:
                raise self._refused("a literal of type " + str(kind).lower())

    def _number(self, text: str) -> Value:
        try:
            number = Decimal(text.replace("_", ""))
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and "e" in text.lower() and math.isfinite(float(number)):
            return float(number)
        if number.is_finite() and "." not in text and int(number) in _INT64:
            return int(number)
        if number.is_finite() and "." in text and len(number.as_tuple().digits) <= _MAX_DIGITS:
            return number
        raise RecipeError(self._where, f"the number {text[:40]} is out of range", "64 bits")


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


_SPELLERS: Final[dict[str, Callable[[_Speller, Node, int], Spelled]]] = {
    "CONJUNCTION": _Speller.conjunction, "COMPARISON": _Speller.comparison,
    "BETWEEN": _Speller.between, "OPERATOR": _Speller.operator, "FUNCTION": _Speller.function,
    "COLUMN_REF": _Speller.column, "CONSTANT": _Speller.constant, "CAST": _Speller.cast,
}  # fmt: skip
