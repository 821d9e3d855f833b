import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forms import face_landmarks
from support.forms_lists import (
    asian_celeb,
    deepglint,
    lmk_row,
    paddle,
    trillion_pairs_part,
    trillion_pairs_test,
    v1c,
)
from support.raw import write_files, write_pictures

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import ItemError, SourceError
from fusekit.readers.item import EvaluationReader
from fusekit.readers.registry import open_reader


def opened(raw, kind="labeled", **options):
    form = CardForm(reader="trillion-pairs", options=options)
    return open_reader(Card(name="tp", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert len({item.source for item in items}) == len(items)
    for item in items:
        assert item.reject or len(reader.read(item)) == item.size
    return items


def test_the_list_gives_labels_and_landmarks_and_what_is_missing(tmp_path):
    reader = opened(v1c(tmp_path))
    *items, missing = listed(reader)
    assert [(item.source, item.identity) for item in items] == [
        ("msra/m.0107_f/1-FaceId-0_align.jpg", "0"), ("msra/m.0107_f/2-FaceId-0_align.jpg", "0"),
        ("msra/m.02x/1-FaceId-0_align.jpg", "1"), ("msra/m.02x/2-FaceId-0_align.jpg", "1"),
    ]  # fmt: skip
    assert [item.landmarks for item in items] == [face_landmarks(seed) for seed in range(4)]
    assert (missing.source, missing.identity) == ("msra/m.02x/99-FaceId-0_align.jpg", "1")
    assert (missing.reject, missing.reject_detail) == ("missing", "msra_lmk names it")
    assert reader.ignored() == {"lists that were read": 1}
    assert (reader.names(), reader.remarks()) == ({}, [])
    assert reader.numeric_identities


def test_both_parts_keep_the_labels_that_their_lists_have(tmp_path):
    items = listed(opened(deepglint(tmp_path)))
    assert {item.identity for item in items} == {"0", "1", "86876", "86901"}
    assert [item.reject for item in items].count("missing") == 2
    only = opened(tmp_path, lists=["celebrity_lmk.txt"])
    assert [item.reject for item in listed(only)].count("unlisted") == 5  # and msra_lmk itself


@pytest.mark.parametrize("root", ["", "msra"])
def test_the_list_s_first_folder_may_be_the_raw_folder_itself(tmp_path, root):
    v1c(tmp_path)
    (tmp_path / "msra_lmk").rename(tmp_path / "msra/msra_lmk")
    assert [item.identity for item in listed(opened(tmp_path / root))] == ["0", "0", "1", "1", "1"]


def test_a_list_without_the_first_folder_finds_its_pictures(tmp_path):
    rows = (v1c(tmp_path) / "msra_lmk").read_text().replace("msra/", "")
    write_files(tmp_path, {"msra_lmk": rows})
    assert [item.reject for item in listed(opened(tmp_path))] == [None] * 4 + ["missing"]


def test_pictures_that_no_list_names_are_unlisted(tmp_path):
    write_pictures(v1c(tmp_path), "msra/m.0107_f/9-FaceId-0_align.jpg")
    unlisted = [item for item in listed(opened(tmp_path)) if item.reject == "unlisted"]
    assert [(item.source, item.identity) for item in unlisted] == [
        ("msra/m.0107_f/9-FaceId-0_align.jpg", None)
    ]


def test_a_list_of_glint2lst_has_all_x_before_all_y(tmp_path):
    rows = []
    for line in (v1c(tmp_path) / "msra_lmk").read_text().splitlines():
        path, label, *points = line.split()
        words = ["0", f"/data/{path}", label, "0", "0", "0", "0", *points[::2], *points[1::2]]
        rows.append("\t".join(words) + "\n")
    (tmp_path / "msra_lmk").unlink()
    write_files(tmp_path, {"glint.lst": "".join(rows)})
    reader = open_reader(load_card("deepglint"), tmp_path)
    assert reader.form == "trillion-pairs"
    items = listed(reader)
    assert [item.landmarks for item in items[:4]] == [face_landmarks(seed) for seed in range(4)]
    assert items[4].source == "data/msra/m.02x/99-FaceId-0_align.jpg"


def test_the_test_set_has_no_identities_and_no_protocol(tmp_path):
    reader = open_reader(load_card("trillion-pairs"), trillion_pairs_test(tmp_path))
    items = listed(reader)
    assert [(item.identity, item.reject) for item in items] == [
        (None, None), (None, None), (None, "unlisted")
    ]  # fmt: skip
    assert items[1].landmarks == face_landmarks(1)
    assert isinstance(reader, EvaluationReader)
    assert reader.tables() == {}


def test_a_list_may_have_labels_alone(tmp_path):
    reader = opened(paddle(tmp_path), lists=["label.txt"])
    assert [(item.identity, item.landmarks) for item in listed(reader)] == [
        ("0", None), ("0", None), ("1", None)
    ]  # fmt: skip


def test_labels_may_be_texts(tmp_path):
    write_files(write_pictures(tmp_path, "a/1.jpg"), {"label.txt": "a/1.jpg\tAnn\n"})
    reader = opened(tmp_path, lists=["label.txt"])
    assert [item.identity for item in listed(reader)] == ["Ann"]
    assert not reader.numeric_identities


def test_landmarks_that_are_no_numbers_are_told_and_not_used(tmp_path):
    row = lmk_row("a/1.jpg", 3, 0).replace(" ", "\t").rsplit("\t", 1)[0] + "\tnan\n"
    write_files(write_pictures(tmp_path, "a/1.jpg"), {"x.lst": row})
    reader = opened(tmp_path)
    assert [(item.identity, item.landmarks) for item in listed(reader)] == [("3", None)]
    assert reader.remarks() == ["1 rows of the lists have landmarks that are no numbers: not used"]


def test_repeated_rows_and_rows_of_no_path_are_counted(tmp_path):
    row = lmk_row("msra/m.0107_f/1-FaceId-0_align.jpg", 5, 3)
    with (v1c(tmp_path) / "msra_lmk").open("a") as file:
        file.write(row + lmk_row("nothing", 5, 3))
    reader = opened(tmp_path)
    assert listed(reader)[0].identity == "0"
    assert reader.ignored() == {
        "repeated rows of the lists": 1, "rows of the lists that are no paths": 1,
        "lists that were read": 1,
    }  # fmt: skip


def test_other_lists_and_junk_are_counted(tmp_path):
    write_files(asian_celeb(tmp_path), {"readme.txt": "x", ".DS_Store": b"", "celebrity/a.csv": ""})
    reader = opened(tmp_path)
    listed(reader)
    assert reader.ignored()["lists and metadata (by suffix)"] >= 2


def test_a_path_of_a_list_never_leads_out_of_the_raw_folder(tmp_path):
    write_pictures(tmp_path, "outside.jpg")
    rows = lmk_row("../outside.jpg", 1, 0) + lmk_row("/etc/passwd.jpg", 1, 0)
    write_files(tmp_path / "raw", {"msra_lmk": rows, "a.jpg": b""})
    reader = opened(tmp_path / "raw")
    assert [(item.source, item.reject) for item in reader.items()] == [
        ("a.jpg", "unlisted"), ("../outside.jpg", "missing"), ("etc/passwd.jpg", "missing")
    ]  # fmt: skip
    with pytest.raises(ItemError, match="leads out of the raw folder"):
        reader.read(list(reader.items())[1])


def test_a_broken_row_is_named_by_its_line(tmp_path):
    with (v1c(tmp_path) / "msra_lmk").open("a") as file:
        file.write("msra/m.02x/3.jpg 1 2 3\n")
    with pytest.raises(SourceError, match=re.escape("msra_lmk:6: 'msra/m.02x/3.jpg 1 2 3'; expe")):
        list(opened(tmp_path).items())


def test_a_list_without_labels_labels_nothing(tmp_path):
    with pytest.raises(SourceError, match=r"testdata_lmk.txt: has no labels; expected rows such"):
        list(opened(trillion_pairs_test(tmp_path), lists=["testdata_lmk.txt"]).items())


@given(st.data())
def test_a_mutated_list_gives_items_or_an_error_of_ours(data):
    with TemporaryDirectory() as folder:
        raw = Path(folder)
        write_files(raw, {f"msra/m.{n}/1.jpg": b"x" for n in range(3)})
        rows = bytearray("".join(lmk_row(f"msra/m.{n}/1.jpg", n, n) for n in range(4)).encode())
        for _ in range(data.draw(st.integers(1, 5))):
            rows[data.draw(st.integers(0, len(rows) - 1))] = data.draw(st.integers(0, 255))
        (raw / "msra_lmk").write_bytes(rows[: data.draw(st.integers(0, len(rows)))])
        with suppress(SourceError):
            items = listed(opened(raw.resolve()))
            assert len([item for item in items if item.reject != "missing"]) == 3


def test_a_folder_without_lists_is_refused(tmp_path):
    write_pictures(tmp_path, "msra/a/1.jpg")
    with pytest.raises(SourceError, match=r"no list of pictures was found; expected msra_lmk or"):
        list(opened(tmp_path).items())


def test_people_with_one_number_in_both_lists_are_one(tmp_path):
    trillion_pairs_part(tmp_path, "msra", {"a": 4})
    trillion_pairs_part(tmp_path, "celebrity", {"b": 4})
    assert {item.identity for item in listed(opened(tmp_path))} == {"4"}


def test_the_list_is_found_a_few_folders_down(tmp_path):
    # Otherwise the same folders would be taken for unpacked ones, with other identities.
    v1c(tmp_path / "MS1M/v1c")
    reader = open_reader(load_card("ms1m"), tmp_path)
    assert reader.form == "ms1m-v1c"
    *items, missing = listed(reader)
    assert [item.identity for item in items] == ["0", "0", "1", "1"]
    assert [item.landmarks for item in items] == [face_landmarks(seed) for seed in range(4)]
    assert missing.reject == "missing"
