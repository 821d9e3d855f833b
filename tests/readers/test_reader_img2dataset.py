import pyarrow as pa
import pytest
from support.containers import write_img2dataset, write_parquet, write_tar
from support.raw import write_files

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

IMAGES = {"000000000": b"first", "000000002": b"third"}


def opened(raw, kind="unlabeled", **options):
    form = CardForm(reader="img2dataset", options=options)
    return open_reader(Card(name="fetched", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert all(len(reader.read(item)) == item.size for item in items if item.reject is None)
    return items


def table(**changes):
    columns = {
        "url": ["u0", "u1"], "key": ["000000000", "000000002"], "status": ["success"] * 2,
        "error_message": [None, None],
    }  # fmt: skip
    return pa.table(columns | changes)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (False, ["00000.tar#000000000", "00000.tar#000000001", "00000.tar#000000002"]),
        (True, ["00000/000000000.jpg", "00000/000000001.jpg", "00000/000000002.jpg"]),
    ],
)
def test_a_row_is_an_item_with_its_url_or_why_there_is_none(tmp_path, files, names):
    reader = opened(write_img2dataset(tmp_path, IMAGES, files=files))
    items = listed(reader)
    assert [item.source for item in items] == names
    assert [item.url for item in items] == [f"https://example.com/{n}.jpg" for n in range(3)]
    assert items[1].reject == "not_downloaded"
    assert items[1].reject_detail == "failed_to_download: HTTP Error 404: Not Found"
    assert [reader.read(items[0]), reader.read(items[2])] == [b"first", b"third"]
    assert reader.ignored() == {}


def test_pictures_and_rows_without_each_other_are_accounted_for(tmp_path):
    write_img2dataset(tmp_path, IMAGES | {"000000001": b"second"})
    write_parquet(tmp_path / "00000.parquet", table(key=["000000000", "000000009"]))
    reader = opened(tmp_path)
    assert [item.reject for item in listed(reader)] == [None, "missing"]
    assert reader.ignored() == {"pictures without a row in their table": 2}


def test_keys_that_come_again_are_counted(tmp_path):
    write_img2dataset(tmp_path, IMAGES)
    write_parquet(tmp_path / "00000.parquet", table(key=["000000000", "000000000"]))
    reader = opened(tmp_path)
    assert len(listed(reader)) == 1
    assert reader.ignored()["rows without a key of their own"] == 1


def test_a_shard_that_was_not_finished_is_counted_and_left_out(tmp_path):
    write_img2dataset(tmp_path, IMAGES)
    write_tar(tmp_path / "00001.tar", [("000010000.jpg", b"x")])
    write_tar(tmp_path / "00002.tar", [("000020000.jpg", b"x")])
    write_files(tmp_path, {"00002.parquet": b"PAR1"})
    write_img2dataset(tmp_path, {"000030000": b"x" * 9_999}, shard=3)
    cut = (tmp_path / "00003.tar").read_bytes()[:5_000]
    write_files(tmp_path, {"00003.tar": cut, "notes.md": "x"})
    (tmp_path / "00003_stats.json").unlink()
    reader = opened(tmp_path)
    assert len(listed(reader)) == 3
    assert reader.ignored() == {
        "shards that img2dataset did not finish": 3, "files of another kind": 1,
    }  # fmt: skip


def test_a_shard_that_was_finished_but_is_damaged_is_an_error(tmp_path):
    write_img2dataset(tmp_path, IMAGES)
    write_files(tmp_path, {"00000.tar": (tmp_path / "00000.tar").read_bytes()[:1_500]})
    with pytest.raises(SourceError, match=r"00000.tar: ends early"):
        listed(opened(tmp_path))


def test_a_whole_shard_without_stats_is_read_and_remarked(tmp_path):
    write_img2dataset(tmp_path, IMAGES)
    (tmp_path / "00000_stats.json").unlink()
    reader = opened(tmp_path)
    assert len(listed(reader)) == 3
    assert reader.ignored() == {"shards without _stats.json, read all the same": 1}


def test_a_column_may_say_who_it_is(tmp_path):
    write_img2dataset(tmp_path, IMAGES)
    write_parquet(tmp_path / "00000.parquet", table(celebrity=["Anne", None]))
    items = listed(opened(tmp_path, "labeled", identity="celebrity"))
    assert [(item.identity, item.reject) for item in items] == [("Anne", None), (None, "unlisted")]
    with pytest.raises(SourceError, match="nothing says whom the pictures show"):
        listed(opened(tmp_path, "labeled"))
    with pytest.raises(SourceError, match="has no column 'who'; expected url, key"):
        listed(opened(tmp_path, "labeled", identity="who"))


def test_two_pictures_of_a_key_are_a_reject(tmp_path):
    write_img2dataset(tmp_path, IMAGES)
    write_tar(tmp_path / "00000.tar", [("000000000.jpg", b"x"), ("000000000.png", b"y")])
    write_parquet(tmp_path / "00000.parquet", table())
    items = listed(opened(tmp_path))
    assert [item.reject for item in items] == ["unreadable", "missing"]


def test_it_is_told_from_tables_and_shards_of_others(tmp_path):
    card = load_card("unlabeled")
    write_img2dataset(tmp_path / "a", IMAGES)
    assert open_reader(card, tmp_path / "a").form == "img2dataset"
    (tmp_path / "a/00000.parquet").unlink()
    assert open_reader(card, tmp_path / "a").form == "webdataset"
    with pytest.raises(SourceError, match="is no folder; expected img2dataset's output"):
        opened(tmp_path / "a/00000.tar")
    with pytest.raises(SourceError, match="holds no pictures"):
        listed(opened(tmp_path))
