"""Ingest end to end on aligned packs: no detection, so every promise is tested in seconds."""

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import simplejpeg
from support.stores import draw_crop

from fusekit.errors import (
    FingerprintError,
    SourceError,
    StorageError,
    StoreError,
    UsageError,
    WorkError,
)
from fusekit.formats.recordio_writer import write_pack
from fusekit.ingest.dataset import ingest_dataset
from fusekit.readers.recordio import RecordioReader
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store


def jpeg(seed):
    return simplejpeg.encode_jpeg(draw_crop(seed), quality=90, colorsubsampling="420")


IMAGES = [(label, jpeg(10 * label + i)) for label in range(5) for i in range(6)]
IMAGES[7] = (1, b"no image at all")
IMAGES[13] = (2, simplejpeg.encode_jpeg(draw_crop(1)[:100, :100].copy(order="C"), quality=90))


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "faces_tiny_112x112"
    write_pack(folder, IMAGES, 5)
    return folder


def ingest(pack, store, **options):
    options = {"workers": 0, "unit_size": 8} | options
    return ingest_dataset("recordio", raw=pack, store=store, name="tiny", **options)


def digests(store):
    """Every file of a store and its sha256.

    Locks hold nothing; a leftover beside ``store.json`` may be another dataset's and stays.
    """
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and ".locks" not in path.parts
        if "datasets" in path.parts or not path.name.startswith(".tmp-")
    }


@pytest.fixture(scope="module")
def clean(pack, tmp_path_factory):
    """The digests of an uninterrupted run."""
    store = tmp_path_factory.mktemp("clean") / "store"
    ingest(pack, store)
    return digests(store)


def test_every_item_is_kept_or_rejected_with_a_reason(pack, tmp_path):
    result = ingest(pack, tmp_path / "store")
    assert result.items == result.kept + result.rejected == 30
    assert result.rejects == {"not_an_image": 1, "wrong_size": 1}
    assert (result.samples, result.identities, result.units, result.form) == (28, 5, 4, "recordio")
    rejects = [
        row
        for part in sorted((tmp_path / "store/datasets/tiny/rejects").iterdir())
        for row in pq.read_table(part).to_pylist()
    ]
    assert {(r["source"], r["reason"], r["level"]) for r in rejects} == {
        ("train.rec#8", "not_an_image", "item"),
        ("train.rec#14", "wrong_size", "item"),
    }
    assert next(r["detail"] for r in rejects if r["reason"] == "wrong_size") == (
        "100x100, the card says 112x112"
    )


def test_the_object_that_others_script_against_keeps_its_keys(pack, tmp_path):
    about = ingest(pack, tmp_path / "store").as_json()
    assert {k: about[k] for k in ("dataset", "items", "kept", "rejected", "samples")} == {
        "dataset": "tiny", "items": 30, "kept": 28, "rejected": 2, "samples": 28,
    }  # fmt: skip
    assert about["identities"] == 5
    assert about["rejects"] == {"not_an_image": 1, "wrong_size": 1}
    assert about["seconds"] > 0


def test_aligned_crops_pass_through_bit_for_bit(pack, tmp_path):
    ingest(pack, tmp_path / "store")
    info = open_dataset(open_store(tmp_path / "store"), "tiny")
    rows = pq.read_table(tmp_path / "store" / info.files[0]).to_pylist()
    for row in rows:
        shard = (tmp_path / "store/datasets/tiny/shards" / row["shard"]).read_bytes()
        image = shard[row["offset"] : row["offset"] + row["length"]]
        label, original = IMAGES[int(row["source"].split("#")[1]) - 1]
        assert (image, row["identity"]) == (original, str(label))
        assert row["det_score"] is row["bbox"] is row["landmarks"] is None
        assert (row["face_count"], row["jpeg_quality"]) == (-1, 90)
    assert len({row["key"] for row in rows}) == 28


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_gives_the_same_bytes(pack, tmp_path, clean, workers):
    ingest(pack, tmp_path / "store", workers=workers)
    assert digests(tmp_path / "store") == clean


def test_where_the_raw_data_and_the_store_lie_does_not_matter(pack, tmp_path, clean, monkeypatch):
    (tmp_path / "elsewhere").symlink_to(pack)
    monkeypatch.chdir(tmp_path)
    ingest("elsewhere", "here")
    assert digests(tmp_path / "here") == clean


