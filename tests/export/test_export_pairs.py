"""A verification pack holds an evaluation set's pairs as InsightFace's trainers read them."""

import errno
import json
import os
import pickle
import shutil

import pyarrow.parquet as pq
import pytest
from support.exports import (
    draw_images,
    make_evaluation_set,
    make_mixture,
    pair,
    read_pairs,
    stored_image,
    write_pairs,
)
from support.stores import make_dataset

import fusekit
from fusekit.errors import StorageError, StoreError, UsageError
from fusekit.export import images
from fusekit.storage.folder import Storage
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("pairs") / "store", create=True)
    make_evaluation_set(storage, unit_size=7)
    return storage


@pytest.fixture
def storage(original, tmp_path):
    shutil.copytree(original.root, tmp_path / "store")
    return Storage(tmp_path / "store")


def export(storage, out, **more):
    return fusekit.export_pairs("lfw", out, store=storage.root, **more)


def stored(storage, name="lfw"):
    rows = pq.read_table(storage.path(f"datasets/{name}/samples-000000.parquet")).to_pylist()
    return {row["key"]: stored_image(storage, row) for row in rows}


class OnlyPlain(pickle.Unpickler):
    """An unpickler that knows no class at all."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


def load(path):
    with path.open("rb") as file:
        return OnlyPlain(file, encoding="bytes").load()


def test_a_pack_is_pairs_of_images_as_stored_and_their_truths_in_order(storage, tmp_path):
    result = export(storage, tmp_path / "lfw.bin")
    found, same = load(tmp_path / "lfw.bin")
    images, pairs = stored(storage), read_pairs(storage)
    assert found == [images[p[key]] for p in pairs for key in ("key_a", "key_b")]
    assert same == [p["same"] for p in pairs]
    assert all(type(each) is bool for each in same)
    assert (result.pairs, result.same, result.folds, result.left_out) == (40, 20, 10, 0)
    assert (result.state, result.protocol, result.remarks) == ("written", "view-2", [])
    assert result.bytes == sum(map(len, found))


def test_the_same_set_gives_the_same_bytes_and_is_left_alone(storage, tmp_path, monkeypatch):
    export(storage, tmp_path / "a.bin")
    monkeypatch.setattr(images, "_BLOCK_BYTES", 4000)
    export(storage, tmp_path / "b.bin")
    for suffix in (".bin", ".bin.json"):
        first, second = ((tmp_path / f"{n}{suffix}").read_bytes() for n in "ab")
        assert first == second
    assert export(storage, tmp_path / "a.bin").state == "unchanged"
    about = json.loads((tmp_path / "a.bin.json").read_text())
    assert (about["dataset"], about["format"], about["pairs"]) == ("lfw", "bin", 40)


def test_folds_follow_each_other_and_keep_their_rows_order(storage, tmp_path):
    pairs = read_pairs(storage)
    mixed = pairs[1::2] + pairs[::2]
    write_pairs(storage, "lfw", mixed)
    export(storage, tmp_path / "lfw.bin")
    images = stored(storage)
    wanted = sorted(mixed, key=lambda p: p["fold"])
    assert load(tmp_path / "lfw.bin")[1] == [p["same"] for p in wanted]
    assert load(tmp_path / "lfw.bin")[0][1::2] == [images[p["key_b"]] for p in wanted]


def test_folds_that_readers_would_cut_otherwise_are_remarked(storage, tmp_path):
    remark = "readers cut the pairs into 10 equal folds, which are not the protocol's"
    write_pairs(storage, "lfw", read_pairs(storage)[1:])
    assert export(storage, tmp_path / "a.bin").remarks == [remark]
    write_pairs(storage, "lfw", read_pairs(storage)[:8])
    assert export(storage, tmp_path / "b.bin").remarks == [remark]


def test_the_usual_protocol_is_taken_unless_another_is_named(storage, tmp_path):
    pairs = read_pairs(storage)
    dev = [p | {"protocol": "view-1-test", "main": False, "fold": 0} for p in pairs[:6]]
    write_pairs(storage, "lfw", dev + pairs)
    assert export(storage, tmp_path / "a.bin").pairs == 40
    result = export(storage, tmp_path / "b.bin", protocol="view-1-test")
    assert (result.pairs, result.protocol, result.folds) == (6, "view-1-test", 0)
    with pytest.raises(
        StoreError, match="lfw: has no pairs of a protocol 'view-3'; expected view-1-test, view-2"
    ):
        export(storage, tmp_path / "c.bin", protocol="view-3")


def test_several_usual_protocols_are_several_packs(storage, tmp_path):
    pairs = read_pairs(storage)
    write_pairs(storage, "lfw", [p | {"protocol": r} for r in ("Indian", "Asian") for p in pairs])
    with pytest.raises(
        StoreError,
        match="lfw: has 2 usual protocols; expected one; name one by --protocol: Asian, Indian",
    ):
        export(storage, tmp_path / "a.bin")
    assert export(storage, tmp_path / "a.bin", protocol="Asian").pairs == 40


def test_pairs_without_both_images_are_refused_or_left_out_and_counted(storage, tmp_path):
    pairs = read_pairs(storage)
    pairs[3]["key_a"] = pairs[9]["key_b"] = None
    write_pairs(storage, "lfw", pairs)
    for dry_run in (True, False):
        with pytest.raises(
            StoreError,
            match=r"lfw: 2 of 40 pairs have an image that gave no sample; .*--skip-missing",
        ):
            export(storage, tmp_path / "lfw.bin", dry_run=dry_run)
    result = export(storage, tmp_path / "lfw.bin", skip_missing=True)
    assert (result.pairs, result.left_out) == (38, 2)
    assert result.remarks[0] == "2 pairs are left out: an image of theirs gave no sample"
    assert len(result.remarks) == 2  # and the folds are no longer equal
    kept = [p for p in pairs if p["key_a"] and p["key_b"]]
    assert load(tmp_path / "lfw.bin")[1] == [p["same"] for p in kept]


def test_a_set_of_which_no_pair_is_whole_gives_no_pack(storage, tmp_path):
    write_pairs(storage, "lfw", [p | {"key_b": None} for p in read_pairs(storage)])
    with pytest.raises(StoreError, match="40 of 40 pairs have an image that gave no sample"):
        export(storage, tmp_path / "lfw.bin", skip_missing=True)


def test_a_set_without_a_usual_protocol_names_those_it_has(storage, tmp_path):
    write_pairs(storage, "lfw", [p | {"main": False} for p in read_pairs(storage)])
    with pytest.raises(StoreError, match=r"has 0 usual protocols; .* by --protocol: view-2"):
        export(storage, tmp_path / "a.bin")
    write_pairs(storage, "lfw", [])
    with pytest.raises(StoreError, match=r"has 0 usual protocols; .*: none is there"):
        export(storage, tmp_path / "a.bin")


def test_a_set_without_samples_misses_them_all(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "lfw", {}, kind="evaluation")
    row = pair([None], ["a.jpg"], 0, 0, 1, same=True)
    write_pairs(storage, "lfw", [row])
    with pytest.raises(StoreError, match="1 of 1 pairs have an image that gave no sample"):
        export(storage, tmp_path / "a.bin")


def test_a_dry_run_writes_nothing(storage, tmp_path):
    result = export(storage, tmp_path / "out" / "lfw.bin", dry_run=True)
    assert (result.state, result.pairs) == ("dry run", 40)
    assert not (tmp_path / "out").exists()


def test_raw_crops_become_png(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_evaluation_set(storage, fmt="raw", images=draw_images(24, "raw"))
    assert export(storage, tmp_path / "lfw.bin").as_png == 80
    assert {image[:4] for image in load(tmp_path / "lfw.bin")[0]} == {b"\x89PNG"}


def test_a_file_of_something_else_is_refused(storage, tmp_path):
    (tmp_path / "lfw.bin").write_bytes(b"mine")
    with pytest.raises(
        StorageError, match=r"lfw.bin: is there, and is of another export; expected"
    ):
        export(storage, tmp_path / "lfw.bin")
    with pytest.raises(StorageError, match="is a folder; expected the name of a new file"):
        export(storage, tmp_path)
    with pytest.raises(UsageError, match=r"lfw.bin: lies in the store"):
        export(storage, storage.root / "lfw.bin")
    assert (tmp_path / "lfw.bin").read_bytes() == b"mine"


def test_a_full_disk_is_one_line_and_leaves_nothing(storage, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"lfw.bin.json: the disk is full"):
        export(storage, tmp_path / "lfw.bin")
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_a_run_that_was_stopped_is_begun_anew_and_anothers_record_is_left(
    storage, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("fusekit.export.pairs.read_images", lambda *args: iter([b"", 1 / 0]))
        with pytest.raises(ZeroDivisionError):
            export(storage, tmp_path / "lfw.bin")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lfw.bin.json", "store"]
    assert export(storage, tmp_path / "lfw.bin").state == "written"
    (tmp_path / "other.bin.json").write_text("{}")
    with pytest.raises(StorageError, match=r"other.bin.json: is there, and is of another export"):
        export(storage, tmp_path / "other.bin")


def test_an_image_that_is_not_what_was_stored_is_named(storage, tmp_path):
    shard = storage.path("datasets/lfw/shards/lfw-000001.tar")
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(StoreError, match=r"_00 in .*lfw-000001.tar: its bytes are not those that"):
        export(storage, tmp_path / "lfw.bin")
    shard.unlink()
    with pytest.raises(StoreError, match=r"_00 in .*lfw-000001.tar: can't be read: No such file"):
        export(storage, tmp_path / "lfw.bin")


def test_what_has_no_pairs_is_named_for_what_it_is(tmp_path):
    storage = make_mixture(tmp_path / "store")
    make_dataset(storage, "ijbc", {"1": 2}, kind="evaluation")
    for name, message in {
        "vgg": "vgg: is labeled; expected an evaluation set",
        "m": "m: is a mixture; expected an evaluation set, or another --format",
        "ijbc": "ijbc: has no pairs; expected an evaluation set of pairs of images, such as lfw",
        "lfv": "lfv: is not ingested",
    }.items():
        with pytest.raises(StoreError, match=message):
            fusekit.export_pairs(name, tmp_path / "x.bin", store=storage.root)


def test_progress_reaches_its_end(storage, tmp_path):
    told = []
    export(storage, tmp_path / "lfw.bin", report=told.append)
    assert (told[-1].done, told[-1].total, told[-1].unit) == (80, 80, "images")
