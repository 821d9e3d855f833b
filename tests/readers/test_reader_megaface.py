import tarfile

import pytest
from support.forms import face_box
from support.forms_tables import listed_crops, megaface_tree
from support.raw import write_files, write_pictures

from fusekit.cards.card import load_card
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

PICTURE = "FlickrFinal2/100/12@N00/34_0.jpg"


def listed(raw, form=None):
    reader = open_reader(load_card("megaface"), raw, form)
    items = list(reader.items())
    assert all(len(reader.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return reader, items


def test_a_distractor_has_the_box_of_its_json_and_no_one(tmp_path):
    reader, items = listed(megaface_tree(tmp_path))
    assert reader.form == "megaface"
    assert items[1].source == "FlickrFinal2/100/12341@N00/6789_1.jpg"
    assert (items[1].identity, items[1].bbox, items[1].landmarks) == (None, face_box(1), None)


def test_doubled_suffixes_and_box_files_are_counted(tmp_path):
    reader, _ = listed(megaface_tree(tmp_path))
    assert reader.ignored() == {
        "boxes of pictures (.json)": 3, "pictures with a doubled suffix (.jpg.jpg)": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", '{"bounding_box": 7}', '{"bounding_box": {"x": 1}}', "[" * 60_000,
     '{"bounding_box": {"x": 1, "y": 1, "width": 0, "height": 5}}',
     '{"bounding_box": {"x": 1, "y": 1, "width": 1e999, "height": 5}}', "\xff" * 100_000],
)  # fmt: skip
def test_a_box_that_can_t_be_read_is_no_hint_and_is_told(tmp_path, text):
    write_pictures(tmp_path, PICTURE)
    reader, (item,) = listed(write_files(tmp_path, {f"{PICTURE}.json": text}))
    assert item.bbox is None
    assert reader.remarks() == ["1 boxes can't be read, or have no area, and are no hints"]


def test_a_picture_without_its_json_is_an_item_and_a_json_without_a_picture_is_counted(tmp_path):
    write_files(write_pictures(tmp_path, PICTURE), {"FlickrFinal2/100/12@N00/9_0.jpg.json": "{}"})
    reader, (item,) = listed(tmp_path, "megaface")
    assert item.bbox is None
    assert reader.ignored() == {"lists and metadata (by suffix)": 1}


def test_boxes_are_left_in_an_archive_that_is_read_front_to_back(tmp_path):
    raw = megaface_tree(tmp_path / "raw")
    with tarfile.open(tmp_path / "megaface.tar.gz", "w:gz") as archive:
        archive.add(raw, "megaface")
    reader, items = listed(tmp_path / "megaface.tar.gz")
    assert {item.bbox for item in items} == {None}
    assert reader.remarks() == ["3 boxes are not read out of a compressed archive: unpack it"]


def test_insightface_s_crops_follow_their_list(tmp_path):
    raw = listed_crops("megaface", "100/1@N00/6_0.jpg", "100/1@N00/7_0.jpg")(tmp_path)
    reader, items = listed(raw)
    assert (reader.form, reader.form_spec.aligned) == ("insightface", True)
    assert [item.identity for item in items] == [None, None]


def test_a_folder_without_distractors_says_what_was_looked_for(tmp_path):
    write_files(tmp_path, {"a.json": "{}"})
    with pytest.raises(SourceError, match=r"holds no form of megaface; .*FlickrFinal2"):
        listed(tmp_path)
    with pytest.raises(SourceError, match=r"holds no pictures; expected FlickrFinal2"):
        listed(tmp_path, "megaface")


def test_a_box_file_in_upper_case_is_its_picture_s(tmp_path):
    write_pictures(tmp_path, PICTURE, "FlickrFinal2/100/12@N00/35_0.JPG")
    box = '{"bounding_box": {"x": 1, "y": 2, "width": 3, "height": 4}}'
    write_files(tmp_path, {f"{PICTURE}.JSON": box, f"{PICTURE[:-8]}35_0.JPG.Json": box})
    reader, items = listed(tmp_path)
    assert [item.bbox for item in items] == [(1, 2, 4, 6)] * 2
    assert reader.ignored() == {"boxes of pictures (.json)": 2}
