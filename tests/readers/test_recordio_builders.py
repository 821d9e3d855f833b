"""Packs as each builder that people used writes them; shapes and orders are those of its source."""

from dataclasses import dataclass

import pytest
from support.raw import record_pack, write_files

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.formats.recordio import pack_record, read_property
from fusekit.formats.recordio_writer import RecordWriter
from fusekit.readers.registry import open_reader

IDENTITIES = "records of identities"


@dataclass(frozen=True)
class Built:
    """A pack and what is read from it.

    Attributes:
        records: Key, record; in the order of the file.
        labels: Key to identity of its images.
        ignored: What is counted beside them.
        files: What else the builder writes.
        index: It writes an ``.idx``.
    """

    records: list[tuple[int, bytes]]
    labels: dict[int, str]
    ignored: dict[str, int]
    files: dict[str, str | bytes]
    index: bool = True


def record(key, labels, image=b"", header_id=None, id2=0):
    data = pack_record(labels, key if header_id is None else header_id, image)
    return key, data[:16] + id2.to_bytes(8, "little") + data[24:]


def scalars(*keys_and_labels):
    return [record(key, float(label), b"image%d" % key) for key, label in keys_and_labels]


BUILDERS = {
    # A label array [label, aligned]; key 0 between images and identities; an identity's record
    # stands for a run, so label 0 has two.
    "face2rec2.py": Built(
        [
            *(record(key, (float(label), 1.0), b"x") for key, label in ((1, 0), (2, 1), (3, 0))),
            record(0, (4.0, 7.0)), record(4, (1.0, 2.0)), record(5, (2.0, 3.0)),
            record(6, (3.0, 4.0)),
        ],
        {1: "0", 2: "1", 3: "0"}, {IDENTITIES: 4}, {"property": "2,112,112\n", "train.lst": ""},
    ),
    "dir2rec": Built(
        [*scalars((1, 0), (2, 1)), record(0, (3.0, 5.0)), record(3, (1.0, 2.0)),
         record(4, (2.0, 3.0))],
        {1: "0", 2: "1"}, {IDENTITIES: 3},
        {"property": "2,112,112", "label.txt": "a/1.jpg 1 2 3 4 5 6\n"},
    ),
    "dataset_merge.py": Built(
        [*scalars((1, 0), (2, 1)), record(3, (1.0, 2.0)), record(4, (2.0, 3.0)),
         record(0, (3.0, 5.0))],
        {1: "0", 2: "1"}, {IDENTITIES: 3}, {"property": "2,112,112\n"},
    ),
    # Copied records: their ids are those of the pack they are from, and labels have gaps.
    "dataset_clean.py": Built(
        [
            record(1, (7.0, 1.0), b"a", header_id=90), record(2, 85741.0, b"b", header_id=17),
            record(3, (1.0, 2.0)), record(4, (2.0, 3.0)), record(0, (3.0, 5.0)),
        ],
        {1: "7", 2: "85741"}, {IDENTITIES: 3}, {"property": "85742,112,112\n"},
    ),
    "arcface_mxnet RecBuilder": Built(
        [
            record(1, 0.0, b"a", id2=1), record(2, 1.0, b"b", id2=1),
            record(3, (1.0, 2.0), id2=1), record(4, (2.0, 3.0), id2=1),
            record(0, (3.0, 5.0), id2=1),
        ],
        {1: "0", 2: "1"}, {IDENTITIES: 3}, {"property": "2,112,112"},
    ),
    "SeqRecBuilder": Built(scalars((0, 0), (1, 1), (2, 0)), {0: "0", 1: "1", 2: "0"}, {}, {}),
    "python-package RecBuilder": Built(
        scalars((0, 0), (1, 1)), {0: "0", 1: "1"}, {},
        {"property": "2,112,112\n2\n", "train.meta": b"\x80\x04."},
    ),
    "rec2shufrec.py": Built(
        scalars((0, 1), (1, 0), (2, 1)), {0: "1", 1: "0", 2: "1"}, {},
        {"property": "2,112,112\n3\nshuffled\n2021-01-01 10:00:00\n"}, index=False,
    ),
    "shuffle_rec.py": Built(
        [record(key, float(label), b"x", header_id=old) for key, label, old in
         ((0, 1, 2), (1, 0, 0), (2, 1, 1))],
        {0: "1", 1: "0", 2: "1"}, {}, {},
    ),
    "im2rec": Built(
        scalars((2, 1), (0, 0), (1, 0)), {2: "1", 0: "0", 1: "0"}, {},
        {"train.lst": "2\t1.000000\t0_0_0000001/0_2.jpg\n0\t0.000000\t0_0_0000000/0_0.jpg\n"},
    ),
    "CVLface": Built(
        scalars((0, 0), (1, 1)), {0: "0", 1: "1"}, {},
        {"train.tsv": "0\t0000045/001.jpg\t0\n1\t0000099/001.jpg\t1\n", "done_list.txt": "x",
         "ldmk_5points.csv": "idx,ldmk_0\n"},
    ),
}  # fmt: skip