KILLED = """
import os, signal, sys
from fusekit.storage import folder as storage
from fusekit.ingest.dataset import ingest_dataset

left = int(sys.argv[4])
def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "renamed":   # right after a file got its name
    was = storage._sync_folder
    storage._sync_folder = lambda folder: (was(folder), count())
else:                          # the data is written, the name not yet given
    was = os.fsync
    os.fsync = lambda descriptor: (was(descriptor), count())
ingest_dataset("recordio", raw=sys.argv[1], store=sys.argv[2], name="tiny", workers=0, unit_size=8)
"""


def run_killed(pack, store, moment, write):
    arguments = [sys.executable, "-c", KILLED, pack, store, moment, str(write)]
    return subprocess.run(arguments, capture_output=True, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["renamed", "written"])
def test_a_kill_at_any_write_and_the_same_command_give_the_bytes_of_a_clean_run(
    pack, tmp_path, clean, moment
):
    step = 1 if moment == "renamed" else 3
    for write in itertools.count(1, step):
        store = tmp_path / f"store-{write}"
        code = run_killed(pack, store, moment, write)
        if code == 0:
            assert write > 20 // step, "there are more writes than that"
            break
        assert code == -signal.SIGKILL
        result = ingest(pack, store)
        assert result.items == result.kept + result.rejected == 30
        assert digests(store) == clean, f"killed at write {write}"


