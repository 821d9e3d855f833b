import hashlib
import os
import shutil
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipes import build, change_fingerprint, recipe
from support.stores import make_dataset

from fusekit.errors import FusekitError, MixtureError, RecipeError, StoreError
from fusekit.mixture import index
from fusekit.mixture.build import FILES, build_mixture
from fusekit.mixture.mixture import Mixture
from fusekit.schema import CLASSES_SCHEMA, MEMBERS_SCHEMA, MIXTURE_ROWS_SCHEMA, SHARDS_SCHEMA
from fusekit.store.layout import open_store

PEOPLE = {"ann": 9, "bob": 1, "cid": 5, "dan": 20}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("made") / "s", create=True)
    make_dataset(storage, "vgg", PEOPLE, index=8, names={"ann": "Ann A."})
    make_dataset(storage, "rec", {"0": 4, "1": 7}, index=3, seed=1)
    make_dataset(storage, "crawl", 40)
    make_dataset(storage, "lfw", {"a": 2}, kind="evaluation")
    make_dataset(storage, "chips", {"a": 2}, template="dlib-150")
    return storage.root


@pytest.fixture
def storage(made, tmp_path):
    return open_store(shutil.copytree(made, tmp_path / "s"))


def rows(storage, table, name="m"):
    return pq.read_table(storage.path(f"mixtures/{name}/{table}.parquet")).to_pylist()


def bytes_of(storage, name="m"):
    folder = storage.path(f"mixtures/{name}")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_table_has_its_schema(storage):
    build(storage, "vgg", unlabeled=["crawl"])
    schemas = {
        "labeled": MIXTURE_ROWS_SCHEMA, "unlabeled": MIXTURE_ROWS_SCHEMA,
        "classes": CLASSES_SCHEMA, "members": MEMBERS_SCHEMA, "shards": SHARDS_SCHEMA,
    }  # fmt: skip
    for table, schema in schemas.items():
        path = storage.path(f"mixtures/m/{table}.parquet")
        assert pq.read_schema(path).remove_metadata() == schema


def test_labels_are_one_contiguous_range_for_each_dataset_in_the_recipes_order(storage):
    build(storage, "rec", "vgg")
    classes = rows(storage, "classes")
    assert [c["label"] for c in classes] == list(range(6))
    assert [(c["dataset"], c["identity"]) for c in classes] == [
        ("rec", "0"), ("rec", "1"), ("vgg", "ann"), ("vgg", "bob"), ("vgg", "cid"), ("vgg", "dan"),
    ]  # fmt: skip
    assert [c["source_index"] for c in classes] == [0, 0, 1, 1, 1, 1]
    assert [c["dataset_index"] for c in classes] == [3, 3, 8, 8, 8, 8]
    assert [c["name"] for c in classes] == [None, None, "Ann A.", None, None, None]
    assert [c["images"] for c in classes] == [4, 7, 9, 1, 5, 20]
    members = [(m["label"], m["dataset"], m["identity"]) for m in rows(storage, "members")]
    assert members == [(c["label"], c["dataset"], c["identity"]) for c in classes]


def test_an_identity_without_an_image_left_gets_no_label(storage):
    summary = build(storage, {"dataset": "vgg", "min_images": 5}, "rec")
    assert [c["identity"] for c in rows(storage, "classes")] == ["ann", "cid", "dan", "0", "1"]
    step = {"rule": "min_images", "rows_in": 35, "taken": 1, "rows_out": 34, "identities": 3}
    assert summary.as_json()["datasets"] == [
        {"dataset": "vgg", "dataset_index": 0, "labels": [0, 3], "classes": 3, "store_index": 8,
         "rows": 34, "samples": 35, "dropped": {"min_images": 1}, "steps": [step]},
        {"dataset": "rec", "dataset_index": 1, "labels": [3, 5], "classes": 2, "store_index": 3,
         "rows": 11, "samples": 11, "dropped": {}, "steps": []},
    ]  # fmt: skip


def test_every_row_carries_its_identitys_label(storage):
    build(storage, "vgg", "rec", unlabeled=["crawl"])
    labels = {(c["dataset"], c["identity"]): c["label"] for c in rows(storage, "classes")}
    for row in rows(storage, "labeled"):
        assert row["label"] == labels[row["dataset"], row["identity"]]
        assert row["source_index"] == ("vgg", "rec").index(row["dataset"])
    for row in rows(storage, "unlabeled"):
        assert (row["label"], row["source_index"]) == (-1, 2)


