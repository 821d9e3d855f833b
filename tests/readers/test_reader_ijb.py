import re
import time
from io import BytesIO

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forms import face_landmarks, face_photo
from support.forms_packages import ijb_package
from support.raw import write_files

from fusekit.cards.card import Form
from fusekit.errors import FusekitError, SourceError
from fusekit.readers.ijb import IjbReader
from fusekit.readers.tables.ijb_lists import TidyLines
from fusekit.schema import PLAN_TEMPLATES_SCHEMA, SEARCHES_SCHEMA, TEMPLATE_PAIRS_SCHEMA

LISTS = "meta/ijbc_"


def a_form(release="ijbc"):
    options = {"release": release}
    return Form("package", "ijb", False, "arcface-112", (112, 112), "best", options)


def opened(raw, release="ijbc"):
    return IjbReader(raw.resolve(), "evaluation", a_form(release))


def rows_of(reader, table):
    return [row for batch in reader.tables()[table] for row in batch.to_pylist()]


@pytest.fixture
def package(tmp_path):
    return ijb_package(tmp_path / "IJBC", "ijbc")


def by_source(reader):
    return {item.source: item for item in reader.items()}


def test_crops_have_their_subject_and_points_and_are_read_as_they_lie(package):
    reader = opened(package)
    items = by_source(reader)
    assert [items[f"loose_crop/{n}.jpg"].identity for n in (1, 2, 3, 4, 5)] == [
        "20", "20", "20", "3", "3",
    ]  # fmt: skip
    assert items["loose_crop/3.jpg"].landmarks == face_landmarks(3)
    assert reader.read(items["loose_crop/3.jpg"]) == face_photo(3)
    assert items["loose_crop/3.jpg"].size == len(face_photo(3))


