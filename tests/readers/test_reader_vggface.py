import shutil

import pytest
from support.forms import face_box
from support.forms_tables import url, vggface_tree
from support.raw import write_files, write_pictures

from fusekit.cards.card import load_card, with_options
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

LIST = "files/A_B.txt"


def listed(raw, **options):
    card = load_card("vggface")
    reader = open_reader(with_options(card, "vggface", options) if options else card, raw)
    items = list(reader.items())
    assert all(len(reader.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return reader, items


def test_a_row_s_picture_has_its_box_and_url_and_the_list_s_name(tmp_path):
    reader, items = listed(vggface_tree(tmp_path))
    assert items[0].source == "images/A.J._Buckley/00000001.jpg"
    assert (items[0].identity, items[0].url) == ("A.J._Buckley", url(0))
    assert items[0].bbox == face_box(0)
    assert reader.names()["A.J._Buckley"] == "A.J. Buckley"


def test_dead_urls_are_missing_or_counted(tmp_path):
    _, items = listed(vggface_tree(tmp_path))
    gone = [item.source for item in items if item.reject == "missing"]
    assert gone == ["images/A.J._Buckley/00001000.jpg", "images/Zoë_Bell/00001000.jpg"]
    reader, items = listed(tmp_path, missing="count")
    assert len(items) == 3
    assert reader.ignored()["rows whose file is not there"] == 2


@pytest.mark.parametrize(
    "picture",
    ["images/A_B/00000001.png", "A_B/00000001.jpg", "files/A_B/00000001.jpg",
     "vgg_face/pictures/A B/A_B_00000001.JPG"],
)  # fmt: skip
def test_pictures_are_found_where_the_usual_scripts_put_them(tmp_path, picture):
    write_pictures(tmp_path, picture)
    row = "00000001 http://a/b 1.5 2.5 3.5 4.5 2 1.0 1\n"
    _, (item,) = listed(write_files(tmp_path, {LIST: row}))
    assert (item.source, item.bbox) == (picture, (1.5, 2.5, 3.5, 4.5))


def test_pictures_that_no_row_names_are_unlisted(tmp_path):
    write_pictures(tmp_path, "A_B/1.jpg", "A_B/2.jpg", "A_B/sub/1.jpg", "Nobody/1.jpg", "x.jpg")
    reader, items = listed(write_files(tmp_path, {LIST: "1 http://a/b\n"}))
    assert [(i.source, i.reject) for i in items] == [
        ("A_B/1.jpg", None), ("A_B/2.jpg", "unlisted"), ("A_B/sub/1.jpg", "unlisted"),
    ]  # fmt: skip
    assert reader.ignored()["files outside the people's folders"] == 2


def test_a_url_may_hold_spaces_and_a_row_may_lack_its_box(tmp_path):
    write_pictures(tmp_path, "A_B/1.jpg", "A_B/2.jpg")
    rows = "1 http://a/b c.jpg 1 2 3 4 2 1.0 1\n2 http://d\n2 http://d\nnoise\n"
    reader, items = listed(write_files(tmp_path, {LIST: rows}))
    assert [(i.url, i.bbox) for i in items] == [
        ("http://a/b c.jpg", (1, 2, 3, 4)), ("http://d", None),
    ]  # fmt: skip
    assert reader.ignored()["rows that are no number and URL"] == 1
    assert reader.ignored()["rows that say again what a row before them says"] == 1
    assert reader.remarks() == ["2 boxes have no area and are no hints"]


def test_lists_alone_say_that_the_pictures_must_be_fetched(tmp_path):
    shutil.rmtree(vggface_tree(tmp_path) / "images")
    with pytest.raises(SourceError, match=r"lists of URLs and no pictures; .*img2dataset can"):
        listed(tmp_path)


def test_a_folder_without_lists_says_what_was_looked_for(tmp_path):
    write_files(tmp_path, {"files/readme.txt": "hello\n", "files/a.jpg": ""})
    with pytest.raises(SourceError, match=r"no list of VGGFace was found; expected files/<Name>"):
        listed(tmp_path)