def test_naive_labels_are_the_same_tables_under_a_joint_softmax(storage):
    build(storage, "vgg", "rec")
    build(storage, "vgg", "rec", labels="naive", name="n")
    kept, naive = (bytes_of(storage, name) for name in "mn")
    assert {k: v for k, v in kept.items() if k != "mixture.json"} == {
        k: v for k, v in naive.items() if k != "mixture.json"
    }
    assert Mixture.open(storage.path("mixtures/m")).softmax == "per_dataset"
    assert Mixture.open(storage.path("mixtures/n")).softmax == "joint"


def test_the_index_addresses_the_bytes_of_every_row(storage):
    build(storage, {"dataset": "vgg", "max_images": 4}, "rec", unlabeled=["crawl"])
    mixture = Mixture.open(storage.path("mixtures/m"))
    found = mixture.index
    table = rows(storage, "labeled") + rows(storage, "unlabeled")
    assert len(found) == len(table) == mixture.labeled + mixture.unlabeled
    for row, wanted in enumerate(table):
        with mixture.shard_paths[found.shard[row]].open("rb") as shard:
            data = os.pread(shard.fileno(), int(found.length[row]), int(found.offset[row]))
        digest = hashlib.sha256(data).digest()
        assert found.digest[row].tobytes() == digest[:8] == wanted["content_digest"][:8]
        assert found.label[row] == wanted["label"]
        assert found.source[row] == wanted["source_index"]
        assert found.format[row] == 0
        assert mixture.key(row) == wanted["key"]
        assert mixture.shard_paths[found.shard[row]].name == wanted["shard"]


@pytest.mark.parametrize(("fmt", "code"), [("jpg", 0), ("png", 1), ("raw", 2)])
def test_the_index_tells_the_format(tmp_path, fmt, code):
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 3}, fmt=fmt)
    build(storage, "vgg")
    assert Mixture.open(storage.path("mixtures/m")).index.format.tolist() == [code] * 3


def test_rows_stand_by_source_then_unit_then_plan_order(storage):
    build(storage, "vgg", "rec", unlabeled=["crawl"])
    mixture = Mixture.open(storage.path("mixtures/m"))
    order = [
        (row["source_index"], row["unit"], row["offset"])
        for row in rows(storage, "labeled") + rows(storage, "unlabeled")
    ]
    assert order == sorted(order)
    assert np.all(np.diff(mixture.index.shard) >= 0)
    for source in mixture.sources:
        span = mixture.index.source[source.first_row : source.first_row + source.rows]
        assert set(span.tolist()) == {source.index}
    assert sum(source.rows for source in mixture.sources) == len(mixture.index)


def test_by_class_lists_each_labels_rows(storage):
    build(storage, {"dataset": "vgg", "max_images": 3}, "rec", unlabeled=["crawl"])
    mixture = Mixture.open(storage.path("mixtures/m"))
    assert sorted(mixture.by_class.tolist()) == list(range(mixture.labeled))
    for about in mixture.classes.to_pylist():
        span = slice(about["first_row"], about["first_row"] + about["images"])
        mine = mixture.by_class[span]
        assert set(mixture.index.label[mine].tolist()) == {about["label"]}
        assert mine.tolist() == sorted(mine.tolist())


def test_only_shards_with_a_row_are_listed_with_their_digests(storage):
    build(storage, {"dataset": "vgg", "where": "unit = 1"}, "rec")
    shards = Mixture.open(storage.path("mixtures/m")).shards.to_pylist()
    assert [s["path"].rpartition("/")[2] for s in shards] == ["vgg-000001.tar", "rec-000000.tar"]
    for number, shard in enumerate(shards):
        data = storage.read(shard["path"])
        assert shard["shard"] == number
        assert (shard["sha256"], shard["size"]) == (hashlib.sha256(data).hexdigest(), len(data))


def test_the_index_is_one_batch_that_maps_without_a_copy(storage):
    build(storage, "vgg", unlabeled=["crawl"])
    found = Mixture.open(storage.path("mixtures/m")).index
    columns = [getattr(found, name) for name in found.__dataclass_fields__]
    assert not any(column.flags.owndata for column in columns)
    assert not any(column.flags.writeable for column in columns)