def test_what_is_not_there_is_missing_and_what_no_list_names_is_unlisted(package):
    items = by_source(opened(package))
    rejects = {s: (i.reject, i.size, i.reject_detail) for s, i in items.items() if i.reject}
    assert rejects == {
        "loose_crop/5.jpg": (
            "missing", 0, "named by meta/ijbc_face_tid_mid.txt, but not there",
        ),
        "loose_crop/9.jpg": (
            "unlisted", len(face_photo(9)), "not named by meta/ijbc_face_tid_mid.txt",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("place", ["", "IJBC", "IJB_release/IJBC", "more/IJB_release/ijbc"])
def test_the_package_is_found_below_any_folder(tmp_path, place):
    ijb_package(tmp_path / place, "ijbc")
    assert IjbReader.fits(tmp_path, a_form())
    prefix = f"{place}/" if place else ""
    assert f"{prefix}loose_crop/1.jpg" in by_source(opened(tmp_path))


def test_of_two_packages_the_cards_own_is_taken_and_the_other_counted(tmp_path):
    for name in ("IJBB", "IJBC"):
        ijb_package(tmp_path / "IJB_release" / name, name.lower())
    (tmp_path / "readme.txt").write_text("")
    assert IjbReader.fits(tmp_path, a_form("ijbb"))
    reader = opened(tmp_path, "ijbc")
    assert {source.split("/")[1] for source in by_source(reader)} == {"IJBC"}
    assert reader.ignored() == {
        "lists and metadata": 6, "folders beside the package": 1, "files beside the package": 1,
    }  # fmt: skip


def test_the_tables_are_in_their_schemas_and_the_lists_order(package):
    reader = opened(package)
    sources = set(by_source(reader))
    for table, schema in {
        "templates": PLAN_TEMPLATES_SCHEMA, "template_pairs": TEMPLATE_PAIRS_SCHEMA,
        "searches": SEARCHES_SCHEMA,
    }.items():  # fmt: skip
        assert next(reader.tables()[table]).schema == schema
    templates = rows_of(reader, "templates")
    assert [(row["template"], row["media"]) for row in templates] == [
        (1, "69544"), (1, "69545"), (11065, "7"), (187955, "7"), (187955, "111105"),
    ]  # fmt: skip
    assert {row["source"] for row in templates} <= sources
    assert [round(row["score"], 2) for row in templates] == [0.91, 0.92, 0.93, 0.94, 0.95]
    assert [tuple(row.values()) for row in rows_of(reader, "template_pairs")] == [
        (1, 11065, True), (1, 187955, False),
    ]  # fmt: skip


def test_a_template_of_many_rows_of_a_gallery_is_searched_once(package):
    assert [tuple(row.values()) for row in rows_of(opened(package), "searches")] == [
        ("gallery-1", 1, "20"), ("gallery-2", 187955, "3"), ("probe", 11065, "20"),
    ]  # fmt: skip


def test_leading_zeros_of_a_subject_are_kept(package):
    write_files(package, {f"{LISTS}1N_gallery_G1.csv": "TEMPLATE_ID,SUBJECT_ID\r\n1,0020\r\n"})
    assert by_source(opened(package))["loose_crop/1.jpg"].identity == "0020"


def test_a_second_subject_of_a_template_is_remarked_and_the_first_counts(package):
    write_files(package, {f"{LISTS}1N_gallery_G1.csv": "T,S\n1,20\n1,21\n1,21\n"})
    reader = opened(package)
    assert by_source(reader)["loose_crop/1.jpg"].identity == "20"
    assert reader.remarks() == ["1 rows of the 1:N lists give a template a second subject"]


def test_a_pair_of_templates_without_crops_is_remarked_and_kept(package):
    write_files(package, {f"{LISTS}template_pair_label.txt": "1 11065 1\n5 6 0\n"})
    reader = opened(package)
    list(reader.items())
    assert len(rows_of(reader, "template_pairs")) == 2
    assert reader.remarks() == ["1 pairs name a template without crops"]


def test_without_the_other_lists_crops_and_templates_remain(package):
    for path in (package / "meta").glob("ijbc_[!f]*"):
        path.unlink()
    reader = opened(package)
    items = by_source(reader)
    assert (items["loose_crop/1.jpg"].identity, items["loose_crop/1.jpg"].landmarks) == (None, None)
    assert list(reader.tables()) == ["templates"]
    assert {row["score"] for row in rows_of(reader, "templates")} == {None}
    assert reader.remarks() == [
        f"ijbc_{name} is not there"
        for name in (
            "name_5pts_score.txt", "template_pair_label.txt", "1N_gallery_G1.csv",
            "1N_gallery_G2.csv", "1N_probe_mixed.csv",
        )
    ]  # fmt: skip


def test_without_the_list_of_crops_it_is_no_package(package):
    (package / "meta/ijbc_face_tid_mid.txt").unlink()
    assert not IjbReader.fits(package, a_form())
    with pytest.raises(SourceError, match=r"no IJB package .*loose_crop and meta/ijbc_face_tid"):
        list(opened(package).items())


def test_rows_that_do_not_belong_together_are_an_error_with_their_place(package):
    path = package / f"{LISTS}name_5pts_score.txt"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([rows[0], rows[2], rows[1], *rows[3:]]))
    match = r"5pts_score\.txt:2: '3\.jpg' where meta/ijbc_face_tid_mid\.txt has '2\.jpg'"
    with pytest.raises(SourceError, match=match):
        list(opened(package).items())
    path.write_text("".join(rows[:3]))
    with pytest.raises(SourceError, match=r"has 3 rows, and meta/ijbc_face_tid_mid\.txt 5"):
        list(opened(package).items())


def test_a_crop_of_two_templates_is_one_item(package):
    listed = "1.jpg 1 7\n2.jpg 11065 8\n1.jpg 187955 9\n5.jpg 1 7\n5.jpg 187955 9\n"
    write_files(package, {f"{LISTS}face_tid_mid.txt": listed})
    (package / f"{LISTS}name_5pts_score.txt").unlink()
    reader = opened(package)
    items = [item for item in reader.items() if item.reject != "unlisted"]
    assert [(item.source[11:], item.identity, item.reject) for item in items] == [
        ("1.jpg", "20", None), ("2.jpg", "20", None), ("5.jpg", "20", "missing"),
    ]  # fmt: skip
    assert len(rows_of(reader, "templates")) == 5


def test_points_that_are_no_numbers_give_no_hint(package):
    path = package / f"{LISTS}name_5pts_score.txt"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f"1.jpg {'nan ' * 10}0.1\n{rest}")
    assert first.startswith("1.jpg")
    assert by_source(opened(package))["loose_crop/1.jpg"].landmarks is None


