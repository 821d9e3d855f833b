import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import StoreError
from fusekit.fingerprint import digest16
from fusekit.store.layout import open_store, sample_key
from fusekit.store.tombstones import (
    Tombstone,
    Tombstones,
    forgotten_identity,
    forgotten_source,
    is_forgotten,
    item_digest,
    key_stem,
    listing_of,
    read_tombstones,
    source_digest,
    write_tombstones,
)

LISTING = "ab" * 32


def stone(source="ann/1.jpg", data=b"bytes", dataset="people"):
    item = None if data is None else item_digest(digest16(data))
    return Tombstone(dataset, LISTING, source_digest(source), item)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def test_a_source_is_known_in_its_dataset_and_in_the_same_raw_data():
    stones = Tombstones([stone()])
    assert stones.holds_source("people", "x", "ann/1.jpg")
    assert stones.holds_source("other", LISTING, "ann/1.jpg")
    assert not stones.holds_source("other", "x", "ann/1.jpg")
    assert not stones.holds_source("people", LISTING, "ann/2.jpg")


def test_bytes_are_known_everywhere():
    stones = Tombstones([stone(), stone("b", data=None)])
    assert stones.holds_item(digest16(b"bytes"))
    assert not stones.holds_item(digest16(b"other bytes"))


def test_a_store_without_erasures_has_no_tombstones(storage):
    stones = read_tombstones(storage)
    assert not stones
    assert not stones.holds_item(digest16(b""))


def test_tombstones_hold_no_text(storage):
    name = write_tombstones(storage, [stone("Ann Lee/picture-1.jpg")])
    rows = str(pq.read_table(storage.path(name)).to_pylist())
    assert "Ann" not in rows
    assert "picture" not in rows
    assert "Ann" not in name


def test_a_tombstones_digests_are_not_those_of_manifests():
    assert item_digest(digest16(b"bytes")) != digest16(b"bytes")
    assert source_digest("a") != digest16(b"a")


def test_the_same_tombstones_are_one_file_in_any_order(storage):
    rows = [stone("a"), stone("b", data=None), stone("c", dataset="x")]
    assert write_tombstones(storage, rows) == write_tombstones(storage, rows[::-1])
    write_tombstones(storage, [stone("d")])
    assert len(storage.names("tombstones")) == 2
    stones = read_tombstones(storage)
    assert all(stones.holds_source("people", "", source) for source in "abd")
    assert stones.holds_source("x", "", "c")


def test_a_table_of_other_rows_than_its_name_says_is_refused(storage):
    first = write_tombstones(storage, [stone("a")])
    second = write_tombstones(storage, [stone("b")])
    storage.write(first, storage.read(second))
    with pytest.raises(StoreError, match="its rows are not those that it is named by; restore it"):
        read_tombstones(storage)


def test_a_damaged_plan_is_one_line(storage):
    storage.write("datasets/people/plan/plan.json", b"{")
    with pytest.raises(StoreError, match=r"plan.json: is damaged; fusekit verify tells what else"):
        listing_of(storage, "people")


@given(st.text(min_size=1), st.integers(0, 99))
def test_what_stands_for_a_source_keeps_its_keys_stem(source, face):
    stem = key_stem(source) if not is_forgotten(source) else ""
    if stem:
        assert sample_key(source, face).startswith(f"{stem}_")
        assert is_forgotten(forgotten_source(stem))
        assert key_stem(forgotten_source(stem)) == stem


def test_what_stands_for_an_identity_is_its_number():
    assert forgotten_identity(12) == "forgotten:12"
    assert is_forgotten(forgotten_identity(-1))
    assert not is_forgotten(None)