@pytest.mark.slow
def test_a_kill_of_the_whole_group_while_workers_run_loses_nothing(pack, tmp_path, clean):
    code = (
        "import sys\nfrom fusekit.ingest.dataset import ingest_dataset\n"
        "if __name__ == '__main__':\n"
        "    ingest_dataset('recordio', raw=sys.argv[1], store=sys.argv[2], name='tiny',"
        " workers=2, unit_size=8)\n"
    )
    script = tmp_path / "go.py"
    script.write_text(code)
    for delay in (0.6, 1.4, 2.0):
        store = tmp_path / f"store-{delay}"
        run = subprocess.Popen(
            [sys.executable, script, pack, store], start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(delay)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        ingest(pack, store)
        assert digests(store) == clean


def test_a_resumed_run_does_only_what_is_left_and_redoes_what_is_damaged(pack, tmp_path, clean):
    ingest(pack, tmp_path / "store")
    folder = tmp_path / "store/datasets/tiny"
    (folder / "dataset.json").unlink()
    (folder / "manifest/part-000000.parquet").unlink()
    shard = folder / "shards/tiny-000002.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    (folder / "manifest/.tmp-rest").write_bytes(b"")
    (folder / "embeddings/model").mkdir(parents=True)
    (folder / "embeddings/model/.tmp-running").write_bytes(b"")  # another command's, at work
    assert ingest(pack, tmp_path / "store").resumed == 2
    (folder / "embeddings/model/.tmp-running").unlink()
    assert digests(tmp_path / "store") == clean


def test_a_finished_dataset_is_left_as_it_is(pack, tmp_path):
    first = ingest(pack, tmp_path / "store")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store/datasets").rglob("*.parquet")}
    again = ingest(pack, tmp_path / "store")
    assert (again.items, again.kept, again.resumed) == (first.items, first.kept, 4)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_damaged_end_of_a_finished_dataset_is_made_again(pack, tmp_path, clean):
    ingest(pack, tmp_path / "store")
    (tmp_path / "store/datasets/tiny/dataset.json").write_text("{")
    assert ingest(pack, tmp_path / "store").resumed == 4
    assert digests(tmp_path / "store") == clean


def test_other_settings_are_refused_and_nothing_changes(pack, tmp_path):
    ingest(pack, tmp_path / "store")
    before = digests(tmp_path / "store")
    with pytest.raises(FingerprintError, match=r"settings.unit_size: 9, was 8"):
        ingest(pack, tmp_path / "store", unit_size=9)
    assert digests(tmp_path / "store") == before


def test_a_dry_run_tells_the_counts_and_writes_nothing(pack, tmp_path):
    result = ingest(pack, tmp_path / "store", dry_run=True)
    assert (result.items, result.identities, result.units, result.dry_run) == (30, 5, 4, True)
    assert not (tmp_path / "store").exists()


def test_progress_ends_at_the_number_of_items(pack, tmp_path):
    seen = []
    ingest(pack, tmp_path / "store", report=seen.append)
    last = [p for p in seen if p.stage == "ingest"][-1]
    assert (last.done, last.total) == (30, 30)
    assert last.counts == {"kept": 28, "rejected": 2, "samples": 28}


def test_a_second_run_at_the_same_time_is_told_of_the_first(pack, tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    with storage.lock("tiny"), pytest.raises(StoreError, match="another run is writing it"):
        ingest(pack, tmp_path / "store")


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(pack, tmp_path, clean, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    ingest(pack, tmp_path / "store")
    folder = tmp_path / "store/datasets/tiny"
    (folder / "dataset.json").unlink()
    (folder / "manifest/part-000001.parquet").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkError, match="the disk is full; free some space"):
            ingest(pack, tmp_path / "store")
    ingest(pack, tmp_path / "store")
    assert digests(tmp_path / "store") == clean


def test_a_unit_that_makes_too_large_a_shard_names_the_option(pack, tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.store.commit.MAX_SHARD_BYTES", 10_000)
    with pytest.raises(WorkError, match="would pass 1 GiB; choose a smaller --unit-size"):
        ingest(pack, tmp_path / "store")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"fmt": "png"},
            UsageError,
            "--format: the form 'recordio' holds aligned crops; they pass",
        ),
        ({"detector": "x.onnx"}, UsageError, "--detector: the form 'recordio' holds aligned"),
        ({"faces": "all"}, UsageError, "--faces: the form 'recordio' holds aligned crops"),
        ({"min_score": 0.9}, UsageError, "--min-score: the form 'recordio' holds aligned crops"),
        ({"unit_size": 0}, UsageError, "--unit-size: 0; expected at least 1"),
        ({"index": 40_000}, StoreError, "dataset index 40000; expected 0 to 32767"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_any_work(
    pack, tmp_path, options, error, message
):
    with pytest.raises(error, match=message):
        ingest(pack, tmp_path / "store", **options)
    assert not list(tmp_path.rglob("*.tar"))


def test_raw_data_that_cannot_be_listed_leaves_no_dataset_in_the_store(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/readme.txt").write_text("x")
    with pytest.raises(SourceError, match="no identity folders were found"):
        ingest_dataset("folders", raw=tmp_path / "raw", store=tmp_path / "s", workers=0)
    assert open_store(tmp_path / "s").names("datasets") == []


def test_missing_raw_data_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_RAW", str(tmp_path / "raw"))
    message = r"raw/vggface2: there is no raw data here; give it with --from, or lay it at"
    with pytest.raises(SourceError, match=message):
        ingest_dataset("vggface2", store=tmp_path / "store")
    with pytest.raises(SourceError, match="nowhere: there is no raw data here"):
        ingest_dataset("vggface2", raw="nowhere", store=tmp_path / "store")


@pytest.mark.parametrize("inside", ["", "store"])
def test_a_store_inside_its_raw_data_is_refused_before_anything_is_written(tmp_path, inside):
    (tmp_path / "1.jpg").write_bytes(jpeg(0))
    message = f"{inside}: lies inside the raw data .*; expected a place outside of it; .* --store"
    with pytest.raises(StoreError, match=message):
        ingest_dataset("unlabeled", raw=tmp_path, store=tmp_path / inside)
    assert [path.name for path in tmp_path.iterdir()] == ["1.jpg"]


def test_a_record_that_changed_since_it_was_listed_is_a_reject(pack, tmp_path, monkeypatch):
    read = RecordioReader.read
    monkeypatch.setattr(
        RecordioReader, "read",
        lambda self, item: read(self, item) + b"x" * (item.source == "train.rec#3"),
    )  # fmt: skip
    done = ingest(pack, tmp_path / "store")
    assert done.items == done.kept + done.rejected
    storage = open_store(tmp_path / "store")
    rejects = pq.read_table(storage.path("datasets/tiny/rejects-000000.parquet")).to_pylist()
    (row,) = [row for row in rejects if row["source"] == "train.rec#3"]
    assert row["reason"] == "unreadable"
    assert row["detail"].endswith("when it was listed")


def test_an_empty_path_is_refused_and_does_not_mean_the_current_folder(pack, tmp_path):
    with pytest.raises(UsageError, match="--from: is empty; expected the place of the raw data"):
        ingest("", tmp_path / "store")
    with pytest.raises(StorageError, match="the store's path: is empty; expected a folder's path"):
        ingest(pack, "")


def test_a_store_with_a_password_in_its_url_is_refused(pack):
    with pytest.raises(StorageError, match="holds a name or password"):
        ingest(pack, "s3://me:secret@bucket/store")
