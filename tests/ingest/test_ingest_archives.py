"""A compressed tar is read front to back, and still gives the same bytes in every run."""

import hashlib
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from support.archives import files_of, write_archive, write_tar
from support.raw import draw_jpeg

from fusekit.ingest.dataset import ingest_dataset

# The archive's order is not that of the names, as tars have it.
FILES = {f"{(7 * n) % 5}/{n:02}.jpg": draw_jpeg(n) for n in range(24)}
CARD = """\
name: tiny
kind: labeled
forms:
  - reader: folders
    aligned: true
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "tiny.yaml"
    path.write_text(CARD)
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_tar(tmp_path_factory.mktemp("raw") / "tiny.tar.gz", FILES)


def ingest(card, raw, store, workers=0):
    return ingest_dataset(str(card), raw=raw, store=store, workers=workers, unit_size=5)


def digests(store):
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, data in files_of(store).items()
        if ".locks" not in name
    }


@pytest.fixture(scope="module")
def clean(card, raw, tmp_path_factory):
    store = tmp_path_factory.mktemp("clean") / "store"
    result = ingest(card, raw, store)
    assert (result.items, result.kept, result.form) == (24, 24, "folders")
    return digests(store)


def test_units_of_a_compressed_tar_follow_its_own_order(card, raw, tmp_path):
    ingest(card, raw, tmp_path / "store")
    parts = sorted((tmp_path / "store/datasets/tiny/plan").glob("part-*.parquet"))
    sources = [row["source"] for part in parts for row in pq.read_table(part).to_pylist()]
    assert sources == list(FILES)


def test_two_workers_give_the_bytes_of_none(card, raw, tmp_path, clean):
    ingest(card, raw, tmp_path / "store", workers=2)
    assert digests(tmp_path / "store") == clean


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(card, raw, tmp_path, clean):
    code = f"""
import os, signal
import fusekit.ingest.dataset as dataset
from fusekit.ingest import unit
run = unit.run_unit
def killed(number, job):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(number, job)
unit.run_unit = killed
dataset.ingest_dataset({str(card)!r}, raw={str(raw)!r}, store={str(tmp_path / "store")!r},
                       workers=0, unit_size=5)
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert run.returncode == -signal.SIGKILL
    manifests = list((tmp_path / "store/datasets/tiny/manifest").glob("part-*.parquet"))
    assert 0 < len(manifests) < 5
    ingest(card, raw, tmp_path / "store")
    assert digests(tmp_path / "store") == clean


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.xz"])
def test_every_kind_of_archive_gives_the_samples_of_the_folder(card, tmp_path, suffix):
    for name, data in FILES.items():
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = []
    for raw in (tmp_path / "raw", write_archive(tmp_path / f"x{suffix}", FILES)):
        store = tmp_path / f"store-{raw.name}"
        ingest(card, raw, store, workers=0)
        (table,) = (store / "datasets/tiny").glob("samples-*.parquet")
        columns = ["key", "identity", "identity_index", "source", "source_digest"]
        rows = pq.read_table(table, columns=columns).to_pylist()
        found.append(sorted(rows, key=lambda row: row["key"]))
    assert found[0] == found[1]