def build(root, built):
    write_files(root, {"train.rec": b"", **built.files})
    with (root / "train.rec").open("wb") as rec, (root / "train.idx").open("wb") as idx:
        writer = RecordWriter(rec, idx)
        for key, data in built.records:
            writer.add(key, data)
    if not built.index:
        (root / "train.idx").unlink()
    return root


def opened(raw, **options):
    form = CardForm(reader="recordio", aligned=True, options=options)
    return open_reader(Card(name="pack", kind="labeled", forms=(form,)), raw)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_pack_of_each_builder_is_read(tmp_path, name):
    built = BUILDERS[name]
    reader = opened(build(tmp_path, built))
    items = list(reader.items())
    assert {int(i.source.split("#")[1]): i.identity for i in items} == built.labels
    assert all(len(reader.read(item)) == item.size > 0 for item in items)
    assert reader.ignored() == built.ignored
    reader.names()


def test_without_an_index_key_0_is_not_relied_on_where_records_are_copies(tmp_path):
    build(tmp_path, BUILDERS["dataset_clean.py"])
    (tmp_path / "train.idx").unlink()
    items = list(opened(tmp_path).items())
    assert [(item.source, item.identity) for item in items] == [
        ("train.rec#90", "7"), ("train.rec#17", "85741")
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["rec2shufrec.py", "python-package RecBuilder"])
def test_further_lines_of_property_are_passed_over(tmp_path, name):
    build(tmp_path, BUILDERS[name])
    assert read_property(tmp_path / "property") == (2, 112, 112)


def test_the_folders_that_a_pack_was_built_from_name_its_labels(tmp_path):
    im2rec = opened(build(tmp_path / "im2rec", BUILDERS["im2rec"]))
    assert im2rec.names() == {"0": "0_0_0000000", "1": "0_0_0000001"}
    cvlface = opened(build(tmp_path / "cvlface", BUILDERS["CVLface"]))
    assert cvlface.names() == {"0": "0000045", "1": "0000099"}


def test_a_table_of_names_comes_before_folders_and_equal_folders_name_nobody(tmp_path):
    rows = "0\t0/001.jpg\t0\n1\t1/001.jpg\t1\n"
    assert opened(write_files(record_pack(tmp_path), {"train.tsv": rows})).names() == {}
    write_files(tmp_path, {"names.txt": "0\tAnn\n"})
    assert opened(tmp_path).names() == {"0": "Ann"}


def test_a_list_beside_the_pack_that_is_none_is_counted_and_does_no_harm(tmp_path):
    write_files(record_pack(tmp_path), {"train.lst": "1\ta/1.jpg\t0\nrubbish\n"})
    reader = opened(tmp_path)
    assert reader.names() == {}
    assert reader.ignored() == {"train.lst, from a row on that has another form": 1}


@pytest.mark.parametrize(
    ("text", "form"),
    [("85164,112,112", "ms1mv1"), ("85742,112,112\n5822653\n", "ms1mv2"),
     ("93431,112,112", "ms1mv3"), ("72778,112,112", "recordio"), ("?", "recordio"),
     (None, "recordio")],
)  # fmt: skip
def test_a_cleaning_of_ms1m_is_told_by_its_classes(tmp_path, text, form):
    (record_pack(tmp_path) / "property").unlink()
    if text is not None:
        write_files(tmp_path, {"property": text})
    reader = open_reader(load_card("ms1m"), tmp_path)
    assert reader.form == form
    assert open_reader(load_card("ms1m"), tmp_path, "ms1mv2").form == "ms1mv2"  # as one asks for
