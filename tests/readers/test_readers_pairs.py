"""What the readers of evaluation trees share: looking for lists, reading rows, making tables."""

import shutil
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.evaluation import listed, pairs
from support.forms_evaluation import (
    agedb_package,
    calfw_release,
    cfp_release,
    lfw_release,
    rfw_release,
)
from support.raw import write_files, write_pictures

from fusekit.errors import FusekitError, SourceError
from fusekit.readers.tables import rows as rows_module
from fusekit.readers.tables.pairs import Pair, PairTable, even_folds
from fusekit.readers.tables.rows import read_lfw_pairs, read_rows
from fusekit.readers.trees.places import find_files, find_folders
from fusekit.readers.trees.tree import open_tree
from fusekit.schema import PLAN_PAIRS_SCHEMA


def tree(root):
    return open_tree(root, Counter())


def test_the_list_nearest_to_the_root_is_found_in_any_case(tmp_path):
    write_files(tmp_path, {"a/b/pairs.txt": "", "z/Pairs.TXT": "", "z/other.txt": ""})
    assert find_files(tree(tmp_path), {"pairs.txt", "gone.txt"}) == {"pairs.txt": "z/Pairs.TXT"}


def test_looking_counts_nothing_and_enters_no_wide_folder(tmp_path):
    write_files(tmp_path, {f"people/p{n:03}/pairs.txt": "" for n in range(65)})
    write_files(tmp_path, {"few/p/pairs.txt": "", ".DS_Store": ""})
    ignored = Counter(before=1)
    here = open_tree(tmp_path, ignored)
    assert find_files(here, {"pairs.txt"}) == {"pairs.txt": "few/p/pairs.txt"}
    assert ignored == {"before": 1}


def test_below_a_folder_that_fits_none_is_looked_for(tmp_path):
    write_files(tmp_path, {"a/b/x": "", "b/b/x": ""})
    found = find_folders(tree(tmp_path), lambda folder, _: folder.endswith("b"))
    assert found == ["b", "a/b"]


def test_rows_lose_bom_blank_lines_and_line_ends_and_keep_their_numbers(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfZoe\xcc\x81 1\r\n\r\n  b\t\n\xff")
    rows = list(read_rows(tree(tmp_path), "list.txt"))
    assert [(row.line, row.text) for row in rows] == [(1, "Zoé 1"), (3, "b"), (4, "�")]


def test_a_list_of_far_too_many_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_MAX_LINES", 3)
    write_files(tmp_path, {"a.txt": "x\n" * 3, "b.txt": "x\n" * 4})
    assert len(list(read_rows(tree(tmp_path), "a.txt"))) == 3
    with pytest.raises(SourceError, match=r"b\.txt: more than 3 lines; expected a protocol"):
        list(read_rows(tree(tmp_path), "b.txt"))


def test_tabs_allow_spaces_in_names(tmp_path):
    write_files(tmp_path, {"a.txt": "1 1\nAnn Lee\t1\t02\n"})
    listed_pairs = read_lfw_pairs(tree(tmp_path), "a.txt")
    assert listed_pairs.head == (1, 1)
    assert listed_pairs.pairs == [Pair(True, "Ann Lee/Ann Lee_0001", "Ann Lee/Ann Lee_0002")]


@given(st.integers(0, 5_000))
def test_even_folds_are_ten_runs_that_differ_by_one_at_most(count):
    folds = even_folds(count)
    assert folds == sorted(folds)
    assert len(folds) == count
    sizes = [folds.count(fold) for fold in range(1, 11)]
    assert count < 10 or max(sizes) - min(sizes) <= 1


def test_a_table_has_the_schema_and_the_first_item_of_each_stem():
    table = PairTable()
    assert not table
    table.add("p", [Pair(True, "a", "b"), Pair(False, "b", "c")], [1, 2])
    table.add("q", [Pair(True, "a", "a")], [0], main=False)
    table.expect("é")
    for stem, source in (("a", "a.jpg"), ("b", "b.jpg"), ("b", "b.png"), ("x", "x.jpg")):
        table.found(stem, source)
    assert table.missing() == ["c", "é"]
    table.found("c", "c.jpg")
    batches = list(table.batches())
    assert all(batch.schema.equals(PLAN_PAIRS_SCHEMA) for batch in batches)
    assert [tuple(row.values()) for batch in batches for row in batch.to_pylist()] == [
        ("p", True, 1, True, "a.jpg", "b.jpg"), ("p", True, 2, False, "b.jpg", "c.jpg"),
        ("q", False, 0, True, "a.jpg", "a.jpg"),
    ]  # fmt: skip


def test_lists_that_lead_out_of_the_raw_folder_are_not_read(tmp_path):
    write_pictures(tmp_path / "raw", "lfw/A/A_0001.jpg")
    write_files(tmp_path, {"pairs.txt": "secret"})
    (tmp_path / "raw/pairs.txt").symlink_to(tmp_path / "pairs.txt")
    reader, items = listed("lfw", tmp_path / "raw")
    assert len(items) == 1
    assert reader.tables() == {}
    assert reader.ignored()["links that leave the raw folder"] == 1


CASES = [
    ("lfw", lfw_release, ("pairs.txt", "pairsDevTest.txt", "lfw_landmark.txt")),
    ("cfp-fp", cfp_release, ("Pair_list_F.txt", "same.txt", "list_names.txt")),
    ("agedb-30", agedb_package, ("04_FINAL_protocol_30_years.mat", "MariaCallas_x_0_35_f.pts")),
    ("calfw", calfw_release, ("pairs_CALFW.txt", "Aaron_Eckhart_0001_5loc_attri.txt")),
    ("rfw", rfw_release, ("African_pairs.txt", "Asian_lmk.txt")),
]
NAMES = [case[0] for case in CASES]


@pytest.mark.parametrize("kind", ["zip", "gztar"])
@pytest.mark.parametrize(("card", "build"), [case[:2] for case in CASES], ids=NAMES)
def test_an_archive_gives_what_its_folder_gives(tmp_path, card, build, kind):
    raw = build(tmp_path / "raw")
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, raw)
    reader, items = listed(card, raw, "originals")
    again, packed_items = listed(card, tmp_path / packed, "originals")
    known = [(item.source, item.size, item.identity, item.split) for item in items]
    assert [(i.source, i.size, i.identity, i.split) for i in packed_items] == known
    assert pairs(again) == pairs(reader)
    assert again.names() == reader.names()
    assert again.ignored() == reader.ignored()
    points = [item.landmarks for item in packed_items]
    if points != [item.landmarks for item in items]:
        assert set(points) == {None}
        assert "landmarks in a compressed archive are not read" in " ".join(again.remarks())


@pytest.mark.parametrize(("card", "build", "names"), CASES, ids=NAMES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_changed_and_cut_lists_give_pairs_or_one_line_errors(tmp_path, card, build, names, draw):
    root = tmp_path / "raw"
    if not root.exists():
        build(root)
    path = min(root.rglob(draw.draw(st.sampled_from(names))))
    before = path.read_bytes()
    changed = bytearray(before[: draw.draw(st.integers(0, len(before)))])
    for at, byte in draw.draw(st.lists(st.tuples(st.integers(0, 4_000), st.binary(max_size=9)))):
        changed[at : at + len(byte)] = byte
    path.write_bytes(changed)
    try:
        with suppress(FusekitError):
            reader, items = listed(card, root)
            sources = {item.source for item in items}
            for row in pairs(reader):
                assert {row["source_a"], row["source_b"]} <= sources
            reader.names()
    finally:
        path.write_bytes(before)
