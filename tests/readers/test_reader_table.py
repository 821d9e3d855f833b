import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forms_tables import own_csv, own_jsonl
from support.raw import draw_jpeg, write_files, write_pictures

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader


def listed(raw, reader="csv", kind="labeled", **options):
    card = Card(name="mine", kind=kind, forms=(CardForm(reader=reader, options=options),))
    found = open_reader(card, raw)
    items = list(found.items())
    assert all(len(found.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return found, items


def people(items):
    return [(item.source, item.identity) for item in items]


def test_a_table_is_read_by_its_head(tmp_path):
    reader, items = listed(own_csv(tmp_path))
    assert people(items)[:2] == [("pictures, mine/0.jpg", "007"), ("pictures, mine/1.jpg", "7")]
    assert items[0].bbox is not None
    assert (items[3].reject, items[3].split) == ("missing", "val")
    assert reader.ignored() == {}


def test_the_folder_of_one_list_is_enough(tmp_path):
    reader, items = listed(own_csv(tmp_path).parent)
    assert len(items) == 4
    assert reader.ignored() == {"lists and metadata (by suffix)": 1}


def test_what_lies_beside_a_list_that_is_given_itself_is_not_counted(tmp_path):
    raw = own_csv(tmp_path)
    before = listed(raw)[1]
    write_pictures(tmp_path, "fusekit-store/shard.tar")
    reader, items = listed(raw)
    assert (items, reader.ignored()) == (before, {})


LISTS = [
    ("train.txt", "a/1.jpg 0\na/2.jpg 1\n", ["0", "1"]),
    ("train.txt", "./a/1.jpg 0\n.\\a\\2.jpg 1\n", ["0", "1"]),
    ("train.lst", "a/1.jpg\tp q\na/2.jpg\tr\n", ["p q", "r"]),
    ("magface.txt", "a/1.jpg 0 17 0\na/2.jpg 0 18 0\n", ["17", "18"]),
    ("cvlface.tsv", "0\ta/1.jpg\t7\n1\ta/2.jpg\t8\n", ["7", "8"]),
    ("c-ms-celeb.txt", "m.0107_f a/1.jpg\nm.02 a/2.jpg\n", ["m.0107_f", "m.02"]),
    ("insightface.lst", "1\ta/1.jpg\t7\t1\t2\t3\t4\n1\ta/2.jpg\t8\t1\t2\t3\t4\n", ["7", "8"]),
    ("mxnet.lst", "0\t3.0\ta/1.jpg\n1\t4.0\ta/2.jpg\n", ["3.0", "4.0"]),
    ("paths.txt", "a/1.jpg\na/2.jpg\n", ["a", "a"]),
    ("headless.csv", "a/1.jpg,x\na/2.jpg,y\n", ["x", "y"]),
    ("semi.csv", "file;label\na/1.jpg;x\na/2.jpg;y\n", ["x", "y"]),
    ("commas.txt", "a/1.jpg,x\na/2.jpg,y\n", ["x", "y"]),
    ("headed.txt", "path label\na/1.jpg x\na/2.jpg y\n", ["x", "y"]),
]


@pytest.mark.parametrize(("name", "text", "labels"), LISTS)
def test_lists_of_many_projects_are_read_without_being_told(tmp_path, name, text, labels):
    write_pictures(tmp_path, "a/1.jpg", "a/2.jpg")
    _, items = listed(write_files(tmp_path, {name: text}))
    assert people(items) == [("a/1.jpg", labels[0]), ("a/2.jpg", labels[1])]


def test_paths_with_spaces_keep_them(tmp_path):
    write_pictures(tmp_path, "a b/1.jpg", "c/2 3.jpg")
    _, items = listed(write_files(tmp_path, {"l.txt": "a b/1.jpg  x\nc/2 3.jpg y\n"}))
    assert people(items) == [("a b/1.jpg", "x"), ("c/2 3.jpg", "y")]


def test_landmarks_of_a_list_with_twelve_fields_are_hints(tmp_path):
    write_pictures(tmp_path, "a/1.jpg")
    row = "a/1.jpg 7 " + " ".join(map(str, range(10)))
    _, (item,) = listed(write_files(tmp_path, {"msra_lmk.txt": f"{row}\n"}))
    assert item.landmarks == tuple(map(float, range(10)))


def test_a_row_that_breaks_the_order_of_the_first_hundred_is_named(tmp_path):
    write_pictures(tmp_path, "a/1.jpg")
    write_files(tmp_path, {"l.txt": "a/1.jpg 1\n" * 150 + "7 seven\n"})
    with pytest.raises(SourceError, match=r"l.txt:151: '7 seven'; expected 2 cells, as the rows"):
        listed(tmp_path)


def test_a_row_with_another_number_of_cells_is_named(tmp_path):
    write_pictures(tmp_path, "a,1.jpg")
    write_files(tmp_path, {"l.csv": "file,label\na,1.jpg,x\n"})
    with pytest.raises(SourceError, match=r"l.csv:2: 'a 1.jpg x'; expected 2 cells"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("head", "cells", "box"),
    [
        ("x0,y0,x1,y1", "1,2,11,22", (1, 2, 11, 22)),
        ("left,top,right,bottom", "1,2,11,22", (1, 2, 11, 22)),
        ("x,y,w,h", "1,2,10,20", (1, 2, 11, 22)),
        ("bbox", '"[1, 2, 11, 22]"', (1, 2, 11, 22)),
        ("box", "1 2 11 22", (1, 2, 11, 22)),
        ("bbox", "1 2 3", None),
        ("bbox", "5 5 5 5", None),
        ("bbox", "", None),
    ],
)
def test_boxes_are_hints_in_every_usual_spelling(tmp_path, head, cells, box):
    write_pictures(tmp_path, "1.jpg")
    write_files(tmp_path, {"l.csv": f"file,label,{head}\n1.jpg,a,{cells}\n"})
    reader, (item,) = listed(tmp_path)
    assert item.bbox == box
    assert bool(reader.remarks()) == (box is None and cells != "")


def test_options_name_columns_and_say_what_a_box_is(tmp_path):
    write_pictures(tmp_path, "1.jpg")
    write_files(tmp_path, {"l.csv": "Picture File,id,who,rect\n1.jpg,9,a,1 2 10 20\n"})
    _, (item,) = listed(tmp_path, path="picture file", identity="who", box="rect", sized=True)
    assert (item.identity, item.bbox) == ("a", (1, 2, 11, 22))
    with pytest.raises(SourceError, match=r"l.csv: has no column 'whom'; expected 'Picture File'"):
        listed(tmp_path, path="Picture File", identity="whom")
    with pytest.raises(SourceError, match=r"no column is a file: .*--option path=NAME"):
        listed(tmp_path)


def test_the_paths_may_start_from_a_folder_beside_the_list(tmp_path):
    write_pictures(tmp_path, "images/a/1.jpg", "other/b.jpg")
    write_files(tmp_path, {"lists/l.txt": "a/1.jpg 0\n"})
    _, (item,) = listed(tmp_path, list="lists/l.txt")
    assert item.source == "images/a/1.jpg"
    _, (item,) = listed(tmp_path, list="lists/l.txt", root="other")
    assert (item.source, item.reject) == ("other/a/1.jpg", "missing")


def test_files_that_the_list_does_not_name_are_counted(tmp_path):
    write_pictures(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    reader, _ = listed(write_files(tmp_path, {"l.txt": "2.jpg 0\n"}))
    assert reader.ignored()["files that the list does not name"] == 2


def test_rows_that_name_no_file_are_counted_and_those_that_name_no_one_rejected(tmp_path):
    write_pictures(tmp_path, "1.jpg")
    write_files(tmp_path, {"l.csv": "file,label\n,a\n1.jpg,\n"})
    reader, (item,) = listed(tmp_path)
    assert (item.reject, item.reject_detail) == ("unlisted", "its row names no one")
    assert reader.ignored()["rows that name no file"] == 1


def test_unlabeled_rows_need_no_one(tmp_path):
    write_pictures(tmp_path, "1.jpg")
    _, (item,) = listed(write_files(tmp_path, {"l.csv": "file,url\n1.jpg,u\n"}), kind="unlabeled")
    assert (item.identity, item.url, item.reject) == (None, "u", None)
    with pytest.raises(SourceError, match=r"no column is named as people are: 'file', 'url'"):
        listed(tmp_path)


def test_paths_that_lead_out_are_never_opened(tmp_path):
    raw = tmp_path / "raw"
    write_pictures(raw, "1.jpg")
    write_pictures(tmp_path, "secret.jpg")
    write_files(raw, {"l.txt": f"1.jpg 0\n../secret.jpg 1\n{tmp_path}/secret.jpg 2\n"})
    _, items = listed(raw)
    assert [item.reject for item in items] == [None, "missing", "missing"]
    assert "leads out of the raw folder" in items[1].reject_detail


def test_several_lists_are_not_guessed_among(tmp_path):
    write_files(tmp_path, {"a.csv": "", "b.csv": "", "1.jpg": draw_jpeg(0)})
    with pytest.raises(SourceError, match=r"holds 2 lists, a.csv, b.csv; expected one list"):
        listed(tmp_path)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list_is_named(tmp_path, text):
    write_files(tmp_path, {"l.csv": text, "m.jsonl": text})
    with pytest.raises(SourceError, match=r"l.csv: is empty; expected a list of pictures"):
        listed(tmp_path)
    with pytest.raises(SourceError, match=r"m.jsonl: is empty; expected JSON objects"):
        listed(tmp_path, "jsonl")


def test_a_list_inside_a_zip_is_read_with_its_pictures(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("l.txt", "a/1.jpg x\n")
        archive.writestr("a/1.jpg", draw_jpeg(0))
    _, (item,) = listed(tmp_path / "all.zip")
    assert (item.source, item.identity) == ("a/1.jpg", "x")


def test_json_lines_say_the_same_with_keys(tmp_path):
    reader, items = listed(own_jsonl(tmp_path), "jsonl")
    assert people(items) == [("images/0.jpg", "0"), ("images/1.jpg", "1")]
    assert len(items[0].landmarks) == 10
    assert reader.names() == {"0": "Person 0", "1": "Person 1"}


def test_json_values_of_every_kind_are_text_or_nothing(tmp_path):
    write_pictures(tmp_path, "1.jpg")
    rows = [
        {"file": "1.jpg", "label": 7, "landmarks": [[n, n] for n in range(5)]},
        {"file": "1.jpg", "label": None, "bbox": {"x": 1}},
        {"label": "x"},
        {"file": "2.jpg", "label": "\ud800"},
    ]
    write_files(tmp_path, {"l.jsonl": "\n".join(map(json.dumps, rows))})
    reader, items = listed(tmp_path, "jsonl")
    assert [(i.identity, i.reject) for i in items] == [
        ("7", None), (None, "unlisted"), ("\\ud800", "missing"),
    ]  # fmt: skip
    assert items[0].landmarks == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)
    assert reader.ignored()["rows that name no file"] == 1


def test_json_without_a_file_says_which_keys_there_are(tmp_path):
    write_files(tmp_path, {"l.jsonl": '{"picture": "1.jpg"}'})
    with pytest.raises(SourceError, match=r"no key is named as a file is: 'picture'; .*path=KEY"):
        listed(tmp_path, "jsonl")
    write_pictures(tmp_path, "1.jpg")
    assert len(listed(tmp_path, "jsonl", kind="unlabeled", path="picture")[1]) == 1


def test_the_published_cards_know_how_many_are_not_there(tmp_path):
    reader = open_reader(load_card("csv"), own_csv(tmp_path))
    assert sum(item.reject == "missing" for item in reader.items()) == 1


NAMES = st.text("ab é/\\,;\t#\"'.0", min_size=1, max_size=8)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5), st.sampled_from(["csv", "txt"]))
def test_whatever_a_list_says_is_items_or_an_error_of_ours(tmp_path_factory, rows, suffix):
    raw = tmp_path_factory.mktemp("raw")
    write_pictures(raw, "a/b.jpg")
    text = "".join(f"{path}.jpg,{who}\n" for path, who in [("a/b", "c"), *rows])
    try:
        assert listed(write_files(raw, {f"l.{suffix}": text}))[1]
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ways are fine


def test_magface_rows_may_have_spaces_in_their_paths(tmp_path):
    names = ("pictures/a b.jpg", "pictures/c.jpg")
    rows = "".join(f"{name} 0 {17 + n} 0\n" for n, name in enumerate(names))
    write_files(write_pictures(tmp_path, *names), {"list.txt": rows})
    _, items = listed(tmp_path)
    assert people(items) == [("pictures/a b.jpg", "17"), ("pictures/c.jpg", "18")]


def test_a_line_of_spaces_is_no_row(tmp_path):
    write_files(write_pictures(tmp_path, "1.jpg"), {"l.csv": "path,label\n  \n1.jpg,a\n   \n"})
    _, items = listed(tmp_path)
    assert people(items) == [("1.jpg", "a")]


def test_json_s_true_lists_and_objects_are_no_one_s_name(tmp_path):
    rows = [{"file": "1.jpg", "label": who} for who in (True, [1], {"a": 1}, None)]
    rows.append({"file": ["1.jpg"], "label": "a"})
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    write_files(write_pictures(tmp_path, "1.jpg"), {"l.jsonl": lines})
    reader, items = listed(tmp_path, "jsonl")
    assert [(item.identity, item.reject) for item in items] == [(None, "unlisted")] * 4
    assert reader.ignored()["rows that name no file"] == 1
