"""What every format of ``fusekit export`` keeps: checked first, whole or not there, same bytes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import CRAWLED, draw_images, make_mixture, tree
from support.recipes import build
from support.stores import make_dataset

import fusekit
from fusekit.errors import (
    MissingExtraError,
    MixtureError,
    StorageError,
    StoreError,
    UsageError,
)
from fusekit.export import images, part
from fusekit.export.images import split_by_bytes
from fusekit.storage.folder import Storage
from fusekit.store.layout import open_store

FORMATS = ("recordio", "folders", "parquet", "lmdb", "webdataset")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("export") / "store")


def export(storage, out, fmt, **more):
    return fusekit.export_mixture("m", out, fmt, store=storage.root, **more)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("name", ["labeled", "unlabeled"])
def test_the_same_mixture_gives_the_same_bytes(storage, tmp_path, monkeypatch, fmt, name):
    first = export(storage, tmp_path / "a", fmt, part=name)
    monkeypatch.setattr(images, "_BLOCK_BYTES", 4000)  # blocks of two or three images
    monkeypatch.setattr(part, "_AT_ONCE", 3)
    export(storage, tmp_path / "b", fmt, part=name)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert (first.state, first.images) == ("written", 16 if name == "labeled" else CRAWLED)
    assert first.classes == (4 if name == "labeled" else 0)


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_export_that_is_there_is_left_alone_and_another_is_refused(storage, tmp_path, fmt):
    (tmp_path / "out").mkdir()
    export(storage, tmp_path / "out", fmt)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert export(storage, tmp_path / "out", fmt).state == "unchanged"
    assert export(storage, tmp_path / "out", fmt, dry_run=True).state == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    with pytest.raises(StorageError, match=r"out: holds another export; expected a new or empty"):
        export(storage, tmp_path / "out", fmt, part="unlabeled")


def test_export_json_says_what_is_there_and_nothing_of_where_or_when(storage, tmp_path):
    result = export(storage, tmp_path / "out", "recordio")
    about = json.loads((tmp_path / "out/export.json").read_text())
    assert about == {
        "format_version": 1, "format": "recordio", "mixture": "m", "part": "labeled",
        "fingerprint": result.fingerprint, "images": 16, "classes": 4, "bytes": result.bytes,
        "erased": 0, "as_png": 0, "template": "arcface-112", "crop_size": [112, 112],
        "remarks": ["the 9 unlabeled samples are another export: --part unlabeled"],
        "sources": [
            {
                "dataset": name, "source_index": k, "dataset_index": 1000 + k,
                "fingerprint": about["sources"][k]["fingerprint"],
            }
            for k, name in enumerate(("vgg", "rec"))
        ],
    }  # fmt: skip


def test_identities_csv_has_a_row_for_each_label(storage, tmp_path):
    export(storage, tmp_path / "out", "folders")
    assert (tmp_path / "out/identities.csv").read_bytes().decode() == (
        '"label","dataset","dataset_index","source_index","identity","name","images"\n'
        '0,"vgg",1000,0,"ann","Ann\tA.  Ñ",5\n'
        '1,"vgg",1000,0,"bob/..","",7\n'
        '2,"rec",1001,1,"0","",3\n'
        '3,"rec",1001,1,"ann","",1\n'
    )


def test_a_dry_run_tells_counts_and_bytes_and_writes_nothing(storage, tmp_path):
    result = export(storage, tmp_path / "out", "lmdb", dry_run=True)
    assert (result.state, result.images, result.classes) == ("dry run", 16, 4)
    assert result.bytes == export(storage, tmp_path / "real", "lmdb").bytes > 16 * 500
    assert list(tmp_path.iterdir()) == [tmp_path / "real"]


def test_progress_reaches_its_end(storage, tmp_path):
    told = []
    export(storage, tmp_path / "out", "folders", report=told.append)
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("export", 16, 16)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_run_that_is_stopped_leaves_nothing(storage, tmp_path, monkeypatch, fmt):
    encoded = images.read_images

    def stop(*args):
        found = encoded(*args)
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(part, "read_images", stop)
        with pytest.raises(KeyboardInterrupt):
            export(storage, tmp_path / "out", fmt)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".tmp-out" / "0000000").mkdir(parents=True)  # what a killed run leaves
    (tmp_path / ".tmp-out" / "0000000" / "junk.jpg").write_bytes(b"x")
    (tmp_path / ".tmp-out" / "train.rec").write_bytes(b"x")
    export(storage, tmp_path / "out", fmt)
    export(storage, tmp_path / "again", fmt)
    assert tree(tmp_path / "out") == tree(tmp_path / "again")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "out"]


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_full_disk_is_one_line_and_leaves_nothing(storage, tmp_path, monkeypatch, fmt):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    if fmt == "folders":
        monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="the disk is full; free some space and run the same"):
        export(storage, tmp_path / "out", fmt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fmt", "message"),
    [
        ("recordio", "fusekit: train.rec: File too large"),
        ("parquet", "fusekit: train-00000-of-00001.parquet: File too large"),
        ("lmdb", "fusekit: train.lmdb: can't be written (mdb_txn_commit: Input/output error); see"),
    ],
)
def test_a_write_that_fails_half_way_is_one_line_and_leaves_nothing(
    storage, tmp_path, fmt, message
):
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
sys.argv = ["fusekit", "export", "m", "--format", {fmt!r}, "--out", "out"]
from fusekit.cli.main import run
run()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"FUSEKIT_STORE": str(storage.root)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("full", StorageError, "full: is not empty; expected a new or empty folder"),
        ("file", StorageError, "file: is a file; expected a new or empty folder"),
        ("file/below", StorageError, "below: .*(Not a directory|is not there)"),
        ("store/exports", UsageError, "exports: lies in the store; expected a place outside of it"),
        ("link/exports", UsageError, "exports: lies in the store"),
        ("loop", StorageError, "loop: "),
    ],
)
def test_a_place_that_holds_something_else_is_refused(storage, tmp_path, place, error, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(storage.root)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    out = storage.root / "exports" if place == "store/exports" else tmp_path / place
    for dry_run in (True, False):
        if place == "file/below" and dry_run:
            continue
        with pytest.raises(error, match=message):
            export(storage, out, "recordio", dry_run=dry_run)
    assert (tmp_path / "full/mine.txt").read_text() == (tmp_path / "file").read_text() == "x"


def test_two_runs_into_one_folder_do_not_mix(storage, tmp_path, monkeypatch):
    encoded = images.read_images

    def meanwhile(*args):
        with pytest.raises(StoreError, match="another run is writing it; wait for it or stop it"):
            export(storage, tmp_path / "out", "parquet")
        yield from encoded(*args)

    monkeypatch.setattr(part, "read_images", meanwhile)
    assert export(storage, tmp_path / "out", "recordio").state == "written"


def test_what_is_no_mixture_is_named_for_what_it_is(storage, tmp_path):
    with pytest.raises(
        MixtureError, match="vgg: is a dataset; expected a mixture; fusekit build-mixture makes"
    ):
        fusekit.export_mixture("vgg", tmp_path / "out", "recordio", store=storage.root)
    with pytest.raises(MixtureError, match="holds no finished mixture"):
        fusekit.export_mixture("nobody", tmp_path / "out", "recordio", store=storage.root)


def test_a_mixture_may_be_named_by_its_folder(storage, tmp_path):
    folder = storage.path("mixtures/m")
    assert fusekit.export_mixture(str(folder), tmp_path / "out", "recordio").images == 16


def test_a_mixture_without_unlabeled_samples_has_no_such_part(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "vgg", {"ann": 2})
    build(storage, "vgg")
    assert export(storage, tmp_path / "out", "recordio").remarks == []
    with pytest.raises(MixtureError, match="m: has no unlabeled samples"):
        export(storage, tmp_path / "other", "recordio", part="unlabeled")


@pytest.fixture
def own(storage, tmp_path):
    """A copy of the store, to be damaged."""
    shutil.copytree(storage.root, tmp_path / "own")
    return Storage(tmp_path / "own")


def first_place(storage, row=0):
    mixture = fusekit.Mixture.open("m", storage.root)
    index = mixture.index
    path = mixture.shard_paths[index.shard[row]]
    return path, int(index.offset[row]), int(index.length[row]), mixture.key(row)


def test_an_image_that_is_not_what_was_stored_stops_the_export(own, tmp_path):
    path, offset, length, key = first_place(own)
    data = bytearray(path.read_bytes())
    data[offset + length // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        StoreError, match=rf"{key} in .*vgg-00000\d.tar: its bytes are not those .*fusekit verify"
    ):
        export(own, tmp_path / "out", "recordio")
    assert not (tmp_path / "out").exists()


def erase(storage, rows):
    """Set rows' lengths in the index to 0, as forgetting them does."""
    import pyarrow as pa

    path = storage.path("mixtures/m/index.arrow")
    batch = pa.ipc.open_file(path).get_batch(0)
    lengths = batch["length"].to_numpy().copy()
    lengths[rows] = 0
    with pa.ipc.new_file(path, batch.schema) as out:
        out.write_batch(batch.set_column(2, batch.schema.field("length"), pa.array(lengths)))


