import pickle
import re

import pytest
from support.raw import draw_jpeg, record_pack, write_files

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import ItemError, SourceError
from fusekit.formats.recordio import pack_record, read_index
from fusekit.formats.recordio_writer import RecordWriter
from fusekit.readers.item import Item
from fusekit.readers.registry import open_reader


def opened(raw, kind="labeled", **options):
    form = CardForm(reader="recordio", aligned=True, options=options)
    return open_reader(Card(name="pack", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert [item.offset for item in items] == sorted(item.offset for item in items)
    assert all(len(reader.read(item)) == item.size for item in items)
    return items


def labels(items):
    return {int(item.source.split("#")[1]): item.identity for item in items}


def write_records(root, records, *, with_index=True):
    """Write (key, labels, image) in this order."""
    root.mkdir(exist_ok=True)
    with (root / "train.rec").open("wb") as rec, (root / "train.idx").open("wb") as idx:
        writer = RecordWriter(rec, idx)
        for key, label, image in records:
            writer.add(key, pack_record(label, key, image))
    if not with_index:
        (root / "train.idx").unlink()
    return root


def test_a_pack_gives_its_images_bit_for_bit(tmp_path):
    reader = opened(record_pack(tmp_path))
    items = listed(reader)
    assert reader.form == "recordio"
    assert reader.form_spec.aligned
    assert reader.numeric_identities
    assert labels(items) == {1: "0", 2: "0", 3: "0", 4: "1", 5: "1", 6: "2"}
    assert [reader.read(item) for item in items] == [draw_jpeg(seed) for seed in range(6)]
    assert items[0] == Item("train.rec#1", len(draw_jpeg(0)), "0", offset=0)
    assert reader.ignored() == {"records of identities": 4}


def test_a_pack_without_an_index_is_scanned(tmp_path):
    with_index = listed(opened(record_pack(tmp_path)))
    (tmp_path / "train.idx").unlink()
    reader = opened(tmp_path)
    assert listed(reader) == with_index
    assert reader.ignored() == {"records of identities": 4}


def test_repeated_ids_without_an_index_are_named_by_their_place(tmp_path):
    records = [(7, 0.0, b"a"), (7, 1.0, b"b"), (3, 2.0, b"c")]
    items = listed(opened(write_records(tmp_path, records, with_index=False)))
    assert labels(items) == {0: "0", 1: "1", 2: "2"}


def test_keys_need_not_ascend_and_may_start_at_0(tmp_path):
    # im2rec gives keys before it shuffles the list; there is no record that only has labels.
    records = [(2, 1.0, b"c"), (0, 0.0, b"a"), (1, 0.0, b"b")]
    reader = opened(write_records(tmp_path, records))
    items = listed(reader)
    assert [item.source for item in items] == ["train.rec#2", "train.rec#0", "train.rec#1"]
    assert [reader.read(item) for item in items] == [b"c", b"a", b"b"]
    assert reader.ignored() == {}


def test_an_index_in_another_order_than_the_file_gives_the_same_items(tmp_path):
    items = listed(opened(record_pack(tmp_path)))
    rows = (tmp_path / "train.idx").read_text().splitlines(keepends=True)
    (tmp_path / "train.idx").write_text("".join(sorted(rows, reverse=True)))
    assert listed(opened(tmp_path)) == items


def test_a_label_may_be_an_array_whose_first_value_is_the_class(tmp_path):
    records = [
        (1, (3.0, 1.0), b"a"),
        (2, (12.0,), b"b"),
        (3, tuple(map(float, range(4, 99))), b"c"),
    ]
    reader = opened(write_records(tmp_path, records))
    assert labels(listed(reader)) == {1: "3", 2: "12", 3: "4"}


def test_without_a_usable_key_0_every_record_with_an_image_is_one(tmp_path):
    rounded = float((1 << 24) + 4)
    records = [
        (1, 0.0, b"a"),
        (2, 0.0, b""),
        (3, (1.0, 2.0), b""),
        (0, (rounded, rounded + 4), b""),
    ]
    reader = opened(write_records(tmp_path, records))
    assert labels(listed(reader)) == {1: "0"}
    assert reader.ignored() == {"records without an image": 3}


def test_an_image_record_without_an_image_stays_an_item_where_key_0_names_it(tmp_path):
    records = [
        (1, 0.0, b"a"),
        (2, 0.0, b""),
        (3, (1.0, 3.0), b""),
        (9, 5.0, b"x"),
        (0, (3.0, 4.0), b""),
    ]
    reader = opened(write_records(tmp_path, records))
    assert [(item.source, item.size) for item in listed(reader)] == [
        ("train.rec#1", 1), ("train.rec#2", 0),
    ]  # fmt: skip
    assert reader.ignored() == {"records of identities": 2, "images that key 0 leaves out": 1}


def test_an_image_that_holds_the_frame_s_mark_comes_back_whole(tmp_path):
    image = b"jpeg" + bytes.fromhex("0a23d7ce") * 2 + b"rest"
    reader = opened(write_records(tmp_path, [(0, 5.0, image), (1, 6.0, b"b")]))
    items = listed(reader)
    assert reader.read(items[0]) == image
    assert labels(items) == {0: "5", 1: "6"}


def test_records_that_the_index_does_not_name_are_counted(tmp_path):
    record_pack(tmp_path)
    rows = (tmp_path / "train.idx").read_text().splitlines(keepends=True)
    (tmp_path / "train.idx").write_text("".join(rows[1:3] + rows[5:]))
    reader = opened(tmp_path)
    assert labels(listed(reader)) == {2: "0", 3: "0", 6: "2"}
    assert reader.ignored() == {
        "records that the .idx does not name": 3,
        "records of identities": 4,
    }


def test_an_unlabeled_pack_names_nobody(tmp_path):
    items = listed(opened(write_records(tmp_path, [(0, -1.0, b"a")]), kind="unlabeled"))
    assert [item.identity for item in items] == [None]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("0\tAnna\t1\t4\n2\tBen\t6\t7\n", {"0": "Anna", "2": "Ben"}),
        ("pins_Anna\npins_ben\n\n", {"0": "Anna", "1": "ben"}),
        ("", {}),
    ],
)
def test_a_table_of_names_beside_the_pack_names_its_labels(tmp_path, table, names):
    write_files(record_pack(tmp_path), {"names.txt": table})
    assert opened(tmp_path, strip_prefix="pins_").names() == names