def test_a_name_that_leads_out_of_the_folder_is_a_missing_crop(package):
    (package / "secret.jpg").write_bytes(b"secret")
    path = package / f"{LISTS}face_tid_mid.txt"
    path.write_text(path.read_text().replace("5.jpg", "../secret.jpg"))
    (package / f"{LISTS}name_5pts_score.txt").unlink()
    items = by_source(opened(package))
    assert items["loose_crop/../secret.jpg"].reject == "missing"


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("face_tid_mid.txt", "1.jpg 1\n", r"tid_mid\.txt: can't be read \(.*Expected 3 columns"),
        ("face_tid_mid.txt", "1.jpg one 2\n", r"rows of name, template, media"),
        ("face_tid_mid.txt", "", r"face_tid_mid\.txt: can't be read \(Empty CSV file\)"),
        ("face_tid_mid.txt", "\xff\n", r"can't be read"),
        ("name_5pts_score.txt", "1.jpg 1 2 3\n", r"5pts_score\.txt: can't be read"),
        ("1N_probe_mixed.csv", "T,S\nx,y\n", r"1N_probe_mixed\.csv: can't be read"),
        ("1N_probe_mixed.csv", "T\n1\n", r"1N_probe_mixed\.csv: can't be read"),
        ("template_pair_label.txt", "1 2 1\n1 3 2\n", r"label\.txt:2: a label of 2; expected 0"),
        ("template_pair_label.txt", "1 2 900\n", r"template_pair_label\.txt: can't be read"),
    ],
)
def test_a_damaged_list_is_one_line(package, name, text, match):
    write_files(package, {f"{LISTS}{name}": text.encode("latin-1")})
    with pytest.raises(SourceError, match=match):
        read_everything(opened(package))


def read_everything(reader):
    list(reader.items())
    for batches in reader.tables().values():
        for batch in batches:
            batch.validate(full=True)


@given(
    st.sampled_from(["face_tid_mid.txt", "name_5pts_score.txt", "1N_probe_mixed.csv"]),
    st.integers(0, 120), st.binary(max_size=6), st.booleans(),
)  # fmt: skip
def test_mutated_lists_are_read_or_refused(tmp_path_factory, name, at, new, cut):
    package = ijb_package(tmp_path_factory.mktemp("ijb"), "ijbc")
    path = package / f"{LISTS}{name}"
    data = path.read_bytes()
    path.write_bytes(data[:at] + new + (b"" if cut else data[at + len(new) :]))
    try:
        read_everything(opened(package))
    except FusekitError as error:
        found = str(error)
        assert "\n" not in found


def test_a_package_of_few_of_its_crops_is_listed_as_quickly(package):
    rows = "".join(f"{n}.jpg {n} {n}\n" for n in range(100_000))
    write_files(package, {f"{LISTS}face_tid_mid.txt": rows})
    (package / f"{LISTS}name_5pts_score.txt").unlink()
    started = time.monotonic()
    assert sum(item.reject == "missing" for item in opened(package).items()) == 100_000 - 5
    assert time.monotonic() - started < 20


