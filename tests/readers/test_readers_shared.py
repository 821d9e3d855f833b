"""The readers on real data, in the layouts that it is published in."""

import io
from collections import Counter

import pytest

from fusekit.cards.card import load_card
from fusekit.formats.frames import read_frame
from fusekit.formats.recordio import pack_record, read_index, unpack_record
from fusekit.formats.recordio_writer import RecordWriter
from fusekit.readers.registry import open_reader

# JPEG with a JFIF, Exif, ICC or other first segment, and a PNG under a JPEG's name.
MAGIC = {b"\xff\xd8\xff" + bytes([kind]) for kind in (*range(0xE0, 0xF0), 0xDB, 0xFE)} | {
    b"\x89PNG"
}

pytestmark = pytest.mark.shared


def read_all(card, raw, form=None, sample=200):
    reader = open_reader(load_card(card), raw, form)
    items = list(reader.items())
    sources = [item.source for item in items]
    assert len(set(sources)) == len(sources)
    for item in items[:: max(1, len(items) // sample)]:
        assert len(reader.read(item)) == item.size
    people = Counter(item.identity for item in items)
    return reader, items, people


@pytest.mark.parametrize(
    ("card", "folder", "form", "people", "images"),
    [
        ("pinsface", "pins", "folders", 24, 768),
        ("14-celebrity", "five_celebs", "folders", 5, 118),
        ("vggface2", "vggface2", "folders", 3, 32),
        ("folders", "lab/lfw_112x112", "folders", 4281, 7701),
        ("deepglint", "glint_rec", "recordio", 14, 560),
        ("pinsface", "lab/faces_pins_112x112", "recordio", 105, 10_479),
        ("celeba", "lab/faces_celeba299_112x112", "recordio", 299, 6_299),
        ("recordio", "lab/faces_celeba299_112x112/train.rec", "recordio", 299, 6_299),
    ],
)
def test_a_published_layout_gives_its_published_counts(shared, card, folder, form, people, images):
    reader, items, found = read_all(card, shared / "faces" / folder)
    assert reader.form == form
    assert (len(found), len(items)) == (people, images)
    assert all(reader.read(item)[:4] in MAGIC for item in items[:50])


def test_pins_names_are_the_folders_without_their_prefix(shared):
    _, _, people = read_all("pinsface", shared / "faces/pins")
    assert {"Gwyneth Paltrow", "Brian J. Smith"} <= people.keys()
    assert not any(name.startswith("pins_") for name in people)


def test_the_packs_name_their_labels(shared):
    reader, _, people = read_all("deepglint", shared / "faces/glint_rec")
    assert reader.names()["2"] == "Gwyneth Paltrow"
    assert people == {str(label): 40 for label in range(14)}
    reader, _, people = read_all("pinsface", shared / "faces/lab/faces_pins_112x112")
    assert reader.names()["0"] == "Adriana Lima"
    assert reader.names().keys() == people.keys()
    reader, _, people = read_all("celeba", shared / "faces/lab/faces_celeba299_112x112")
    assert reader.names()["0"] == "07201"


def test_a_real_pack_is_read_the_same_without_its_index(shared, tmp_path):
    raw = tmp_path / "pack"
    raw.mkdir()
    pack = shared / "faces/glint_rec"
    (raw / "train.rec").write_bytes((pack / "train.rec").read_bytes())
    _, with_index, _ = read_all("recordio", pack)
    _, without, _ = read_all("recordio", raw)
    assert without == with_index


def test_a_celebrity_s_pictures_keep_their_split(shared):
    _, items, _ = read_all("14-celebrity", shared / "faces/five_celebs")
    assert Counter(item.split for item in items) == {"train": 93, "val": 25}
    assert {item.identity for item in items if item.split == "val"} >= {"ben_afflek", "madonna"}


def test_text_files_named_jpg_are_items_and_lists_are_counted(shared):
    reader, items, _ = read_all("folders", shared / "faces/cfp_protocol/Data/Images")
    assert items
    assert all(item.source.endswith(".jpg") for item in items)
    assert all(b"\xff\xd8" not in reader.read(item) for item in items)
    reader, items, people = read_all("unlabeled", shared / "faces/unlabeled_deepface")
    assert (len(items), set(people)) == (35, {None})
    assert reader.ignored() == {"lists and metadata (by suffix)": 1}


def test_a_pack_that_mxnet_wrote_is_written_again_byte_for_byte(shared):
    pack = shared / "faces/glint_rec"
    rec, idx = io.BytesIO(), io.BytesIO()
    writer = RecordWriter(rec, idx)
    with (pack / "train.rec").open("rb") as file:
        for key, offset in zip(*(a.tolist() for a in read_index(pack / "train.idx")), strict=True):
            header, image = unpack_record(read_frame(file, offset, "train.rec"), "train.rec")
            labels = header.labels if header.flag else header.label
            assert writer.add(key, pack_record(labels, header.id, bytes(image))) == offset
    assert rec.getvalue() == (pack / "train.rec").read_bytes()
    assert idx.getvalue() == (pack / "train.idx").read_bytes()
