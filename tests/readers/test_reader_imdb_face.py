import pytest
from support.forms import face_box
from support.forms_tables import imdb_face, url
from support.raw import write_files, write_pictures

from fusekit.cards.card import load_card, with_options
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

HEAD = "name,index,image,rect,height width,url\n"
ROW = "Fred_Astaire,nm1,MV.jpg,1 2 3 4,9 9,http://a\n"


def listed(raw, **options):
    card = load_card("imdb-face")
    reader = open_reader(with_options(card, "imdb-face", options) if options else card, raw)
    items = list(reader.items())
    assert all(len(reader.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return reader, items


def test_a_row_is_a_face_of_a_picture_with_its_box_url_and_name(tmp_path):
    reader, items = listed(imdb_face(tmp_path))
    mark = ",".join(map(str, face_box(0)))
    assert items[0].source == f"nm0000001/MV0@._V1_.jpg#{mark}"
    assert (items[0].identity, items[0].bbox, items[0].url) == ("nm0000001", face_box(0), url(0))
    assert items[3].reject == "missing"
    assert reader.names()["nm0000001"] == "Fred Astaire"


@pytest.mark.parametrize(
    "picture", ["nm1/MV.jpg", "Fred_Astaire/MV.jpg", "MV.jpg", "images/nm1/MV.jpg"]
)
def test_pictures_are_found_as_the_usual_scripts_name_them(tmp_path, picture):
    write_pictures(tmp_path, picture)
    _, (item,) = listed(write_files(tmp_path, {"IMDb-Face.csv": HEAD + ROW}))
    assert item.source == f"{picture}#1,2,3,4"


def test_an_option_says_how_pictures_are_named(tmp_path):
    write_pictures(tmp_path, "all/nm1-MV.jpg")
    write_files(tmp_path, {"IMDb-Face.csv": HEAD + ROW})
    _, (item,) = listed(tmp_path, pattern="all/{index}-{image}")
    assert (item.identity, item.reject) == ("nm1", None)


@pytest.mark.parametrize("head", ["", "who,nconst,file,box,size,link\n"])
def test_columns_of_other_names_are_read_in_the_published_order(tmp_path, head):
    write_pictures(tmp_path, "nm1/MV.jpg")
    _, (item,) = listed(write_files(tmp_path, {"imdb_face.csv": head + ROW}))
    assert (item.identity, item.url) == ("nm1", "http://a")


def test_a_part_that_begins_late_in_the_list_is_found(tmp_path):
    write_pictures(tmp_path, "nm1/MV.jpg")
    rows = "".join(f"X,nm9,{n}.jpg,1 2 3 4,9 9,http://a\n" for n in range(1_500))
    write_files(tmp_path, {"IMDb-Face.csv": HEAD + rows + ROW})
    reader, (item,) = listed(tmp_path, missing="count")
    assert item.identity == "nm1"
    assert reader.ignored()["rows whose file is not there"] == 1_500


def test_rows_that_come_again_boxes_without_area_and_other_files_are_counted(tmp_path):
    write_pictures(tmp_path, "nm1/MV.jpg", "other.jpg")
    odd = "Fred_Astaire,nm1,MV.jpg,,9 9,http://a\n"
    reader, items = listed(write_files(tmp_path, {"IMDb-Face.csv": HEAD + ROW + ROW + odd}))
    assert [item.source for item in items] == ["nm1/MV.jpg#1,2,3,4", "nm1/MV.jpg#row-4"]
    assert reader.ignored() == {
        "files that the list does not name": 1, "lists and metadata (by suffix)": 1,
        "rows that say again what a row before them says": 1,
    }  # fmt: skip
    assert reader.remarks() == ["1 boxes have no area and are no hints"]


def test_a_row_that_names_no_one_rejects_its_picture(tmp_path):
    write_pictures(tmp_path, "MV.jpg")
    _, (item,) = listed(write_files(tmp_path, {"IMDb-Face.csv": f"{HEAD},,MV.jpg,5 5 5 5,9 9,\n"}))
    assert (item.reject, item.reject_detail) == ("unlisted", "its row names no one")


def test_the_list_alone_says_that_the_pictures_must_be_fetched(tmp_path):
    write_files(tmp_path, {"IMDb-Face.csv": HEAD + ROW})
    with pytest.raises(SourceError, match=r"none of its pictures is here; .*'url'.*img2dataset"):
        listed(tmp_path)


def test_a_short_row_is_named_by_its_line(tmp_path):
    write_pictures(tmp_path, "nm1/MV.jpg")
    write_files(tmp_path, {"IMDb-Face.csv": HEAD + ROW + "a,b\n"})
    with pytest.raises(SourceError, match=r"IMDb-Face.csv:3: has 2 cells; expected 6"):
        listed(tmp_path)


def test_a_folder_without_the_list_says_what_was_looked_for(tmp_path):
    write_pictures(tmp_path, "nm1/MV.jpg")
    with pytest.raises(SourceError, match=r"no list of IMDb-Face was found; expected IMDb-Face"):
        listed(tmp_path)
