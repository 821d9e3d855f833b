import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.stores import make_dataset

from fusekit.errors import StoreError
from fusekit.fingerprint import fingerprint
from fusekit.report.verify import verify_store
from fusekit.schema import ACTIVATIONS_SCHEMA
from fusekit.store.commit import read_record
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingModel, finish_embeddings, write_part
from fusekit.store.findings import write_finding
from fusekit.store.heads import write_head
from fusekit.store.layout import open_store

MODEL = EmbeddingModel("drawn", "ab" * 32)
KINDS = [
    "datasets/people/SHA256SUMS",
    "datasets/people/dataset.json",
    "datasets/people/manifest/part-000001.parquet",
    "datasets/people/plan/identities.parquet",
    "datasets/people/plan/part-000000.parquet",
    "datasets/people/plan/plan.json",
    "datasets/people/rejects/part-000001.parquet",
    "datasets/people/rejects-000000.parquet",
    "datasets/people/samples-000000.parquet",
    "datasets/people/shards/people-000000.tar",
    "datasets/people/embeddings/drawn-abababab/part-000000.parquet",
    "findings/activation/*/finding.json",
    "findings/activation/*/table.parquet",
    "heads/known.json",
    "heads/known.safetensors",
    "indexes/001000.json",
]


@pytest.fixture
def store(tmp_path, sound_store):
    return Path(shutil.copytree(sound_store, tmp_path / "store"))


@pytest.fixture(scope="module")
def sound_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "store"
    storage = open_store(path, create=True)
    make_dataset(storage, "people", {"ann": 6, "bob": 12, "cid": 5})
    crawl = make_dataset(storage, "crawl", 9)
    embed(storage, "people")
    keys = pq.read_table(storage.path(crawl.files[0]))["key"].to_pylist()
    row = {"activation": 0.5, "cosine": 0.4, "nearest_dataset": "people", "nearest_identity": "ann"}
    about = {"dataset": "crawl", "inputs": {"crawl": crawl.fingerprint}, "threshold": 0.9}
    write_finding(storage, "activation", about, [{"key": k, **row} for k in keys],
                  ACTIVATIONS_SCHEMA)  # fmt: skip
    rows = [("people", "ann"), ("people", "bob")]
    write_head(storage, "known", np.eye(2, 4, dtype=np.float32), scale=64.0, rows=rows,
               embedder=MODEL)  # fmt: skip
    return path


def embed(storage, name):
    random, info = np.random.default_rng(0), open_dataset(storage, name)
    columns = ["key", "identity", "identity_index", "dataset_index"]
    for unit in range(info.units):
        part = f"datasets/{name}/manifest/part-{unit:06d}.parquet"
        manifest = pq.read_table(storage.path(part), columns=columns).replace_schema_metadata(None)
        outputs = random.normal(size=(manifest.num_rows, 8)).astype(np.float32)
        write_part(storage, name, read_record(storage, name, unit), MODEL, manifest, outputs)
    finish_embeddings(storage, info, MODEL)


def problems(store, name=None, **options):
    return [str(p) for p in verify_store(store, name, **options).problems]


def only(store, pattern):
    (path,) = store.glob(pattern)
    return path


def rewrite(path, change):
    """Write a table again with changed rows, its metadata kept."""
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_a_sound_store_has_no_fault(store):
    result = verify_store(store)
    assert result.problems == ()
    assert result.datasets == ("crawl", "people")
    assert (result.findings, result.heads) == (1, 1)
    assert result.lines() == ["no fault in 2 datasets, 1 finding, 1 head"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_found_wherever_it_is_and_its_file_named(store, kind):
    path = only(store, kind)
    whole = path.read_bytes()
    places = np.random.default_rng(len(kind)).integers(0, len(whole), 6).tolist()
    for at in {0, *places, len(whole) - 1}:
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        found = problems(store)
        # A finding's description holds its table's digest: either may be the one that is wrong.
        named = path.parent if kind.endswith("finding.json") else path
        name = named.relative_to(store).as_posix()
        assert any(name in line for line in found), (at, whole[at : at + 1], found)
    path.write_bytes(whole)
    assert problems(store) == []


def test_a_damaged_footer_of_rows_that_a_finding_counts_is_named(store):
    path = only(store, "datasets/crawl/samples-*.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"ARROW:schema") + 20] = 0xFF  # in the base64 of the schema
    path.write_bytes(damaged)
    name = path.relative_to(store).as_posix()
    assert any(line.startswith(f"{name}: is damaged") for line in problems(store))


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith(("findings", "heads"))])
def test_a_missing_file_is_named(store, kind):
    path = only(store, kind)
    path.unlink()
    name = path.relative_to(store).as_posix()
    if kind.endswith("dataset.json"):
        assert verify_store(store).unfinished == ("people",)
    else:
        assert any(name in line for line in problems(store))


