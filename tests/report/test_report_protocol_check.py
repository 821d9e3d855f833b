import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.stores import make_dataset, pairs_table

from fusekit.fingerprint import fingerprint
from fusekit.report.info import info
from fusekit.report.verify import verify_store
from fusekit.schema import PLAN_TEMPLATES_SCHEMA, TEMPLATE_PAIRS_SCHEMA
from fusekit.store.layout import open_store

ANN, BOB = "ann/00000.jpg", "bob/00001.jpg"
PAIRS = [(ANN, BOB, False), (BOB, BOB, True)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("protocol") / "store", create=True)
    templates = [{"template": 1, "media": None, "source": ANN, "score": 0.5}]
    pairs = [{"template_a": 1, "template_b": 1, "same": True}]
    make_dataset(
        storage, "lfw", {"ann": 1, "bob": 1}, kind="evaluation",
        protocol={
            "pairs": pairs_table(PAIRS),
            "templates": pa.Table.from_pylist(templates, PLAN_TEMPLATES_SCHEMA),
            "template_pairs": pa.Table.from_pylist(pairs, TEMPLATE_PAIRS_SCHEMA),
        },
    )  # fmt: skip
    return storage.root


@pytest.fixture
def store(tmp_path, sound):
    return shutil.copytree(sound, tmp_path / "store")


def faults(store):
    return [str(problem) for problem in verify_store(store).problems]


def change(store, name, column, values):
    path = store / "datasets/lfw" / name
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values)), path)


def test_a_sound_protocol_has_no_fault(store):
    assert faults(store) == []


@pytest.mark.parametrize(
    "name",
    ["pairs", "templates", "plan/pairs", "plan/templates", "plan/template_pairs"],
)
def test_a_flipped_byte_and_a_missing_table_are_named(store, name):
    path = store / f"datasets/lfw/{name}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    assert any(f"{name}.parquet: has sha256" in fault for fault in faults(store))
    path.unlink()
    assert any(f"{name}.parquet: is missing" in fault for fault in faults(store))


def test_a_key_that_is_not_the_manifests_is_named_with_its_row(store):
    key = pq.read_table(store / "datasets/lfw/pairs.parquet")["key_a"].to_pylist()
    change(store, "pairs.parquet", "key_a", [key[0], "aaaaaaaaaaaaaaaa_00"])
    wanted = "datasets/lfw/pairs.parquet: 1 keys are not the manifest's, first in row 1"
    assert wanted in faults(store)


def test_a_key_of_no_sample_is_named(store):
    change(store, "templates.parquet", "key", pa.array([None], pa.string()))
    assert any("1 keys are not the manifest's, first in row 0" in f for f in faults(store))


def test_rows_that_the_plan_does_not_know_are_named(store):
    change(store, "plan/pairs.parquet", "same", [True, True])
    wanted = "plan/pairs.parquet: its rows are not those that the plan was made with"
    assert any(wanted in fault for fault in faults(store))
    change(store, "pairs.parquet", "source_b", ["nobody.jpg", BOB])
    found = faults(store)
    assert any("lfw/pairs.parquet: its rows are not those of the plan" in f for f in found)
    assert any("1 sources are no items, first in row 0" in fault for fault in found)


def test_other_counts_in_dataset_json_are_named(store):
    path = store / "datasets/lfw/dataset.json"
    about = json.loads(path.read_text())
    about.pop("digest")
    about["protocol"] = {"pairs": 3, "templates": 1}
    path.write_text(json.dumps(about | {"digest": fingerprint(about)}))
    found = faults(store)
    assert any("tables ['pairs', 'templates']; expected" in fault for fault in found)
    assert any("plan/pairs.parquet: rows 2; expected 3" in fault for fault in found)


def test_info_shows_the_rows_of_each_table(sound):
    table = next(table for table in info("lfw", sound).tables if table.title == "protocol")
    assert table.rows == [("pairs", 2), ("template_pairs", 1), ("templates", 1)]
