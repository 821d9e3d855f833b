import pytest
from support.containers import example, write_tfrecords
from support.raw import write_files

from fusekit.cards.card import Card, CardForm
from fusekit.errors import ItemError, SourceError
from fusekit.formats.tfrecord import pack_record
from fusekit.readers.registry import open_reader, reader_type

SHARDS = [
    [("0000045/1.jpg", b"first"), ("a/0000099/1.jpg", b"second")],
    [("0000045/2.jpg", b"third")],
]


def opened(raw, kind="labeled"):
    form = CardForm(reader="tfrecord", aligned=True)
    return open_reader(Card(name="records", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert all(len(reader.read(item)) == item.size for item in items if item.reject is None)
    return items


def rewrite_index(root, change):
    path = root / "faces.index"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_the_index_says_who_a_record_shows(tmp_path):
    reader = opened(write_tfrecords(tmp_path, SHARDS))
    items = listed(reader)
    assert [item.identity for item in items] == ["0000045", "0000099", "0000045"]
    assert [reader.read(item) for item in items] == [b"first", b"second", b"third"]
    assert items[0].source == "faces/faces-00000.tfrecord#0"
    assert [item.identity for item in listed(opened(tmp_path, "unlabeled"))] == [None] * 3


def test_a_training_list_gives_labels(tmp_path):
    root = write_tfrecords(tmp_path, SHARDS)
    rows = [line.split("\t") for line in (root / "faces.index").read_text().splitlines()]
    text = "".join(f"faces\t{shard}\t{offset}\t{n}\n" for n, (_, shard, offset) in enumerate(rows))
    (root / "faces.index").unlink()
    write_files(root, {"faces/faces.txt": text})
    reader = opened(root)
    assert [item.identity for item in listed(reader)] == ["0", "1", "2"]
    assert reader.numeric_identities


def test_without_an_index_the_example_says_it(tmp_path):
    records = [{"jpg": b"x" * 900, "label": 3}, {"label": b"Anne", "image": b"y"}, {"image": b"z"},
               {"label": 4}]  # fmt: skip
    data = b"".join(pack_record(example(record)) for record in records)
    write_files(tmp_path, {"some.tfrecord": data})
    items = listed(opened(tmp_path))
    assert [(item.identity, item.reject) for item in items] == [
        ("3", None), ("Anne", None), (None, "unlisted"), ("4", "missing"),
    ]  # fmt: skip
    assert [item.size for item in items] == [900, 1, 0, 0]


def test_records_that_the_index_does_not_name_are_counted(tmp_path):
    root = write_tfrecords(tmp_path, [*SHARDS, [("a/3.jpg", b"x")]])
    rewrite_index(root, lambda rows: rows[1:2])
    reader = opened(root)
    assert [item.identity for item in listed(reader)] == ["0000099"]
    assert reader.ignored() == {"records that the index does not name": 3}


def test_rows_of_a_file_that_is_not_there_are_missing(tmp_path):
    root = write_tfrecords(tmp_path, SHARDS)
    (root / "faces/faces-00001.tfrecord").unlink()
    items = listed(opened(root))
    assert [(item.source, item.reject) for item in items[2:]] == [
        ("faces/faces-00001.tfrecord#0", "missing")
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[::-1], "shard 0 comes after 1; expected rows by shard and offset"),
        (lambda rows: rows[1::-1], "puts a record at byte 0; expected rows by offset"),
        (lambda rows: ["a/b.jpg\t0\t3\n"], "puts a record at byte 3.*such as byte 38"),
        (lambda rows: ["a/b.jpg 0 0\n"], r"faces.index:1: 'a/b.jpg 0 0'; expected path, tab"),
        (lambda rows: ["a\t0\tx\n"], r"faces.index:1: "),
        (lambda rows: ["a\t0\t" + "9" * 18 + "\n"], "the file ends"),
    ],
)
def test_an_index_that_does_not_fit_is_an_error(tmp_path, change, message):
    root = write_tfrecords(tmp_path, SHARDS)
    rewrite_index(root, change)
    with pytest.raises(SourceError, match=message):
        listed(opened(root))


def test_a_record_that_is_damaged_is_a_reject(tmp_path):
    root = write_tfrecords(tmp_path, SHARDS)
    reader = opened(root)
    items = listed(reader)
    path = root / "faces/faces-00001.tfrecord"
    path.write_bytes(path.read_bytes().replace(b"third", b"thirD"))
    with pytest.raises(ItemError, match="a record whose checksum differs"):
        reader.read(items[2])


def test_a_file_that_is_cut_off_is_an_error(tmp_path):
    root = write_tfrecords(tmp_path, [[("a/1.jpg", b"x" * 900)]])
    path = root / "faces/faces-00000.tfrecord"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(SourceError, match="its last record ends at byte"):
        listed(opened(root))


def test_files_of_one_number_are_refused(tmp_path):
    data = pack_record(example({"image": b"x", "label": 1}))
    write_files(tmp_path, {"a-1.tfrecord": data, "a-001.tfrecord": data})
    with pytest.raises(SourceError, match="have one number"):
        listed(opened(tmp_path))


def test_files_are_told_by_their_first_record(tmp_path):
    form = Card(name="a", kind="labeled", forms=(CardForm(reader="tfrecord"),)).resolved()[0]
    fits = reader_type("tfrecord").fits
    write_files(tmp_path / "b", {"a.tfrecord": b"no record at all"})
    assert [fits(write_tfrecords(tmp_path / "a", SHARDS), form), fits(tmp_path / "b", form)] == [
        True,
        False,
    ]
    with pytest.raises(SourceError, match="holds no pictures"):
        listed(opened(write_files(tmp_path / "c", {"x.bin": b"x"})))