def test_a_flipped_pixel_names_its_sample(store):
    path = only(store, "datasets/people/shards/people-000000.tar")
    row = pq.read_table(store / "datasets/people/manifest/part-000000.parquet").to_pylist()[3]
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    path.write_bytes(data)
    found = problems(store)
    shard = "datasets/people/shards/people-000000.tar"
    assert f"{shard}: {row['key']}: the image's digest is not the manifest's" in found
    assert any(line.startswith(f"{shard}: has sha256 ") for line in found)


def test_quick_leaves_the_shards_unread(store):
    path = only(store, "datasets/people/shards/people-000000.tar")
    path.write_bytes(path.read_bytes()[::-1])
    assert problems(store, deep=False) == []


def test_a_truncated_shard_is_named_with_its_place(store):
    path = only(store, "datasets/people/shards/people-000001.tar")
    path.write_bytes(path.read_bytes()[:-20_000])
    assert any("a whole tar" in line for line in problems(store, "people"))


def test_a_member_that_the_manifest_does_not_know_is_named(store):
    path = only(store, "datasets/people/shards/people-000000.tar")
    data = bytearray(path.read_bytes())
    second = data.index(b"ustar", 600) - 257
    header = data[second : second + 512]
    header[0:4] = b"else"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[second : second + 512] = header
    path.write_bytes(data)
    assert any("member 1 is 'else" in line for line in problems(store))


def test_a_changed_row_disagrees_with_its_crop_and_with_the_compacted_rows(store):
    def change(rows):
        rows[2]["identity"] = "eve"

    rewrite(store / "datasets/people/manifest/part-000000.parquet", change)
    text = "\n".join(problems(store))
    assert "in its .json and 'eve' in the manifest" in text
    assert "samples-000000.parquet: differs from datasets/people/manifest/part-000000" in text


def test_a_lost_row_breaks_the_sum_of_items(store):
    rewrite(store / "datasets/people/manifest/part-000000.parquet", lambda rows: rows.pop())
    text = "\n".join(problems(store))
    assert "kept 15; expected 16" in text
    assert "of the plan is neither kept nor rejected" in text


def test_a_row_under_another_key_is_named(store):
    def change(rows):
        rows[0]["key"] = "a" * 16 + "_00"

    rewrite(store / "datasets/people/manifest/part-000000.parquet", change)
    assert any("is not made from" in line for line in problems(store))


def test_a_key_that_is_there_twice_is_named(store):
    def change(rows):
        rows[1]["key"] = rows[0]["key"]

    rewrite(store / "datasets/people/samples-000000.parquet", change)
    assert any("is there twice" in line for line in problems(store))


def test_a_stray_file_is_named(store):
    stray = store / "datasets/people/shards/people-000099.tar"
    stray.write_bytes(b"")
    assert problems(store) == [
        "datasets/people/shards/people-000099.tar: is no file of this dataset"
    ]


def test_counts_changed_with_their_digest_still_disagree_with_the_units(store):
    path = store / "datasets/people/dataset.json"
    about = json.loads(path.read_bytes())
    about["kept"] -= 1
    about["rejected"] += 1
    del about["digest"]
    path.write_text(json.dumps(about | {"digest": fingerprint(about)}))
    found = problems(store)
    assert "datasets/people/dataset.json: kept 22; expected 23" in found
    assert "datasets/people/dataset.json: rejected 1; expected 0" in found


def test_an_index_of_a_dataset_that_is_gone_is_named(store):
    (store / "indexes/001005.json").write_text('{"dataset":"gone"}')
    assert problems(store) == ["indexes/001005.json: is gone's, which is not in the store"]


def test_many_faults_of_one_file_are_counted(store):
    def change(rows):
        for row in rows:
            row["det_score"] += 0.1

    rewrite(store / "datasets/people/manifest/part-000000.parquet", change)
    assert any(line.endswith("and 11 faults more") for line in problems(store))


def test_an_unfinished_dataset_is_told_and_not_checked(store):
    (store / "datasets/crawl/dataset.json").unlink()
    result = verify_store(store, "crawl")
    assert result.unfinished == ("crawl",)
    assert result.lines()[0] == "not finished, so not checked: crawl"


def test_one_dataset_alone_can_be_checked(store):
    (store / "datasets/crawl/samples-000000.parquet").unlink()
    assert problems(store, "people") == []
    assert problems(store, "crawl")[0] == "datasets/crawl/samples-000000.parquet: is missing"


def test_an_unknown_name_is_an_error(store):
    with pytest.raises(
        StoreError, match="nobody: is no dataset or mixture of this store; expected crawl, people"
    ):
        verify_store(store, "nobody")


def test_the_result_is_json(store):
    about = verify_store(store).as_json()
    assert json.loads(json.dumps(about)) == {
        "datasets": ["crawl", "people"], "unfinished": [], "mixtures": [], "findings": 1,
        "heads": 1, "problems": [],
    }  # fmt: skip