def test_a_row_that_is_no_name_is_counted(tmp_path):
    write_files(record_pack(tmp_path), {"names.txt": "0\tAnna\nBen\n"})
    reader = opened(tmp_path)
    assert reader.names() == {"0": "Anna"}
    assert reader.ignored() == {"rows of names.txt that are no names": 1}
    assert opened(record_pack(tmp_path / "other")).names() == {}


@pytest.mark.parametrize("below", ["", "faces_emore"])
def test_a_pack_is_found_in_the_folder_one_below_or_by_its_path(tmp_path, below):
    record_pack(tmp_path / below)
    write_files(tmp_path, {"._train.rec": "", "faces_emore/lfw.bin": ""})
    assert len(listed(opened(tmp_path))) == 6
    assert len(listed(opened(tmp_path / below / "train.rec"))) == 6


def cut(path, count):
    path.write_bytes(path.read_bytes()[:count])


def test_a_truncated_pack_is_refused_before_any_item(tmp_path):
    record_pack(tmp_path)
    size = (tmp_path / "train.rec").stat().st_size
    cut(tmp_path / "train.rec", size - 8)
    with pytest.raises(
        SourceError,
        match=f"has {size - 8} bytes but its last record ends at byte {size}; expected a whole",
    ):
        next(opened(tmp_path).items())
    cut(tmp_path / "train.rec", size // 2)
    with pytest.raises(SourceError, match=r"its .idx names a record at byte \d+; expected a whole"):
        next(opened(tmp_path).items())
    (tmp_path / "train.idx").unlink()
    with pytest.raises(SourceError, match=r"its last record ends at byte \d+; .* fetch it again"):
        list(opened(tmp_path).items())


def test_an_index_of_a_shorter_pack_is_refused(tmp_path):
    record_pack(tmp_path)
    rows = (tmp_path / "train.idx").read_text().splitlines(keepends=True)
    (tmp_path / "train.idx").write_text("".join(rows[:4]))
    with pytest.raises(SourceError, match=r"bytes follow the last record that its .idx names"):
        next(opened(tmp_path).items())


def test_an_index_of_another_pack_is_refused(tmp_path):
    record_pack(tmp_path)
    keys, offsets = read_index(tmp_path / "train.idx")
    rows = list(zip(keys.tolist(), offsets.tolist(), strict=True))
    rows[2] = (rows[2][0], rows[2][1] - 4)
    (tmp_path / "train.idx").write_text("".join(f"{k}\t{o}\n" for k, o in rows))
    with pytest.raises(SourceError, match=r"its .idx puts key 3 at byte \d+, inside a record"):
        list(opened(tmp_path).items())


def test_a_damaged_record_stops_the_listing_with_its_place(tmp_path):
    record_pack(tmp_path)
    offset = int(read_index(tmp_path / "train.idx")[1][1])
    with (tmp_path / "train.rec").open("r+b") as file:
        file.seek(offset)
        file.write(b"junk")
    with pytest.raises(
        SourceError, match=f"train.rec at byte {offset}: the bytes 6a756e6b; expected"
    ):
        list(opened(tmp_path).items())


def test_a_record_that_breaks_after_listing_is_unreadable(tmp_path):
    reader = opened(record_pack(tmp_path))
    item = list(reader.items())[1]
    cut(tmp_path / "train.rec", item.offset + 40)
    with pytest.raises(
        ItemError, match=r"train.rec#2: .*the file ends 40 bytes into a r"
    ) as caught:
        reader.read(item)
    assert caught.value.reason == "unreadable"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_pack_that_is_gone_is_no_fault_of_its_records(tmp_path):
    reader = opened(record_pack(tmp_path))
    item = list(reader.items())[1]
    (tmp_path / "train.rec").unlink()
    with pytest.raises(SourceError, match=r"train\.rec: is not there any more; see that the drive"):
        reader.read(item)


@pytest.mark.parametrize("label", [0.5, -1.0, float("nan"), float("inf")])
def test_a_label_that_is_no_class_is_refused(tmp_path, label):
    with pytest.raises(SourceError, match=r"key 4 has the label .*; expected a whole number"):
        list(opened(write_records(tmp_path, [(4, label, b"a")])).items())


def test_a_broken_index_is_refused(tmp_path):
    write_files(record_pack(tmp_path), {"train.idx": "1 0\n"})
    with pytest.raises(SourceError, match=r"train.idx:1: '1 0'; expected key, tab, offset"):
        next(opened(tmp_path).items())


def test_a_bad_index_line_is_found_past_blank_ones_and_with_the_spaces_at_its_end(tmp_path):
    write_files(record_pack(tmp_path), {"train.idx": "1\t0\n\nx\ty\n"})
    with pytest.raises(SourceError, match=r"train.idx:3: 'x\\ty'; expected key, tab, offset"):
        next(opened(tmp_path).items())
    write_files(tmp_path, {"train.idx": "1\t0\n2\t36\t\n"})
    with pytest.raises(SourceError, match=r"train.idx:2: '2\\t36\\t'; expected key, tab, offset"):
        next(opened(tmp_path).items())


def test_an_empty_pack_and_one_without_images_are_refused(tmp_path):
    write_files(tmp_path, {"train.rec": ""})
    with pytest.raises(SourceError, match=r"train.rec: is empty; expected records"):
        next(opened(tmp_path).items())
    with pytest.raises(SourceError, match=r"train.rec: holds no images"):
        next(opened(write_records(tmp_path, [(1, 0.0, b"")])).items())


def test_a_folder_without_or_with_several_packs_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no \*.rec was found; expected a folder that holds"):
        opened(tmp_path)
    write_files(tmp_path, {"a.rec": "", "b.rec": ""})
    with pytest.raises(SourceError, match=r"holds 2 packs, such as a.rec and b.rec; expected one"):
        opened(tmp_path)


def test_a_pack_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    pack = record_pack(tmp_path / "pack")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/train.rec").symlink_to(pack / "train.rec")
    with pytest.raises(SourceError, match=r"train.rec: leads out of the raw folder; give the file"):
        opened(tmp_path / "raw")
    assert len(listed(opened(tmp_path / "raw/train.rec"))) == 6  # the user named it


def test_crops_of_another_size_are_refused_before_any_work(tmp_path):
    message = r"property: images of 128x128; expected 112x112, as arcface-112 has; a card of your"
    with pytest.raises(SourceError, match=message):
        opened(record_pack(tmp_path, size=128))
    form = CardForm(reader="recordio")
    assert len(listed(open_reader(Card(name="p", kind="labeled", forms=(form,)), tmp_path))) == 6


@pytest.mark.parametrize(
    "name", ["ms1m", "asian-celeb", "casia-webface", "deepglint", "vggface2", "umdfaces", "celeba"]
)
def test_the_sets_that_people_have_as_packs_are_read_as_packs(tmp_path, name):
    write_files(record_pack(tmp_path), {"n000001/0001_01.jpg": draw_jpeg(1)})
    reader = open_reader(load_card(name), tmp_path)
    assert (reader.form, reader.form_spec.aligned) == ("recordio", True)
    assert len(listed(reader)) == 6
    assert re.fullmatch(r"train\.rec#\d+", next(reader.items()).source)