def test_millions_of_template_pairs_stream(package):
    count = 1_000_000
    pairs = package / f"{LISTS}template_pair_label.txt"
    pairs.write_text("1 11065 1\n1 187955 0\n" * (count // 2))
    reader, before = opened(package), pa.total_allocated_bytes()
    list(reader.items())
    started, rows, most = time.monotonic(), 0, 0
    for batch in reader.tables()["template_pairs"]:
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == count
    assert most < 64 << 20
    assert time.monotonic() - started < 10


def test_suffixes_in_upper_case_are_those_of_the_lists(package):
    for n in (1, 9):
        (package / f"loose_crop/{n}.jpg").rename(package / f"loose_crop/{n}.JPG")
    reader = opened(package)
    items = by_source(reader)
    assert items["loose_crop/1.JPG"].identity == "20"
    assert items["loose_crop/9.JPG"].reject == "unlisted"
    assert [s for s, i in items.items() if i.reject == "missing"] == ["loose_crop/5.jpg"]
    assert [row["source"] for row in rows_of(reader, "templates")][:2] == [
        "loose_crop/1.JPG", "loose_crop/2.jpg",
    ]  # fmt: skip


def test_of_two_files_that_differ_in_case_the_listed_one_counts(package):
    write_files(package, {"loose_crop/1.JPG": face_photo(1)})
    reader = opened(package)
    items = by_source(reader)
    assert (items["loose_crop/1.JPG"].reject, items["loose_crop/1.jpg"].reject) == (
        "unlisted",
        None,
    )
    assert rows_of(reader, "templates")[0]["source"] == "loose_crop/1.jpg"


def test_crops_whose_names_are_spelt_in_pieces_are_those_of_their_templates(package):
    listed = package / f"{LISTS}face_tid_mid.txt"
    write_files(package, {f"{LISTS}face_tid_mid.txt": "\u00e9.jpg 1 7\n"})
    (package / f"{LISTS}name_5pts_score.txt").unlink()
    write_files(package, {"loose_crop/e\u0301.jpg": face_photo(1)})
    assert listed.is_file()
    reader = opened(package)
    kept = [s for s, i in by_source(reader).items() if not i.reject]
    assert [row["source"] for row in rows_of(reader, "templates")] == kept


@pytest.mark.parametrize("end", [" ", "  ", "\t", " \r"])
def test_spaces_at_the_ends_of_lines_are_no_cells(package, end):
    plain = rows_of(opened(package), "templates"), rows_of(opened(package), "template_pairs")
    for path in (package / "meta").glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", f"{end}\n".encode()))
    spaced = opened(package)
    assert (rows_of(spaced, "templates"), rows_of(spaced, "template_pairs")) == plain


def test_a_list_of_one_row_needs_no_end_of_its_line(package):
    write_files(package, {f"{LISTS}1N_gallery_G2.csv": "TEMPLATE_ID,SUBJECT_ID\n187955,3"})
    assert ("gallery-2", 187955, "3") in [
        tuple(row.values()) for row in rows_of(opened(package), "searches")
    ]


@given(st.binary(max_size=64), st.integers(1, 9))
def test_lines_are_tidied_alike_however_they_are_read(data, size):
    data = bytes(b" \t\r\n1a"[byte % 6] for byte in data)
    lines, pieces = TidyLines(BytesIO(data)), []
    while piece := lines.read(size):
        pieces.append(piece)
    tidy = re.sub(rb"[ \t]+(?=\r?\n)", b"", data).rstrip(b" \t\r")
    assert b"".join(pieces) == tidy + b"\n" * (tidy[-1:] not in (b"", b"\n"))


def test_a_list_of_nothing_but_spaces_is_read_in_bounded_time_and_memory():
    started = time.process_time()
    lines = TidyLines(BytesIO(b" " * (40 << 20)))
    while lines.read(1 << 22):
        assert len(lines._held) <= 2 << 22
    assert time.process_time() - started < 5
