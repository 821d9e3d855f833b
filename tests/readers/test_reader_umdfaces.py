import pytest
from support.forms import face_box, face_landmarks, face_photo
from support.forms_tables import UMD_HEAD, sized_box, umd_frames, umd_row, umd_stills
from support.raw import write_files

from fusekit.cards.card import load_card, with_options
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

CSV = "umdfaces_batch1/umdfaces_batch1_ultraface.csv"
PICTURE = "umdfaces_batch1/a/a_0001.jpg"


def listed(raw, form=None, **options):
    card = load_card("umdfaces")
    if options:
        card = with_options(card, form, options)
    reader = open_reader(card, raw, form)
    items = list(reader.items())
    assert all(len(reader.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return reader, items


def one_picture(root, rows, head=UMD_HEAD):
    return write_files(root, {PICTURE: face_photo(0), CSV: head + rows})


def test_an_item_is_a_face_of_a_picture_with_its_box_and_five_of_its_points(tmp_path):
    reader, items = listed(umd_stills(tmp_path))
    assert reader.form == "stills"
    mark = ",".join(map(str, sized_box(1)))
    assert items[0].source == f"umdfaces_batch1/aamir_khan/aamir_khan_0001.jpg#{mark}"
    assert items[0].bbox == face_box(1)
    assert items[0].landmarks == face_landmarks(1)


def test_the_person_is_the_folder_since_subject_ids_start_anew_in_each_batch(tmp_path):
    _, items = listed(umd_stills(tmp_path))
    kept = {item.identity for item in items if not item.reject}
    assert kept == {"aamir_khan", "aaron_paul", "zoe_kravitz"}


def test_rows_without_pictures_and_pictures_without_rows_are_rejects(tmp_path):
    _, items = listed(umd_stills(tmp_path))
    rejects = {item.source.partition("#")[0]: item.reject for item in items if item.reject}
    assert rejects == {
        "umdfaces_batch3/abe_vigoda/abe_vigoda_0001.jpg": "missing",
        "umdfaces_batch1/aamir_khan/aamir_khan_0009.jpg": "unlisted",
    }


def test_two_faces_of_one_picture_are_two_items_and_a_row_that_comes_again_is_counted(tmp_path):
    rows = umd_row(1, "a/a_0001.jpg", 0) + umd_row(1, "a/a_0001.jpg", 1)
    reader, items = listed(one_picture(tmp_path, rows + umd_row(1, "a/a_0001.jpg", 0)))
    assert [item.bbox for item in items] == [face_box(0), face_box(1)]
    assert reader.ignored()["rows that say again what a row before them says"] == 1


@pytest.mark.parametrize("head", ["", "a,b,c\n"])
def test_columns_without_their_names_are_read_where_the_release_has_them(tmp_path, head):
    rows = umd_row(1, "a/a_0001.jpg", 0)
    _, (item,) = listed(one_picture(tmp_path, rows, head))
    assert (item.bbox, item.landmarks) == (face_box(0), face_landmarks(0))


def test_columns_are_read_by_their_names_in_any_order(tmp_path):
    head = "face_height,FILE ,FACE_X, FACE_Y,FACE_WIDTH\n"
    _, (item,) = listed(one_picture(tmp_path, "40, a/a_0001.jpg ,10,20,30\n", head))
    assert (item.bbox, item.landmarks) == ((10, 20, 40, 60), None)


def test_a_box_without_an_area_is_no_hint_and_is_told(tmp_path):
    head = "FILE,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n"
    reader, items = listed(one_picture(tmp_path, "a/a_0001.jpg,1,2,0,4\na/a_0001.jpg,#,,,\n", head))
    assert [item.source for item in items] == [f"{PICTURE}#1,2,0,4", f"{PICTURE}#row-3"]
    assert {item.bbox for item in items} == {None}
    assert reader.remarks() == ["2 boxes have no area and are no hints"]


def test_the_tables_may_stand_beside_the_batches(tmp_path):
    raw = one_picture(tmp_path, umd_row(1, "a/a_0001.jpg", 0))
    (raw / CSV).rename(raw / "umdfaces_batch1_ultraface.csv")
    _, (item,) = listed(raw)
    assert item.source.startswith(PICTURE)


def test_frames_know_their_video_and_their_number(tmp_path):
    reader, items = listed(umd_frames(tmp_path))
    assert reader.form == "frames"
    assert (items[1].media, items[1].frame, items[1].identity) == ("video", 60, "aamir_khan")
    assert items[1].video == "umdfaces_frames/aamir_khan/v1"


def test_stills_and_frames_in_one_folder_are_read_one_at_a_time(tmp_path):
    raw = umd_frames(umd_stills(tmp_path))
    reader, items = listed(raw)
    assert (reader.form, len(items)) == ("stills", 8)
    assert reader.ignored()["files outside the folders of the tables"] == 4
    assert len(listed(raw, "frames")[1]) == 4


def test_dead_rows_may_be_counted_only(tmp_path):
    reader, items = listed(umd_stills(tmp_path), "stills", missing="count")
    assert "missing" not in {item.reject for item in items}
    assert reader.ignored()["rows whose file is not there"] == 1


def test_a_short_row_is_named_by_its_line(tmp_path):
    raw = one_picture(tmp_path, umd_row(1, "a/a_0001.jpg", 0) + "1,a/a_0001.jpg\n")
    with pytest.raises(SourceError, match=r"ultraface.csv:3: has 2 cells; expected over 69"):
        listed(raw)


def test_a_folder_without_a_table_says_what_was_looked_for(tmp_path):
    write_files(tmp_path, {"a/1.jpg": b""})
    with pytest.raises(SourceError, match=r"no table of stills; expected umdfaces_batch"):
        listed(tmp_path, "stills")