def test_keys_are_found_across_batches(storage, monkeypatch):
    monkeypatch.setattr(index, "KEY_BATCH", 7)
    build(storage, "vgg", "rec", unlabeled=["crawl"])
    mixture = Mixture.open(storage.path("mixtures/m"))
    keys = [row["key"] for row in rows(storage, "labeled") + rows(storage, "unlabeled")]
    assert [mixture.key(row) for row in range(len(keys))] == keys


def test_without_an_unlabeled_dataset_its_table_is_empty_and_the_share_is_0(storage):
    summary = build(storage, "vgg")
    assert (summary.unlabeled, rows(storage, "unlabeled")) == (0, [])
    assert Mixture.open(storage.path("mixtures/m")).unlabeled_fraction == 0


def test_a_share_of_0_keeps_the_unlabeled_rows(storage):
    build(storage, "vgg", unlabeled=["crawl"], batch={"unlabeled_fraction": 0})
    mixture = Mixture.open(storage.path("mixtures/m"))
    assert (mixture.unlabeled, mixture.unlabeled_fraction) == (40, Fraction(0))


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two stores of the same datasets, ingested in another order."""
    stores = []
    for order in (["vgg", "rec", "crawl"], ["crawl", "rec", "vgg"]):
        storage = open_store(tmp_path_factory.mktemp("twin") / "s", create=True)
        what = {"vgg": PEOPLE, "rec": {"0": 4, "1": 7}, "crawl": 30}
        for name in order:
            make_dataset(storage, name, what[name], index=list(what).index(name))
        stores.append(storage)
    return stores


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from(["vgg", "rec"]), min_size=1, max_size=2, unique=True),
    st.none() | st.integers(1, 6),
    st.booleans(),
    st.integers(0, 3),
)
def test_the_same_recipe_and_datasets_give_the_same_bytes(twins, labeled, most, crawl, seed):
    sources = [{"dataset": name, "max_images": most} for name in labeled]
    found = []
    for storage in twins:
        shutil.rmtree(storage.path("mixtures"), ignore_errors=True)
        build(storage, *sources, unlabeled=["crawl"] if crawl else [], seed=seed)
        found.append(bytes_of(storage))
    assert found[0] == found[1]
    assert set(found[0]) == {*FILES, "mixture.json"}


def test_a_dry_run_tells_the_same_and_writes_nothing(storage):
    asked = recipe({"dataset": "vgg", "max_images": 4}, "rec", unlabeled=["crawl"])
    before = sorted(storage.root.rglob("*"))
    dry = build_mixture(asked, storage.root, dry_run=True)
    assert sorted(storage.root.rglob("*")) == before
    done = build_mixture(asked, storage.root)
    assert (dry.state, done.state) == ("dry run", "built")
    assert dry.as_json() | {"state": "built"} == done.as_json()
    assert dry.notes == [
        "vgg: 13 of 35 samples (max_images took 22)", "rec: 11 of 11 samples",
        "crawl: 40 of 40 samples; not filtered",
    ]  # fmt: skip


def test_the_same_recipe_again_changes_nothing(storage):
    build(storage, "vgg")
    before = {p: p.stat().st_mtime_ns for p in storage.path("mixtures/m").iterdir()}
    assert build(storage, "vgg").state == "unchanged"
    assert {p: p.stat().st_mtime_ns for p in storage.path("mixtures/m").iterdir()} == before


def test_the_rules_are_told_in_their_order_also_from_the_file(storage):
    asked = {"dataset": "vgg", "where": "det_score > 0.55", "max_images": 4, "min_images": 2}
    first, again = build(storage, asked), build(storage, asked)
    assert again.state == "unchanged"
    assert list(again.sources[0].dropped) == ["where", "max_images", "min_images"]
    assert (again.sources, again.notes) == (first.sources, first.notes)


def test_another_recipe_of_the_same_name_is_refused_by_its_first_difference(storage):
    build(storage, "vgg")
    before = bytes_of(storage)
    with pytest.raises(MixtureError) as error:
        build(storage, "vgg", seed=7)
    assert str(error.value) == (
        "m: is there, built otherwise (recipe.seed: 7, was 0); give the recipe another name, "
        "or replace the mixture with --overwrite"
    )
    assert bytes_of(storage) == before
    assert build(storage, "vgg", seed=7, overwrite=True).state == "built"


def test_changed_datasets_under_the_same_recipe_are_refused(storage):
    build(storage, "rec")
    change_fingerprint(storage, "rec", "1" * 64)
    with pytest.raises(MixtureError, match=r"built otherwise \(datasets.rec.fingerprint: '1111"):
        build(storage, "rec")


def test_a_mixture_with_a_missing_file_is_built_again(storage):
    build(storage, "vgg")
    before = bytes_of(storage)
    storage.remove("mixtures/m/index.arrow")
    assert build(storage, "vgg").state == "built"
    assert bytes_of(storage) == before


def test_a_killed_build_leaves_no_mixture_and_the_next_one_finishes(storage, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    build(storage, "vgg")
    with monkeypatch.context() as patch:
        patch.setattr(index.IndexWriter, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            build(storage, "vgg", seed=1, overwrite=True)
    with pytest.raises(MixtureError, match="holds no finished mixture"):
        Mixture.open(storage.path("mixtures/m"))
    (storage.path("mixtures/m") / ".work").mkdir()
    build(storage, "vgg", seed=1)
    assert set(bytes_of(storage)) == {*FILES, "mixture.json"}


def test_two_builds_of_one_mixture_at_a_time_are_refused(storage):
    with (
        storage.lock("mixture-m"),
        pytest.raises(StoreError, match="mixture-m: another run is writing it"),
    ):
        build(storage, "vgg")


def test_a_damaged_mixture_json_is_named(storage):
    build(storage, "vgg")
    storage.write("mixtures/m/mixture.json", b'{"recipe": 1}')
    with pytest.raises(MixtureError, match=r"m: its mixture.json is damaged; --overwrite"):
        build(storage, "vgg")


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "error", "message"),
    [
        (["vgh"], [], StoreError, "vgh: is not ingested; did you mean 'vgg'?"),
        (
            ["vgg", "crawl"], [], RecipeError,
            "recipe m: labeled[1]: crawl is unlabeled; expected a dataset that is labeled; "
            "list it under 'unlabeled:'",
        ),
        (["vgg"], ["rec"], RecipeError, "recipe m: unlabeled[0]: rec is labeled; expected"),
        (["lfw"], [], RecipeError, "recipe m: labeled[0]: lfw is an evaluation dataset; leave it"),
        (["vgg"], ["lfw"], RecipeError, "unlabeled[0]: lfw is an evaluation dataset"),
        (
            ["vgg", "chips"], [], RecipeError,
            "recipe m: its datasets are aligned to 2 templates (vgg: arcface-112 (112x112); chips: "
            "dlib-150 (150x150)); expected one; 'template: arcface-112' in the recipe brings every "
            "crop to it",
        ),
        (
            [{"dataset": "vgg", "where": "random() > 1"}], [], RecipeError,
            "recipe m: labeled[0].where: holds the function random",
        ),
        (
            [{"dataset": "vgg", "min_images": 99}], [], MixtureError,
            "m: vgg: no sample is left of 35, min_images took 35; loosen its rules or leave it out",
        ),
        (
            ["vgg"], [{"dataset": "crawl", "where": "width = 1"}], MixtureError,
            "m: crawl: no sample is left of 40, where took 40",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_refused_before_anything_is_written(
    storage, labeled, unlabeled, error, message
):
    with pytest.raises(error) as found:
        build(storage, *labeled, unlabeled=unlabeled)
    assert message in str(found.value)
    assert not storage.exists("mixtures/m")


def test_a_recipe_file_is_named_in_errors(storage, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("name: m\nlabeled:\n  - {dataset: vgg}\n  - {dataset: crawl}\n")
    with pytest.raises(FusekitError, match=r"my.yaml: labeled\[1\]: crawl is unlabeled"):
        build_mixture(path, storage.root)


def test_damaged_identities_and_records_are_named(storage):
    pq.write_table(
        pq.read_table(storage.path("datasets/vgg/plan/identities.parquet")).slice(1),
        storage.path("datasets/vgg/plan/identities.parquet"),
    )
    with pytest.raises(MixtureError, match=r"vgg/plan/identities.parquet: its numbers are not 0"):
        build(storage, "vgg")
    storage.remove("datasets/rec/manifest/part-000000.parquet")
    with pytest.raises(MixtureError, match=r"part-000000.parquet: has no samples but the manifest"):
        build(storage, "rec")


def test_progress_reaches_its_total(storage):
    seen = []
    build_mixture(recipe("vgg", "rec", unlabeled=["crawl"]), storage.root, report=seen.append)
    last = [p for p in seen if p.stage == "write rows"][-1]
    assert (last.done, last.total, last.unit) == (86, 86, "rows")
    assert [p.done for p in seen if p.stage == "select rows"] == [0, 1, 2, 3]
