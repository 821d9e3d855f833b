import hashlib

import pytest
from support.forms import face_box
from support.forms_tables import facescrub_lists, facescrub_tree, listed_crops, url
from support.raw import draw_jpeg, write_files, write_pictures

from fusekit.cards.card import load_card, with_options
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

HEAD = "name\timage_id\tface_id\turl\tbbox\tsha256\n"


def listed(raw, form=None, **options):
    card = load_card("facescrub")
    if options:
        card = with_options(card, form, options)
    reader = open_reader(card, raw, form)
    items = list(reader.items())
    assert all(len(reader.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return reader, items


def actors(*rows):
    return {"facescrub_actors.txt": HEAD + "".join("\t".join(row) + "\tsha\n" for row in rows)}


def test_a_picture_s_number_is_its_face_id_whatever_its_suffix(tmp_path):
    _, items = listed(facescrub_tree(tmp_path))
    assert [(i.source, i.identity, i.bbox, i.url) for i in items[:3]] == [
        ("Aaron_Eckhart/Aaron_Eckhart_1.jpg&w=3", "Aaron_Eckhart", face_box(0), url(0)),
        ("Aaron_Eckhart/Aaron_Eckhart_2.gif", "Aaron_Eckhart", face_box(1), url(1)),
        ("Adrien Brody/Adrien Brody_3.JPEG", "Adrien Brody", face_box(2), url(2)),
    ]


def test_pictures_named_by_the_sha1_of_their_url_are_found(tmp_path):
    _, items = listed(facescrub_tree(tmp_path))
    assert (items[3].identity, items[3].bbox, items[3].url) == ("Zoë_Bell", face_box(3), url(3))


def test_a_sha1_that_begins_with_zeros_is_no_number(tmp_path):
    at = next(n for n in range(9999) if hashlib.sha1(url(n).encode()).hexdigest()[0] == "0")
    name = hashlib.sha1(url(at).encode()).hexdigest()
    write_pictures(tmp_path, f"A_B/{name}.jpg")
    _, (item,) = listed(write_files(tmp_path, actors(("A B", "1", "2", url(at), "1,2,3,4"))))
    assert item.url == url(at)


def test_cut_out_faces_beside_whole_pictures_are_not_read_twice(tmp_path):
    reader, _ = listed(facescrub_tree(tmp_path))
    assert reader.ignored() == {
        "cut-out faces of pictures that are here": 1, "lists and metadata (by suffix)": 2,
    }  # fmt: skip


def test_cut_out_faces_alone_are_read_as_the_dataset(tmp_path):
    write_files(tmp_path, facescrub_lists())
    write_files(
        tmp_path,
        {"faces/Aaron_Eckhart/Aaron_Eckhart_8_2.jpg": draw_jpeg(0, 60)},
    )
    reader, items = listed(tmp_path)
    assert (items[0].identity, items[0].url, items[0].bbox) == ("Aaron_Eckhart", url(1), None)
    assert reader.remarks() == [
        "1 of the first 1 pictures are smaller than their boxes say: they are taken for cut-out "
        "faces, and no box is used"
    ]
    assert listed(tmp_path, "facescrub", boxes="use")[1][0].bbox == face_box(1)


def test_rows_without_a_picture_are_missing_under_the_spelling_of_the_folder(tmp_path):
    _, items = listed(facescrub_tree(tmp_path))
    assert (items[4].source, items[4].reject) == ("Adrien Brody/Adrien Brody_99", "missing")
    assert items[4].identity == "Adrien Brody"
    reader, items = listed(tmp_path, "facescrub", missing="count")
    assert len(items) == 4
    assert reader.ignored()["rows whose file is not there"] == 1


def test_whole_pictures_may_be_named_by_image_id(tmp_path):
    write_pictures(tmp_path, "images/A_B/A_B_1.jpeg")
    rows = [("A B", "1", "2", "u1", "0,0,9,9"), ("A B", "3", "1", "u2", "0,0,8,8")]
    write_files(tmp_path, actors(*rows))
    assert listed(tmp_path, "facescrub", number="image_id")[1][0].url == "u1"
    assert listed(tmp_path, "facescrub")[1][0].url == "u2"


def test_people_s_names_are_those_of_the_lists(tmp_path):
    reader, _ = listed(facescrub_tree(tmp_path))
    assert reader.names()["Zoë_Bell"] == "Zoë Bell"


def test_without_the_lists_the_folders_alone_are_read(tmp_path):
    write_pictures(tmp_path, "A_B/A_B_1.jpg", "x.jpg")
    reader, (item,) = listed(tmp_path)
    assert (item.identity, item.url) == ("A_B", None)
    assert reader.ignored() == {"files outside the people's folders": 1}
    assert reader.remarks() == []


def test_pictures_and_rows_that_do_not_fit_are_told(tmp_path):
    write_pictures(tmp_path, "A_B/A_B_1.jpg", "A_B/portrait.jpg")
    row = ("A B", "1", "1", "u", "0,0,9,9")
    reader, _ = listed(write_files(tmp_path, actors(row, row)))
    assert sorted(reader.remarks()) == [
        "1 pictures have no row in the lists", "1 rows say again what a row before them says",
    ]  # fmt: skip


def test_lists_alone_say_that_the_pictures_must_be_fetched(tmp_path):
    write_files(tmp_path, facescrub_lists())
    with pytest.raises(SourceError, match=r"holds no pictures; .*column 'url'.*img2dataset"):
        listed(tmp_path)


def test_a_short_row_is_named_by_its_line(tmp_path):
    write_pictures(tmp_path, "A_B/A_B_1.jpg")
    write_files(tmp_path, {"facescrub_actors.txt": HEAD + "A B\t1\n"})
    with pytest.raises(SourceError, match=r"facescrub_actors.txt:2: has 2 cells; expected name"):
        listed(tmp_path)


def test_insightface_s_list_decides_what_its_crops_are(tmp_path):
    raw = listed_crops("facescrub", "A_B/A_B_1.png", "C_D/C_D_2.png")(tmp_path)
    (raw / "facescrub_images/C_D/C_D_2.png").unlink()
    write_pictures(raw, "facescrub_images/A_B/A_B_9.png", "megaface_images/1/2/3.jpg")
    reader, items = listed(raw)
    assert reader.form == "insightface"
    assert [(i.source, i.identity, i.reject) for i in items] == [
        ("facescrub_images/A_B/A_B_1.png", "A_B", None),
        ("facescrub_images/C_D/C_D_2.png", "C_D", "missing"),
    ]
    assert reader.ignored()["files that the list does not name"] == 3
