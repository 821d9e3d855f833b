import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.readers.tables.listed_files import (
    FileIndex,
    ListedFile,
    best_base,
    inside,
    join_rows,
    path_of,
    plain_suffix,
    repeated,
    source_of,
    unlisted,
)
from fusekit.readers.trees.walk import Entry


def entries(*paths):
    return [Entry(p.rpartition("/")[2], p, False, len(p), n) for n, p in enumerate(paths)]


def joined(rows, paths, missing="reject", *, by_line=True):
    ignored = Counter()
    index = FileIndex(entries(*paths))
    again = repeated(plain_suffix(row.path) if by_line else source_of(row) for row in rows)
    items = list(join_rows(rows, index, ignored, missing, again, by_line=by_line))
    return items, dict(ignored), index


@given(st.sets(st.text("ab/.é", min_size=1, max_size=6)), st.sets(st.text("ab/.é", max_size=6)))
def test_a_file_is_found_exactly_when_it_is_there(there, asked):
    index = FileIndex(entries(*there))
    spelt = {unicodedata.normalize("NFC", path): path for path in there}
    for path, found in zip(asked, index.find(list(asked)), strict=True):
        assert (found is not None) == (path in spelt)
        assert found is None or found[:2] == (spelt[path], len(spelt[path]))
    assert len(index) == len(there)
    assert index.unnamed == len(there - asked)
    assert index.count(list(asked)) == len(asked & there)


def test_a_name_is_found_in_either_unicode_form_and_read_as_it_is_on_disk():
    disk = unicodedata.normalize("NFD", "Zoë/1.jpg")
    (found,) = FileIndex(entries(disk)).find(["Zoë/1.jpg"])
    assert found[0] == disk


def test_a_row_is_an_item_in_the_order_of_the_rows():
    items, _, _ = joined([ListedFile("b", 1, "x"), ListedFile("a", 2, "y")], ["a", "b"])
    assert [(i.source, i.identity, i.offset, i.size) for i in items] == [
        ("b", "x", 1, 1), ("a", "y", 0, 1),
    ]  # fmt: skip


def test_rows_of_one_file_are_told_apart_by_their_lines():
    rows = [ListedFile("a", 1, "x"), ListedFile("b", 2, "y"), ListedFile("a", 3, "z")]
    items, _, _ = joined(rows, ["a", "b"])
    assert [item.source for item in items] == ["a#1", "b", "a#3"]
    assert [path_of(item) for item in items] == ["a", "b", "a"]


@given(st.lists(st.sampled_from(["a", "a#2", "a#2#3", "b"]), max_size=8))
def test_sources_are_unique_whatever_the_paths(paths):
    items, _, _ = joined([ListedFile(p, n) for n, p in enumerate(paths, 1)], ["a", "a#2"])
    assert len({item.source for item in items}) == len(paths)
    assert [path_of(item) for item in items] == paths


def test_a_marked_row_that_comes_again_is_counted_and_left_out():
    rows = [ListedFile("a", n, mark=mark) for n, mark in enumerate(("1,2", "3,4", "1,2"), 1)]
    items, ignored, _ = joined(rows, ["a"], by_line=False)
    assert [item.source for item in items] == ["a#1,2", "a#3,4"]
    assert ignored == {"rows that say again what a row before them says": 1}


def test_a_row_without_its_file_is_missing_or_counted():
    rows = [ListedFile("gone", 1, "x"), ListedFile("../up", 2), ListedFile("/etc/passwd", 3)]
    items, _, _ = joined(rows, ["a"])
    assert [(i.reject, i.reject_detail) for i in items] == [
        ("missing", "a list names it, but it is not there"),
        ("missing", "a list names it, but it leads out of the raw folder"),
        ("missing", "a list names it, but it leads out of the raw folder"),
    ]
    assert joined(rows, ["a"], "count")[:2] == ([], {"rows whose file is not there": 3})


def test_a_row_that_can_t_be_used_rejects_its_file():
    ((item,), _, _) = joined([ListedFile("a", 1, unlisted="its row names no one")], ["a"])
    assert (item.reject, item.reject_detail) == ("unlisted", "its row names no one")


def test_files_that_no_row_names_are_rejected_as_unlisted():
    _, _, index = joined([ListedFile("a", 1)], ["a", "b"])
    (item,) = unlisted(entries("a", "b"), index, "no list names it")
    assert (item.source, item.reject, item.reject_detail) == ("b", "unlisted", "no list names it")


def test_the_base_is_the_one_that_has_the_files():
    index = FileIndex(entries("images/a", "images/b", "other/a"))
    assert best_base(index, ["", "other", "images"], ["a", "b"]) == "images"
    assert best_base(index, ["first", "second"], ["a"]) == "first"


@pytest.mark.parametrize("path", ["", ".", "..", "/a", "../a", "a/../..", "a/../../b"])
def test_a_path_that_leads_out_is_none(path):
    assert inside(path) is None


def test_a_suffix_in_the_other_case_names_the_file_unless_one_has_that_very_name():
    index = FileIndex(entries("a.JPG", "b.jpg", "c.png", "c.PNG", "A/d.jpg", "README"))
    asked = ["a.jpg", "b.JPG", "c.png", "c.PNG", "a/d.jpg", "readme", "a.Jpg"]
    assert index.count(asked) == 5
    found = index.find(asked)
    assert [file and file[0] for file in found] == [
        "a.JPG", "b.jpg", "c.png", "c.PNG", None, None, "a.JPG"
    ]  # fmt: skip
    assert index.is_named("a.JPG")
    assert index.unnamed == 2


@pytest.mark.parametrize("by_line", [True, False])
def test_rows_that_name_one_file_by_suffixes_of_two_cases_give_two_sources(by_line):
    rows = [ListedFile("a.jpg", 1, mark="1"), ListedFile("a.JPG", 2, mark="2")]
    items, _, _ = joined(rows, ["a.JPG"], by_line=by_line)
    assert [item.source for item in items] == ["a.JPG#1", "a.JPG#2"]


def test_marked_rows_that_say_the_same_in_another_case_of_the_suffix_are_one_item():
    rows = [ListedFile("a.jpg", 1, mark="1"), ListedFile("a.JPG", 2, mark="1")]
    items, ignored, _ = joined(rows, ["a.JPG"], by_line=False)
    assert [item.source for item in items] == ["a.JPG#1"]
    assert ignored == {"rows that say again what a row before them says": 1}
