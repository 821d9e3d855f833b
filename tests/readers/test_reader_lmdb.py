import pickle

import pytest
from support.containers import image_and_label, labeled_lmdb, write_lmdb
from support.raw import draw_jpeg, write_files

from fusekit.cards.card import Card, CardForm
from fusekit.errors import SourceError
from fusekit.formats.msgpack import pack_array_head, pack_bytes
from fusekit.readers.registry import open_reader, reader_type


def opened(raw, kind="labeled"):
    form = CardForm(reader="lmdb", aligned=True)
    return open_reader(Card(name="lmdb", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert all(len(reader.read(item)) == item.size for item in items if item.reject is None)
    return items


@pytest.mark.parametrize("subdir", [True, False])
def test_images_and_labels_are_read_bit_for_bit(tmp_path, subdir):
    big = draw_jpeg(1) * 3
    images = [(draw_jpeg(0), 0), (b"small", 7), (big, 70_000)]
    labeled_lmdb(tmp_path / "faces.lmdb", images, subdir=subdir)
    reader = opened(tmp_path)
    items = listed(reader)
    name = "faces.lmdb/data.mdb" if subdir else "faces.lmdb"
    assert [item.source for item in items] == [f"{name}#{n}" for n in range(3)]
    assert [item.identity for item in items] == ["0", "7", "70000"]
    assert [reader.read(item) for item in items] == [draw_jpeg(0), b"small", big]
    assert reader.numeric_identities
    assert reader.ignored()["entries about the database (__keys__, __len__ and the like)"] == 3
    assert [item.identity for item in listed(opened(tmp_path, "unlabeled"))] == [None] * 3


def test_an_old_writer_s_text_is_bytes_too(tmp_path):
    value = pack_array_head(2) + b"\xda\x00\x05image" + b"\xcd\x01\x00"
    (item,) = listed(opened(write_lmdb(tmp_path / "a.lmdb", {b"0": value})))
    assert (item.identity, item.size) == ("256", 5)


def test_an_image_under_its_path_is_of_its_folder_s_person(tmp_path):
    keys = (b"train/n000002/1.jpg", b"n000001/1.jpg", b"lone.jpg")
    reader = opened(write_lmdb(tmp_path / "a.lmdb", dict.fromkeys(keys, b"\xff\xd8\xff")))
    assert [(i.source, i.identity, i.split, i.reject) for i in listed(reader)] == [
        ("a.lmdb#lone.jpg", None, None, "unlisted"),
        ("a.lmdb#n000001/1.jpg", "n000001", None, None),
        ("a.lmdb#train/n000002/1.jpg", "n000002", "train", None),
    ]
    assert not reader.numeric_identities


def test_images_under_numbers_name_nobody(tmp_path):
    path = write_lmdb(tmp_path / "a.lmdb", {b"0": b"\xff\xd8\xff"})
    with pytest.raises(SourceError, match="nothing says whom the pictures show"):
        listed(opened(path))


def test_keys_that_are_no_text_are_counted(tmp_path):
    reader = opened(write_lmdb(tmp_path / "a.lmdb", {b"a/1": b"x", b"a/\xff": b"x"}))
    assert len(listed(reader)) == 1
    assert reader.ignored()["names that are no UTF-8"] == 1


@pytest.mark.parametrize(
    "value",
    [
        pack_array_head(2) + pack_bytes(b"jpeg"), pack_array_head(2) + b"\xc0\x01",
        image_and_label(b"jpeg", 1) + b"more", pack_array_head(2) + b"\xc6\xff\xff\xff\xff\x01",
    ],
)  # fmt: skip
def test_another_messagepack_value_is_a_reject(tmp_path, value):
    values = {b"0": image_and_label(b"x", 1), b"1": value}
    item = listed(opened(write_lmdb(tmp_path / "a.lmdb", values)))[1]
    assert (item.reject, item.size) == ("unreadable", 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (pickle.dumps((b"jpeg", 1), protocol=4), "pickles, which can run code"),
        (pickle.dumps((b"jpeg", 1), protocol=2), "pickles, which can run code"),
        (
            bytes(20) + b"\xff\xff\xff\xff" + bytes(40),
            "of pyarrow.serialize, which pyarrow has no more",
        ),
    ],
)
def test_values_that_can_t_be_read_say_how_to_convert(tmp_path, value, message):
    path = write_lmdb(tmp_path / "a.lmdb", {b"0": value, b"__len__": b"\x01"})
    with pytest.raises(SourceError, match=message) as caught:
        listed(opened(path))
    assert "msgpack.packb([image, label])" in str(caught.value)


def test_one_database_is_wanted(tmp_path):
    with pytest.raises(SourceError, match="no LMDB was found"):
        listed(opened(tmp_path))
    for name in ("a.lmdb", "b.lmdb"):
        labeled_lmdb(tmp_path / name, [(b"x", 1)])
    with pytest.raises(SourceError, match=r"holds 2 databases, such as a.lmdb and b.lmdb"):
        listed(opened(tmp_path))
    assert len(listed(opened(tmp_path / "b.lmdb"))) == 1


def test_a_damaged_database_is_an_error(tmp_path):
    path = labeled_lmdb(tmp_path / "a.lmdb", [(b"x" * 9_000, 1)] * 9)
    path.write_bytes(path.read_bytes()[:30_000])
    with pytest.raises(SourceError, match="past the end"):
        listed(opened(path))


def test_an_lmdb_is_told_by_its_first_bytes(tmp_path):
    form = Card(name="a", kind="labeled", forms=(CardForm(reader="lmdb"),)).resolved()[0]
    fits = reader_type("lmdb").fits
    write_files(tmp_path / "b", {"data.mdb": b"no database"})
    labeled_lmdb(tmp_path / "a/x.lmdb", [(b"x", 1)])
    assert [fits(tmp_path / name, form) for name in ("a", "a/x.lmdb", "b", "b/data.mdb")] == [
        True, True, False, False,
    ]  # fmt: skip
