import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.stores import make_dataset

from fusekit.errors import StorageError, StoreError
from fusekit.formats.tar import read_members
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import UnitWriter, check_shard, read_record
from fusekit.store.datasets import claim_index, list_datasets, open_dataset, records
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def test_a_manifest_addresses_every_image_of_its_shard(storage):
    info = make_dataset(storage, "pins", {"ann": 9, "Zoë": 11}, unit_size=8)
    rows = pq.read_table(storage.path(info.files[0])).to_pylist()
    assert len(rows) == info.samples == 20
    for row in rows:
        with storage.path(f"datasets/pins/shards/{row['shard']}").open("rb") as file:
            members = {m.name: m for m in read_members(file, row["shard"])}
            member = members[f"{row['key']}.jpg"]
            assert (member.offset, member.length) == (row["offset"], row["length"])
            at = members[f"{row['key']}.json"]
            file.seek(at.offset)
            about = json.loads(file.read(at.length))
        about["det_score"] = float(np.float32(about["det_score"]))  # the column is float32
        assert about == {k: row[k] for k in about}


def test_the_compacted_manifest_is_the_parts_in_order(storage):
    info = make_dataset(storage, "pins", {"ann": 30}, unit_size=8)
    parts = [
        read_table(storage, layout.manifest_part("pins", u), MANIFEST_SCHEMA).to_pylist()
        for u in range(info.units)
    ]
    joined = read_table(storage, info.files[0], MANIFEST_SCHEMA).to_pylist()
    assert joined == [row for part in parts for row in part]


def test_a_unit_whose_counts_do_not_add_up_is_not_committed(storage):
    with (
        pytest.raises(StoreError, match=r"0 items kept and 0 rejected of 3"),
        UnitWriter(storage, "pins", 0) as writer,
    ):
        writer.commit(3)
    assert read_record(storage, "pins", 0) is None


def test_a_unit_without_samples_has_no_shard_but_a_manifest_of_0_rows(storage):
    reject = {
        "source": "a.jpg", "level": "item", "reason": "no_face", "detail": "", "identity": None,
        "bbox": None, "det_score": None, "url": None,
    }  # fmt: skip
    with UnitWriter(storage, "pins", 0) as writer:
        writer.reject(reject)
        writer.commit(1)
    record = read_record(storage, "pins", 0)
    assert (record.items, record.rejected, record.rejects) == (1, 1, {"no_face": 1})
    assert not storage.exists(layout.shard("pins", 0))
    table = read_table(storage, layout.manifest_part("pins", 0), MANIFEST_SCHEMA)
    assert table.schema == MANIFEST_SCHEMA
    assert table.num_rows == 0


def test_an_error_inside_a_unit_leaves_no_file(storage):
    make_dataset(storage, "pins", {"ann": 1})
    image = b"x" * 10
    row = dict.fromkeys(MANIFEST_SCHEMA.names, None) | {"key": "k_00", "format": "jpg"}
    with pytest.raises(RuntimeError, match="stop"), UnitWriter(storage, "new", 0) as writer:
        writer.add(image, row)
        raise RuntimeError("stop")
    assert list(storage.path("datasets/new").rglob("*.tar")) == []
    assert list(storage.path("datasets/new").rglob(".tmp-*")) == []


def test_a_shard_over_the_limit_names_the_option(storage, monkeypatch):
    monkeypatch.setattr("fusekit.store.commit.MAX_SHARD_BYTES", 50_000)
    with pytest.raises(StoreError, match="would pass 1 GiB; choose a smaller --unit-size"):
        make_dataset(storage, "pins", {"ann": 100}, unit_size=100)


def test_a_changed_byte_of_a_shard_is_noticed(storage):
    make_dataset(storage, "pins", {"ann": 4})
    path = storage.path(layout.shard("pins", 0))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"pins-000000\.tar: has sha256 .*; expected"):
        check_shard(storage, "pins", read_record(storage, "pins", 0))
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        check_shard(storage, "pins", read_record(storage, "pins", 0))


def test_indexes_are_the_cards_or_the_next_free_and_never_shared(storage):
    assert claim_index(storage, "vggface2", 8) == 8
    assert claim_index(storage, "mine", None) == 1000
    assert claim_index(storage, "yours", None) == 1001
    assert claim_index(storage, "mine", None) == 1000
    with pytest.raises(StoreError, match="dataset index 8 is vggface2's; give another"):
        claim_index(storage, "other", 8)
    with pytest.raises(StoreError, match="mine: has dataset index 1000; expected 7"):
        claim_index(storage, "mine", 7)
    with pytest.raises(StoreError, match="dataset index 40000; expected 0 to 32767"):
        claim_index(storage, "big", 40000)


def test_a_dataset_that_is_not_there_names_the_nearest_and_the_next_step(storage):
    make_dataset(storage, "pinsface", {"ann": 2})
    with pytest.raises(StoreError, match="pinface: is not ingested; did you mean 'pinsface'"):
        open_dataset(storage, "pinface")
    with pytest.raises(StoreError, match="lfw: is not ingested; fusekit ingest lfw --from RAW"):
        open_dataset(storage, "lfw")
    with pytest.raises(StoreError, match="ingested; fusekit ingest CARD --as mine --from RAW"):
        open_dataset(storage, "mine")
    storage.write(layout.plan_json("half"), b"{}")
    with pytest.raises(StoreError, match="half: is not finished; run its ingest again"):
        open_dataset(storage, "half")


def test_a_dataset_json_that_cannot_be_read_is_named(storage):
    make_dataset(storage, "pins", {"ann": 2})
    good = json.loads(storage.read(layout.dataset_json("pins")))
    storage.write(layout.dataset_json("pins"), json.dumps(good | {"format_version": 9}).encode())
    with pytest.raises(StoreError, match="has format 9; expected at most 2"):
        open_dataset(storage, "pins")
    storage.write(layout.dataset_json("pins"), b"{")
    with pytest.raises(StoreError, match=r"dataset\.json: is damaged"):
        open_dataset(storage, "pins")


def test_only_finished_datasets_are_listed_with_the_counts_they_were_finished_with(storage):
    info = make_dataset(storage, "pins", {"ann": 2})
    storage.write(layout.plan_json("half"), b"{}")
    assert list_datasets(storage) == [info]
    with pytest.raises(StoreError, match="unit 1 of 2 is not done"):
        list(records(storage, "pins", 2))


def test_a_damaged_table_is_one_line(storage):
    storage.write("t.parquet", b"PAR1 nonsense PAR1")
    with pytest.raises(StorageError, match=r"t\.parquet: is no table of this release"):
        read_table(storage, "t.parquet", MANIFEST_SCHEMA)
    with pytest.raises(StorageError, match="is not there"):
        read_table(storage, "u.parquet", MANIFEST_SCHEMA)
