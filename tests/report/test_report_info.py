import json

import pytest
from support.stores import make_dataset

from fusekit.errors import MixtureError, StoreError
from fusekit.mixture.build import build_mixture
from fusekit.report.datasets import list_datasets, list_known
from fusekit.report.info import info
from fusekit.report.verify import verify_store
from fusekit.store.layout import open_store

RECIPE = """
name: mix
labeled: [{dataset: people, min_images: 2}, {dataset: stars}]
unlabeled: [{dataset: crawl}]
batch: {size: 16, unlabeled_fraction: 0.25}
seed: 4
"""


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    storage = open_store(path, create=True)
    make_dataset(storage, "people", {"ann": 6, "bob": 12, "cid": 1}, index=3)
    make_dataset(storage, "stars", {"x": 5})
    make_dataset(storage, "crawl", 20)
    (tmp_path / "mix.yaml").write_text(RECIPE)
    build_mixture(tmp_path / "mix.yaml", path)
    return path


def test_the_datasets_are_listed_by_name(store):
    rows = list_datasets(store)
    assert [(r.dataset, r.dataset_index, r.kind, r.samples, r.identities) for r in rows] == [
        ("crawl", 1001, "unlabeled", 20, 0),
        ("people", 3, "labeled", 19, 3),
        ("stars", 1000, "labeled", 5, 1),
    ]
    assert {r.state for r in rows} == {"finished"}


def test_an_unfinished_dataset_is_listed_with_its_units(store):
    (store / "datasets/people/dataset.json").unlink()
    (store / "datasets/people/manifest/part-000001.parquet").unlink()
    (row,) = [r for r in list_datasets(store) if r.dataset == "people"]
    assert (row.state, row.samples) == ("1 of 2 units", None)
    facts = info("people", store).facts
    assert (facts["units done"], facts["units planned"]) == (1, 2)


def test_every_known_dataset_has_a_form():
    assert all(row.forms for row in list_known())


def test_a_dataset_is_described_by_its_counts_and_spread(store):
    about = info("people", store).as_json()
    assert (about["items"], about["kept"], about["rejected"]) == (19, 19, 0)
    assert about["spread"][0] == {
        "of the samples": "images per identity",
        "least": 1, "5 %": 1, "median": 6, "95 %": 6, "most": 12,
    }  # fmt: skip
    assert about["record"]["fingerprint"] == about["fingerprint"]
    assert json.loads(json.dumps(about)) == about


def test_a_mixture_is_described_by_its_label_ranges(store):
    about = info("mix", store).as_json()
    assert (about["labeled"], about["unlabeled"], about["classes"]) == (23, 20, 3)
    rows = [(d["dataset"], d["first label"], d["end"], d["now"]) for d in about["datasets"]]
    assert rows == [
        ("people", 0, 2, "unchanged"), ("stars", 2, 3, "unchanged"),
        ("crawl", None, None, "unchanged"),
    ]  # fmt: skip


def test_a_mixture_says_which_of_its_datasets_is_gone(store):
    (store / "datasets/stars/dataset.json").unlink()
    rows = {d["dataset"]: d["now"] for d in info("mix", store).as_json()["datasets"]}
    assert rows["stars"] == "no longer in the store"


def test_an_unknown_name_gives_the_nearest(store):
    with pytest.raises(StoreError, match="peple: is not ingested; did you mean 'people'"):
        info("peple", store)


def test_a_damaged_mixture_is_an_error(store):
    (store / "mixtures/mix/mixture.json").write_text("{}")
    with pytest.raises(MixtureError, match=r"mixtures/mix/mixture.json: is damaged"):
        info("mix", store)


@pytest.mark.parametrize(
    "name",
    ["mixture.json", "labeled.parquet", "unlabeled.parquet", "classes.parquet", "members.parquet",
     "shards.parquet", "index.arrow", "keys.arrow", "by_class.arrow"],
)  # fmt: skip
def test_a_flipped_byte_of_a_mixture_is_found_and_its_file_named(store, name):
    assert verify_store(store, "mix").problems == ()
    path = store / "mixtures/mix" / name
    whole = path.read_bytes()
    for at in (0, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = [str(p) for p in verify_store(store, "mix").problems]
        assert any(f"mixtures/mix/{name}" in line for line in found), (at, found)
    path.unlink()
    assert verify_store(store, "mix").problems[0].where == f"mixtures/mix/{name}"


def test_a_mixture_whose_shard_is_another_is_named(store):
    shard = store / "datasets/stars/shards/stars-000000.tar"
    shard.write_bytes(shard.read_bytes() + b"\0")
    found = [str(p) for p in verify_store(store, "mix").problems]
    assert found == ["datasets/stars/shards/stars-000000.tar: bytes 20481; expected 20480"]
    shard.unlink()
    found = [str(p) for p in verify_store(store, "mix").problems]
    assert found == [
        "datasets/stars/shards/stars-000000.tar: is missing, and mixtures/mix reads it"
    ]
