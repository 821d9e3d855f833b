from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import RecipeError
from fusekit.mixture.where import parse_where
from fusekit.schema import MANIFEST

PLACE = "ten.yaml: labeled[0].where"
NUMBERS = ("width", "height", "face_count")


@pytest.mark.parametrize(
    ("text", "sql", "values"),
    [
        ("det_score >= 0.8", '("det_score" >= ?)', (Decimal("0.8"),)),
        ("Det_Score > 1 -- a comment", '("det_score" > ?)', (1,)),
        ("yaw between -30 and 30", '("yaw" BETWEEN ? AND ?)', (-30, 30)),
        ("identity = 'it''s'", '("identity" = ?)', ("it's",)),
        ("source like 'a%'", '("source" LIKE ?)', ("a%",)),
        ("source not ilike 'A%'", '("source" NOT ILIKE ?)', ("A%",)),
        ("split is null", '("split" IS NULL)', ()),
        ("split IS NOT NULL", '("split" IS NOT NULL)', ()),
        ("width in (100, 112)", '("width" IN (?, ?))', (100, 112)),
        ("true", "(TRUE)", ()),
        ("false or not (true and true)", None, ()),
        ("width * 2 + 1 > -height % 7 / 2 - 1", None, (2, 1, 7, 2, 1)),
        ("sharpness > 1e2", '("sharpness" > ?)', (100.0,)),
        ("media is not distinct from 'still'", '("media" IS NOT DISTINCT FROM ?)', ("still",)),
        ('"key" <> $$a$$;', '("key" <> ?)', ("a",)),
        ("split = null", '("split" = NULL)', ()),
    ],
)
def test_a_condition_is_spelled_anew_with_its_values_bound(text, sql, values):
    condition = parse_where(text, PLACE)
    assert condition.values == values
    if sql is not None:
        assert condition.sql == sql