def test_erased_samples_are_left_out_and_counted(own, tmp_path):
    erase(own, [0, 3])
    result = export(own, tmp_path / "out", "recordio")
    assert (result.images, result.erased) == (14, 2)
    assert "2 samples are left out: their images were erased" in result.remarks
    counts = [line.rpartition(",")[2] for line in
              (tmp_path / "out/identities.csv").read_text().splitlines()[1:]]  # fmt: skip
    assert sum(map(int, counts)) == 14
    erase(own, range(16))
    with pytest.raises(MixtureError, match="m: all its labeled samples are erased"):
        export(own, tmp_path / "other", "recordio")


def test_a_label_without_images_would_shift_the_labels_of_folders(own, tmp_path):
    mixture = fusekit.Mixture.open("m", own.root)
    erase(own, np.flatnonzero(mixture.index.label == 3))
    assert export(own, tmp_path / "rec", "recordio").images == 15
    with pytest.raises(MixtureError, match=r"m: label 3 has no image left; .*build the mixture"):
        export(own, tmp_path / "out", "folders", dry_run=True)


def test_raw_crops_become_png_of_the_same_pixels_and_are_counted(tmp_path):
    import cv2

    storage = make_mixture(tmp_path / "store", ("raw", "png"))
    result = export(storage, tmp_path / "out", "folders")
    assert result.as_png == 12
    assert "12 raw crops become PNG files of the same pixels" in result.remarks
    found = {
        cv2.imread(str(path))[..., ::-1].tobytes()
        for label in ("0000000", "0000001")
        for path in (tmp_path / "out" / label).iterdir()
    }
    raw = [np.frombuffer(each[-37632:], np.uint8) for each in draw_images(12, "raw", 1)]
    assert found == {pixels.tobytes() for pixels in raw}


def test_raw_crops_that_are_no_arrays_are_an_error(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "vgg", {"ann": 2}, fmt="raw")  # JPEG bytes
    build(storage, "vgg")
    with pytest.raises(StoreError, match=r"is no usable crop \(.*fusekit verify"):
        export(storage, tmp_path / "out", "recordio")


def test_without_lmdb_the_error_gives_the_line_that_installs_it(storage, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra 'lmdb'; pip install 'fusekit\["):
        export(storage, tmp_path / "out", "lmdb", dry_run=True)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 60))
def test_runs_of_sizes_cover_all_in_order_and_keep_the_limit(sizes, most):
    runs = split_by_bytes(np.array(sizes, np.int32), most)
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(len(sizes)))
    for run in runs:
        total = sum(sizes[run])
        assert total <= most or run.stop - run.start == 1
        assert run.stop == len(sizes) or total + sizes[run.stop] > most  # no room was left
