import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.stores import draw_crop, make_dataset

from fusekit.errors import StorageError, StoreError
from fusekit.faces.image import encode_crop
from fusekit.store.crops import pick_keys, read_crops, sample_crops
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store, sample_key

PEOPLE = {"ann": 7, "bob": 30, "cid": 1}


def key(person, item):
    return sample_key(f"{person}/{item:05d}.jpg", 0)


@pytest.fixture
def storage(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "people", PEOPLE, unit_size=8)
    return storage


def erase(storage, gone):
    """Set the lengths of some samples to 0, as erasure leaves them."""
    for path in sorted((storage.root / "datasets/people").rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        if "length" in table.column_names:
            lengths = [
                0 if k in gone else n
                for k, n in zip(table["key"].to_pylist(), table["length"].to_pylist(), strict=True)
            ]
            at = table.column_names.index("length")
            column = table["length"].type
            table = table.set_column(at, table.schema.field(at), [np.array(lengths, "int32")])
            assert table["length"].type == column
            pq.write_table(table, path)


def test_crops_are_read_by_their_keys_in_the_order_asked(storage):
    wanted = [key("cid", 37), key("ann", 0), key("bob", 9)]
    crops = read_crops(storage, "people", wanted)
    assert list(crops) == wanted
    for item, crop in zip((37, 0, 9), crops.values(), strict=True):
        assert crop.shape == (112, 112, 3)
        assert crop.dtype == np.uint8
        drawn = draw_crop(item).astype(int)
        assert np.abs(crop - drawn).mean() < 12  # red stays red; JPEG rounds


@pytest.mark.parametrize("form", ["jpg", "png", "raw"])
def test_every_form_of_a_crop_is_read(tmp_path, form):
    storage = open_store(tmp_path / "store", create=True)
    crop = cv2.GaussianBlur(draw_crop(5), (0, 0), 6)
    make_dataset(storage, "one", {"ann": 1}, fmt=form, images=[encode_crop(crop, form)])
    (found,) = read_crops(storage, "one", [key("ann", 0)]).values()
    assert np.abs(found.astype(int) - crop).mean() < (2 if form == "jpg" else 0.001)


def test_erased_and_unknown_keys_are_left_out(storage):
    erase(storage, {key("ann", 0)})
    assert list(read_crops(storage, "people", [key("ann", 0), key("ann", 1), "none_00"])) == [
        key("ann", 1)
    ]
    assert key("ann", 0) not in pick_keys(storage, "people", ["ann"], 9)["ann"]
    assert len(sample_crops_of(storage)) == sum(PEOPLE.values()) - 1


def sample_crops_of(storage, count=1000):
    return sample_crops(storage, open_dataset(storage, "people"), count)


def test_no_keys_open_no_file(storage):
    (storage.root / "datasets/people/samples-000000.parquet").unlink()
    assert read_crops(storage, "people", []) == {}
    assert pick_keys(storage, "people", [], 3) == {}


def test_some_of_a_persons_keys_are_picked_always_the_same(storage):
    picked = pick_keys(storage, "people", ["bob", "cid", "eve"], 5)
    assert list(picked) == ["bob", "cid"]
    assert picked == pick_keys(storage, "people", ["bob", "cid", "eve"], 5)
    everything = {key("bob", item) for item in range(7, 37)}
    assert len(set(picked["bob"])) == 5
    assert set(picked["bob"]) < everything
    assert picked["cid"] == [key("cid", 37)]


def test_keys_to_be_left_out_are_not_picked(storage):
    first = pick_keys(storage, "people", ["bob"], 30)["bob"]
    rest = pick_keys(storage, "people", ["bob"], 30, without=first[:20])["bob"]
    assert sorted(rest) == sorted(first[20:])


def test_a_choice_of_crops_is_the_same_in_every_run_and_of_many_units(storage):
    crops = sample_crops_of(storage, 12)
    assert len(crops) == 12
    assert list(crops) == list(sample_crops_of(storage, 12))
    everything = sample_crops_of(storage)
    assert len(everything) == sum(PEOPLE.values())


def test_an_empty_dataset_has_no_crops(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    info = make_dataset(storage, "none", 0)
    assert sample_crops(storage, info, 5) == {}
    assert read_crops(storage, "none", ["a_00"]) == {}


def test_a_shard_that_is_missing_is_named(storage):
    (storage.root / "datasets/people/shards/people-000002.tar").unlink()
    with pytest.raises(StoreError, match=r"shards/people-000002\.tar: is missing; fusekit verify"):
        read_crops(storage, "people", [key("bob", item) for item in range(7, 37)])


def test_a_crop_that_does_not_decode_is_named(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "bad", {"ann": 1}, images=[b"no picture"])
    with pytest.raises(StoreError, match=r"bad-000000\.tar: \w+_00: does not decode; expected a"):
        read_crops(storage, "bad", [key("ann", 0)])


def test_a_damaged_manifest_is_named(storage):
    (storage.root / "datasets/people/samples-000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="people: has a manifest that can't be read"):
        read_crops(storage, "people", [key("ann", 0)])