REFUSED = {
    "": "syntax error",
    "width": "gives a number; expected a condition that is true or false",
    "'text'": "gives a text",
    "null": "gives a null",
    "1) UNION (SELECT 1": "syntax error",
    "true) OR (true": "syntax error",
    "true UNION SELECT 1": "holds more than a condition",
    "true ORDER BY random()": "holds more than a condition",
    "true GROUP BY width": "holds more than a condition",
    "true HAVING true": "holds more than a condition|syntax error",
    "true LIMIT 5": "holds more than a condition",
    "true QUALIFY true": "holds more than a condition",
    "true USING SAMPLE 10%": "holds more than a condition|syntax error",
    "true; SELECT 1": "holds more than a condition",
    "true; DROP VIEW samples": "Only SELECT|only SELECT|more than a condition",
    "width > (SELECT 1)": "holds a subquery",
    "EXISTS (SELECT 1)": "holds a subquery",
    "width IN (SELECT 1)": "holds a subquery",
    "width = ANY ([1, 2])": "holds a subquery",
    "width > (VALUES (1))": "holds a subquery",
    "random() > 0.5": "holds the function random",
    "hash(key) % 2 = 0": "holds the function hash",
    "read_text('/etc/passwd') = 'x'": "holds the function read_text",
    "pg_sleep(10) = 1": "holds the function pg_sleep",
    "getenv('HOME') = 'x'": "holds the function getenv",
    "length(source) > 3": "holds the function length",
    "list_filter(bbox, lambda x: x > 1) = 1": "holds (the function|a lambda)",
    "bbox[1] > 1": "array extract",
    "x.y > 1": "unknown column 'x.y'",
    "samples.width > 1": "unknown column 'samples.width'; did you mean 'width'?",
    "main.samples.width > 1": "unknown column 'main.samples.width'",
    "{'a': 1} = width": "holds the function struct_pack",
    "[1, 2] = width": "holds the function list_value",
    "(width, height) = (1, 2)": "holds the function row",
    "sum(width) OVER () > 1": "holds a window function",
    "CASE WHEN true THEN true END": "holds CASE",
    "width::TEXT = 'a'": "holds a cast",
    "CAST(width AS TEXT) = 'a'": "holds a cast",
    "DATE '2020-01-01' = width": "holds a cast",
    "(width > 1) IS TRUE": "holds a cast",
    "width = ?": "holds a parameter",
    "width = $1": "holds a parameter",
    "width = $name": "holds a parameter",
    "* > 1": r"holds \*",
    "COLUMNS(*) > 1": r"holds \*",
    "#1 = 1": "holds a column by number",
    "identity = 'a' COLLATE nocase": "holds COLLATE",
    "identity ~ 'a'": "holds the function regexp",
    "identity SIMILAR TO 'a'": "holds the function regexp_full_match",
    "identity GLOB 'a'": "holds the operator ~~~",
    "identity || 'a' = 'b'": r"holds the operator \|\|",
    "identity LIKE 'a' ESCAPE '!'": "like_escape",
    "width // 2 = 1": "holds the operator //",
    "width ** 2 = 1": r"holds the operator \*\*",
    "width & 1 = 1": "holds the operator &",
    "coalesce(width, 1) = 1": "holds coalesce",
    "width = DEFAULT": "holds DEFAULT",
    "current_date = width": "unknown column 'current_date'",
    "det_scor > 0.5": "unknown column 'det_scor'; did you mean 'det_score'?",
    "nothing_like_it > 1": "unknown column 'nothing_like_it'; known: key, dataset",
    "bbox IS NULL": "column 'bbox' holds no single number or text",
    "landmarks = 1": "column 'landmarks' holds no single number or text",
    "content_digest = 'a'": "column 'content_digest' holds no single number or text",
    "identity = 5": "compares a number with a text; expected two of a kind; texts stand in single",
    "width = 'abc'": "compares a number with a text",
    "width IN (1, 'a')": "compares a number with a text",
    "width BETWEEN 1 AND 'a'": "compares a number with a text",
    "(width > 1) = 1": "compares a number with a truth",
    "identity + 1 > 2": "has a text where a number belongs",
    "NOT width": "has a number where a truth belongs",
    "width AND true": "has a number where a truth belongs",
    "width LIKE 'a'": "has a number where a text belongs",
    "width = 1e400": "is out of range",
    "width = 123456789012345678901234567890": "is out of range",
    "width > 0.1234567890123456789": "is out of range",
    "width = 1\0": "holds a zero byte",
    "NOT " * 150 + "true": "is nested too deep; expected at most 100 levels",
    "NOT " * 2000 + "true": "is nested too deep",
    "1" + " + 1" * 400 + " > 2": "is nested too deep",
    "1" + " + 1" * 2000 + " > 2": "is nested too deep",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_a_condition_may_not_hold_is_refused_by_its_name(text):
    with pytest.raises(RecipeError, match=REFUSED[text].replace("?", r"\?")) as error:
        parse_where(text, PLACE)
    assert str(error.value).startswith(PLACE)
    assert "\n" not in str(error.value)


@st.composite
def conditions(draw, depth=3):
    """A condition as text, and the same as a function of a row, by SQL's rules for null."""
    kind = draw(
        st.sampled_from(["compare", "in", "between", "null"] + ["and", "or", "not"] * depth)
    )
    column = draw(st.sampled_from(NUMBERS))
    value = draw(st.integers(-5, 5))
    if kind == "compare":
        sign = draw(st.sampled_from(["=", "<>", "<", ">", "<=", ">="]))
        return f"{column} {sign} {value}", lambda r: _compare(r[column], sign, value)
    if kind == "in":
        values = draw(st.lists(st.integers(-5, 5), min_size=1, max_size=3))
        text = ", ".join(map(str, values))
        return f"{column} in ({text})", lambda r: _null(r[column]) or r[column] in values
    if kind == "between":
        return (
            f"{column} between {value} and {value + 3}",
            lambda r: _null(r[column]) or value <= r[column] <= value + 3,
        )
    if kind == "null":
        return f"{column} is null", lambda r: r[column] is None
    left = draw(conditions(depth=depth - 1))
    if kind == "not":
        return f"not ({left[0]})", lambda r: _not(left[1](r))
    right = draw(conditions(depth=depth - 1))
    join = _and if kind == "and" else _or
    return f"({left[0]}) {kind} ({right[0]})", lambda r: join(left[1](r), right[1](r))


class _Null:
    def __bool__(self):
        return True


NULL = _Null()


def _null(value):
    return NULL if value is None else False


def _compare(left, sign, right):
    if left is None:
        return NULL
    return {
        "=": left == right, "<>": left != right, "<": left < right, ">": left > right,
        "<=": left <= right, ">=": left >= right,
    }[sign]  # fmt: skip


def _not(value):
    return NULL if value is NULL else not value


def _and(left, right):
    if left is False or right is False:
        return False
    return NULL if left is NULL or right is NULL else True


def _or(left, right):
    if left is True or right is True:
        return True
    return NULL if left is NULL or right is NULL else False


@given(
    conditions(),
    st.lists(
        st.fixed_dictionaries({name: st.none() | st.integers(-6, 6) for name in NUMBERS}),
        min_size=1, max_size=8,
    ),
)  # fmt: skip
def test_a_spelled_condition_means_what_it_meant(pair, rows):
    text, holds = pair
    condition = parse_where(text, PLACE)
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("CREATE TABLE samples (width INT, height INT, face_count INT)")
        values = [[row[name] for name in NUMBERS] for row in rows]
        connection.executemany("INSERT INTO samples VALUES (?, ?, ?)", values)
        sql = f"SELECT coalesce({condition.sql}, false) FROM samples"
        found = [row[0] for row in connection.execute(sql, list(condition.values)).fetchall()]
    assert found == [holds(row) is True for row in rows]


@given(st.text(max_size=40) | st.from_regex(r"[a-z(]{0,9} ?[=<>+*'\"-]{0,3} ?[0-9a-z();,'$?]{0,9}"))
def test_any_text_is_a_condition_or_one_line_of_error(text):
    error = None
    try:
        condition = parse_where(text, PLACE)
    except RecipeError as found:
        error = found
    if error is not None:
        assert "\n" not in str(error)
        return
    assert condition.sql.count("?") == len(condition.values)
    plain = condition.sql
    for column in MANIFEST:
        plain = plain.replace(f'"{column.name}"', "")
    assert '"' not in plain
    assert "'" not in plain
