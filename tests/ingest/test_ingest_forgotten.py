"""What was erased does not come back by a later ingest."""

import shutil

import pyarrow.parquet as pq
import pytest
import simplejpeg
from support.erasures import digests, files_with, samples
from support.stores import draw_crop

from fusekit.curate.forget import forget
from fusekit.ingest.dataset import ingest_dataset
from fusekit.report.verify import verify_store
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store
from fusekit.store.sql import query


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def raw(tmp_path):
    """People as folders of finished crops."""
    folder = tmp_path / "raw"
    for number, person in enumerate(("zoe", "bob", "cid")):
        (folder / person).mkdir(parents=True)
        for i in range(4):
            crop = draw_crop(10 * number + i)
            (folder / person / f"{i}.jpg").write_bytes(simplejpeg.encode_jpeg(crop, quality=90))
    return folder


def ingest(raw, store, name="folk"):
    return ingest_dataset("folders", raw=raw, store=store, name=name, workers=0, aligned=True)


def test_the_same_ingest_again_leaves_the_erased_dataset_as_it_is(raw, tmp_path):
    ingest(raw, tmp_path / "s")
    forget(identity="zoe", store=tmp_path / "s")
    before = digests(tmp_path / "s")
    ingest(raw, tmp_path / "s")
    assert digests(tmp_path / "s") == before


def test_an_ingest_under_another_name_rejects_what_was_erased(raw, tmp_path):
    store = tmp_path / "s"
    ingest(raw, store)
    forget(identity="zoe", store=store)
    result = ingest(raw, store, "again")
    assert (result.items, result.kept, result.rejected) == (12, 8, 4)
    assert result.rejects == {"forgotten": 4}
    assert files_with(store, "zoe") == []
    assert verify_store(store).problems == ()
    rows = query("SELECT DISTINCT identity FROM identities WHERE dataset = 'again'", store)
    assert sorted(rows["identity"].to_pylist()) == ["bob", "cid"]
    info = open_dataset(open_store(store), "again")
    assert info.items == info.kept + info.rejected


def test_the_reject_of_an_erased_item_says_nothing_of_it(raw, tmp_path):
    store = tmp_path / "s"
    ingest(raw, store)
    forget(source="zoe/2.jpg", store=store)
    ingest(raw, store, "again")
    (row,) = pq.read_table(store / "datasets/again/rejects-000000.parquet").to_pylist()
    assert row["source"].startswith("forgotten:")
    assert (row["level"], row["reason"], row["detail"]) == ("item", "forgotten", "")
    assert row["identity"] is row["url"] is row["bbox"] is None


def test_the_same_bytes_are_known_under_any_name_in_any_dataset(raw, tmp_path):
    store = tmp_path / "s"
    ingest(raw, store)
    forget(source="bob/1.jpg", store=store)
    other = tmp_path / "other"
    (other / "robert").mkdir(parents=True)
    (other / "robert/a.jpg").write_bytes((raw / "bob/1.jpg").read_bytes())
    (other / "robert/b.jpg").write_bytes((raw / "cid/1.jpg").read_bytes() + b"\0")
    result = ingest(other, store, "web")
    assert result.rejects == {"forgotten": 1}
    assert len(samples(store, "web")) == 1


def test_the_same_source_is_known_though_its_bytes_changed(raw, tmp_path):
    store = tmp_path / "s"
    ingest(raw, store)
    forget(source="bob/1.jpg", store=store)
    (raw / "bob/1.jpg").write_bytes(simplejpeg.encode_jpeg(draw_crop(999), quality=80))
    shutil.rmtree(store / "datasets/folk")
    assert ingest(raw, store).rejects == {"forgotten": 1}


def test_the_same_source_in_other_raw_data_is_another_picture(raw, tmp_path):
    store = tmp_path / "s"
    ingest(raw, store)
    forget(source="bob/1.jpg", store=store)
    (raw / "bob/1.jpg").write_bytes(simplejpeg.encode_jpeg(draw_crop(999), quality=80))
    assert ingest(raw, store, "other").rejects == {}


def test_the_same_source_in_the_same_raw_data_is_known_though_it_gave_no_sample(raw, tmp_path):
    store = tmp_path / "s"
    (raw / "bob/1.jpg").write_bytes(b"no image")
    ingest(raw, store)
    assert forget(source="bob/1.jpg", store=store).samples == 0
    assert ingest(raw, store, "again").rejects == {"forgotten": 1}


def test_a_unit_that_is_done_again_leaves_the_erased_out(raw, tmp_path):
    store = tmp_path / "s"
    ingest(raw, store)
    forget(identity="zoe", store=store)
    (store / "datasets/folk/dataset.json").unlink()
    next((store / "datasets/folk/shards").glob("*.tar")).write_bytes(b"damaged")
    result = ingest(raw, store)
    assert result.rejects == {"forgotten": 4}
    assert files_with(store, "zoe") == []
    assert verify_store(store).problems == ()
