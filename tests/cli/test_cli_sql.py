import csv
import io
import json

import pyarrow.parquet as pq
import pytest
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.errors import SqlError, UsageError
from fusekit.store.layout import open_store

TYPES = """
SELECT 1 AS a, 2.5::FLOAT AS b, 0.51::FLOAT AS c, 'nan'::DOUBLE AS d, '\\xFF'::BLOB AS e,
       DATE '2020-02-29' AS f, NULL AS g, [0.1::FLOAT, 2] AS h, {'x': 1} AS i, true AS j,
       (SELECT sum(length) - sum(length) + 7 FROM samples) AS k, 1.25::DECIMAL(9, 2) AS l,
       'é' AS m, 'inf'::FLOAT AS n
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("sql") / "store"
    storage = open_store(path, create=True)
    make_dataset(storage, "people", {"ann": 60, "bob": 30})
    return str(path)


def sql(store, query, *options):
    result = CliRunner().invoke(app, ["sql", query, "--store", store, *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result


def test_json_is_a_list_of_objects_with_every_type_spelt(store):
    (row,) = json.loads(sql(store, TYPES, "--json").stdout)
    assert row == {
        "a": 1, "b": 2.5, "c": 0.51, "d": None, "e": "ff", "f": "2020-02-29", "g": None,
        "h": [0.1, 2.0], "i": {"x": 1}, "j": True, "k": 7, "l": 1.25, "m": "é", "n": None,
    }  # fmt: skip


def test_json_of_no_row_is_an_empty_list(store):
    assert sql(store, "SELECT 1 WHERE false", "--json").stdout == "[]\n"


def test_json_has_all_rows_one_a_line(store):
    text = sql(store, "SELECT key FROM samples", "--json").stdout
    assert len(json.loads(text)) == 90
    assert len(text.splitlines()) == 90


def test_csv_has_a_heading_and_all_rows(store):
    text = sql(store, "SELECT identity, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1", "--csv")
    assert list(csv.reader(io.StringIO(text.stdout))) == [
        ["identity", "n"], ["ann", "60"], ["bob", "30"],
    ]  # fmt: skip


def test_columns_of_one_name_are_all_there(store):
    assert sql(store, "SELECT 1 AS a, 2 AS a", "--csv").stdout == "a,a\n1,2\n"
    with pytest.raises(SqlError, match=r"two columns named 'a'; expected a name for each .* by AS"):
        sql(store, "SELECT 1 AS a, 2 AS a", "--json")


def test_lists_structs_and_truths_are_json_in_csv(store):
    text = sql(store, "SELECT [1.5::FLOAT, NULL] AS a, {'x': 'é'} AS b, true AS c", "--csv").stdout
    assert list(csv.reader(io.StringIO(text)))[1] == ["[1.5, null]", '{"x": "é"}', "true"]


def test_parquet_holds_the_rows_and_stdout_stays_empty(store, tmp_path):
    result = sql(store, "SELECT key FROM samples", "--parquet", str(tmp_path / "k.parquet"))
    assert result.stdout == ""
    assert pq.read_table(tmp_path / "k.parquet").num_rows == 90


def test_the_table_says_when_it_does_not_show_all(store):
    result = sql(store, "SELECT key FROM samples")
    assert len(result.stdout.splitlines()) == 62
    assert "90 rows, the first 60 shown" in result.stderr


def test_numbers_are_shown_as_they_are(store):
    assert sql(store, "SELECT 1234567 AS n").stdout.splitlines()[2].strip() == "1234567"


def test_two_forms_at_once_are_refused(store):
    with pytest.raises(UsageError, match="sql: more than one of --json, --csv, --parquet"):
        sql(store, "SELECT 1", "--json", "--csv")


def test_what_is_no_select_is_refused(store):
    with pytest.raises(SqlError, match="expected SELECT"):
        sql(store, "DROP TABLE samples")
