import shutil
import unicodedata

import pytest
from support.archives import files_of, write_tar
from support.evaluation import listed, pairs, short
from support.forms import face_landmarks
from support.forms_evaluation import LFW_PAIRS, lfw_crops, lfw_narrow_crops, lfw_release, lfw_tree
from support.raw import draw_jpeg, write_files, write_pictures

from fusekit.errors import CardError, SourceError


def small_tree(root, folder="lfw"):
    return lfw_tree(root, folder, draw=lambda seed: draw_jpeg(seed, 24))


def test_lfw_is_read_in_its_real_layout(tmp_path):
    reader, items = listed("lfw", lfw_release(tmp_path))
    assert reader.form == "originals"
    assert [(item.source, item.identity) for item in items[:2]] == [
        ("lfw_funneled/Aaron_Peirsol/Aaron_Peirsol_0001.jpg", "Aaron_Peirsol"),
        ("lfw_funneled/Aaron_Peirsol/Aaron_Peirsol_0002.jpg", "Aaron_Peirsol"),
    ]
    # six lists, the stray one among the person folders too
    assert reader.ignored() == {"lists and metadata (by suffix)": 6}
    assert reader.remarks() == []
    assert reader.names() == {}


def test_folds_are_the_blocks_of_rows_that_the_first_line_tells(tmp_path):
    reader, _ = listed("lfw", lfw_release(tmp_path))
    assert short([row for row in pairs(reader) if row["main"]]) == [
        (1, True, "Aaron_Peirsol_0001", "Aaron_Peirsol_0002"),
        (1, False, "Aaron_Peirsol_0001", "Zurab_Tsereteli_0001"),
        (2, True, "Aaron_Peirsol_0003", "Aaron_Peirsol_0004"),
        (2, False, "Jean-Pierre_Raffarin_0002", "Zurab_Tsereteli_0007"),
    ]


def test_the_development_lists_are_protocols_beside_the_main_one(tmp_path):
    reader, _ = listed("lfw", lfw_release(tmp_path))
    rows = {(row["protocol"], row["main"], row["fold"]) for row in pairs(reader)}
    assert rows == {
        ("view-2", True, 1), ("view-2", True, 2), ("dev-train", False, 0), ("dev-test", False, 0),
    }  # fmt: skip


def test_a_picture_that_only_the_list_names_is_a_missing_item_and_its_pair_stays(tmp_path):
    reader, items = listed("lfw", lfw_release(tmp_path))
    (missing,) = [item for item in items if item.reject]
    assert missing.source == "lfw_funneled/Zurab_Tsereteli/Zurab_Tsereteli_0007.jpg"
    assert (missing.reject, missing.size, missing.identity) == ("missing", 0, "Zurab_Tsereteli")
    assert pairs(reader)[3]["source_b"] == missing.source


def test_the_list_of_points_gives_hints_to_originals(tmp_path):
    _, items = listed("lfw", lfw_release(tmp_path))
    assert items[0].landmarks == tuple(round(p) for p in face_landmarks(0))
    assert items[1].landmarks is None


@pytest.mark.parametrize(
    "folder", ["lfw", "lfw-deepfunneled/lfw-deepfunneled", "lfw_home/lfw_funneled"]
)
def test_every_known_root_is_found(tmp_path, folder):
    write_files(small_tree(tmp_path, folder), {"pairs.txt": LFW_PAIRS})
    reader, items = listed("lfw", tmp_path)
    assert len(items) == 8
    assert len(pairs(reader)) == 4


def test_the_person_folders_themselves_may_be_the_raw_folder(tmp_path):
    small_tree(tmp_path)
    write_files(tmp_path / "lfw", {"pairs.txt": LFW_PAIRS, "x.jpg": "beside persons"})
    reader, items = listed("lfw", tmp_path / "lfw")
    assert items[0].source == "Aaron_Peirsol/Aaron_Peirsol_0001.jpg"
    assert len(pairs(reader)) == 4
    assert reader.ignored()["files beside person folders"] == 1


@pytest.mark.parametrize(
    ("build", "form"), [(lfw_crops, "aligned"), (lfw_narrow_crops, "aligned-96x112")]
)
def test_finished_crops_are_told_by_the_first_picture_s_size(tmp_path, build, form):
    reader, items = listed("lfw", build(tmp_path))
    assert (reader.form, reader.form_spec.aligned) == (form, True)
    assert len(items) == 8
    assert all(item.landmarks is None for item in items)


def test_a_broken_first_picture_does_not_hide_the_crops(tmp_path):
    write_files(lfw_crops(tmp_path), {"lfw_112x112/Aaron_Peirsol/Aaron_Peirsol_0001.png": "?"})
    assert listed("lfw", tmp_path)[0].form == "aligned"
    write_files(tmp_path, {"lfw_112x112/Aaron_Peirsol/Aaron_Peirsol_0000.png": ""})
    assert listed("lfw", tmp_path)[0].form == "aligned"


def test_suffixes_of_any_case_and_kind_are_found_by_the_list(tmp_path):
    write_pictures(tmp_path, "lfw/A/A_0001.JPG", "lfw/B/B_0001.png")
    write_files(tmp_path, {"pairs.txt": "1\t1\nA\t1\t1\nA\t1\tB\t1\n"})
    reader, items = listed("lfw", tmp_path)
    assert not [item for item in items if item.reject]
    assert {row["source_b"] for row in pairs(reader)} == {"lfw/A/A_0001.JPG", "lfw/B/B_0001.png"}


def test_names_in_another_unicode_form_are_one_person(tmp_path):
    name = "Zoé_Saldaña"
    apart = unicodedata.normalize("NFD", name)
    write_pictures(tmp_path, f"lfw/{apart}/{apart}_0001.jpg", "lfw/B/B_0001.jpg")
    write_files(tmp_path, {"pairs.txt": f"1\t1\n{name}\t1\t1\n{name}\t1\tB\t1\n"})
    reader, items = listed("lfw", tmp_path)
    assert {item.identity for item in items} == {name, "B"}
    assert not [item for item in items if item.reject]
    assert pairs(reader)[0]["source_a"] == f"lfw/{apart}/{apart}_0001.jpg"


def kaggle(root):
    """jessicali9530/lfw-dataset: two columns called ``name``, an empty fourth name, CRLF."""
    small_tree(root, "lfw-deepfunneled/lfw-deepfunneled")
    match = "name,imagenum1,imagenum2\n"
    mismatch = "name,imagenum1,name,imagenum2\n"
    return write_files(root, {
        "pairs.csv": "name,imagenum1,imagenum2,\r\nAaron_Peirsol,1,2,\r\nAaron_Peirsol,3,4\r\n"
                     "Aaron_Peirsol,1,Zurab_Tsereteli,1\r\n",
        "matchpairsDevTrain.csv": match + "Aaron_Peirsol,1,4\n",
        "mismatchpairsDevTrain.csv": mismatch + "Aaron_Peirsol,1,Zurab_Tsereteli,1\n",
        "matchpairsDevTest.csv": match + "Aaron_Peirsol,2,4\n",
        "mismatchpairsDevTest.csv": mismatch + "Jean-Pierre_Raffarin,2,Zurab_Tsereteli,1\n",
        "people.csv": "name,images\nAaron_Peirsol,4\n",
    })  # fmt: skip


def test_kaggle_s_tables_are_read_by_position(tmp_path):
    reader, _ = listed("lfw", kaggle(tmp_path))
    rows = [(row["protocol"], *short([row])[0]) for row in pairs(reader)]
    assert rows == [
        ("view-2", 0, True, "Aaron_Peirsol_0001", "Aaron_Peirsol_0002"),
        ("view-2", 0, True, "Aaron_Peirsol_0003", "Aaron_Peirsol_0004"),
        ("view-2", 0, False, "Aaron_Peirsol_0001", "Zurab_Tsereteli_0001"),
        ("dev-train", 0, True, "Aaron_Peirsol_0001", "Aaron_Peirsol_0004"),
        ("dev-train", 0, False, "Aaron_Peirsol_0001", "Zurab_Tsereteli_0001"),
        ("dev-test", 0, True, "Aaron_Peirsol_0002", "Aaron_Peirsol_0004"),
        ("dev-test", 0, False, "Jean-Pierre_Raffarin_0002", "Zurab_Tsereteli_0001"),
    ]


def test_a_list_without_a_first_line_of_numbers_has_ten_folds_of_one_length(tmp_path):
    small_tree(tmp_path)
    rows = "Aaron_Peirsol 1 2\nAaron_Peirsol 1 Zurab_Tsereteli 1\n" * 10
    write_files(tmp_path, {"lfw_pairs.txt": rows})
    reader, _ = listed("lfw", tmp_path)
    assert [row["fold"] for row in pairs(reader)] == [n // 2 + 1 for n in range(20)]
    assert reader.remarks() == []


def test_a_list_that_says_no_length_and_makes_no_ten_folds_is_told_so(tmp_path):
    small_tree(tmp_path)
    write_files(tmp_path, {"pairs.csv": "name,imagenum1,imagenum2,\nAaron_Peirsol,1,2,\n"})
    reader, _ = listed("lfw", tmp_path)
    (told,) = reader.remarks()
    assert told.startswith("pairs.csv has 1 pairs, no 10 folds of one length")


def test_a_list_of_another_length_than_it_says_is_reported_and_kept(tmp_path):
    small_tree(tmp_path)
    write_files(tmp_path, {"pairs.txt": LFW_PAIRS.replace("2\t1\n", "3\t1\n", 1)})
    reader, _ = listed("lfw", tmp_path)
    assert [row["fold"] for row in pairs(reader)] == [1, 1, 2, 2]
    assert reader.remarks() == [
        "pairs.txt has 4 pairs where 6 were expected; folds are blocks of its rows all the same"
    ]


def test_there_are_never_more_folds_than_the_list_says(tmp_path):
    small_tree(tmp_path)
    write_files(tmp_path, {"pairs.txt": LFW_PAIRS.replace("2\t1\n", "1\t1\n", 1)})
    reader, _ = listed("lfw", tmp_path)
    assert [row["fold"] for row in pairs(reader)] == [1, 1, 1, 1]
    assert "4 pairs where 2 were expected" in reader.remarks()[0]


def test_pictures_without_a_list_are_samples_all_the_same_and_it_is_said(tmp_path):
    reader, items = listed("lfw", small_tree(tmp_path))
    assert len(items) == 7
    assert reader.tables() == {}
    assert "no list of pairs (pairs.txt, lfw_pairs.txt, pairs.csv) was found" in reader.remarks()[0]


def test_a_list_of_another_name_is_an_option(tmp_path):
    write_files(small_tree(tmp_path), {"xqlfw_pairs.txt": LFW_PAIRS})
    reader, _ = listed("lfw", tmp_path, "originals", pairs=["xqlfw_pairs.txt"])
    assert len(pairs(reader)) == 4


def test_two_folders_of_persons_are_refused_until_one_is_named(tmp_path):
    small_tree(tmp_path)
    small_tree(tmp_path, "lfw_funneled")
    write_files(tmp_path, {"pairs.txt": LFW_PAIRS})
    with pytest.raises(SourceError, match="both 'lfw' and 'lfw_funneled' hold person folders"):
        listed("lfw", tmp_path, "originals")
    reader, items = listed("lfw", tmp_path, "originals", images="lfw_funneled")
    assert {item.source.partition("/")[0] for item in items} == {"lfw_funneled"}
    assert reader.ignored()["files outside the folder of persons"] == 7
    with pytest.raises(CardError, match="may lead out of the raw folder"):
        listed("lfw", tmp_path, "originals", images="../lfw")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Aaron_Peirsol\t1", "expected 'name i j' or 'name i other-name j'"),
        ("Aaron_Peirsol\tone\t2", "expected 'name i j'"),
        ("Aaron_Peirsol\t1\t99999999999", "expected 'name i j'"),
        ("../../etc\t1\t2", "expected 'name i j'"),
        ("A\t1\tB\t2\tC", "expected 'name i j'"),
        ("A\t1\tA\t2", "expected two people in a row of four cells"),
        ("x" * 5_000, "a line of more than 4096 bytes"),
    ],
)
def test_a_damaged_row_is_an_error_with_its_line(tmp_path, row, expected):
    write_files(small_tree(tmp_path), {"pairs.txt": f"1\t1\n\n{row}\n"})
    with pytest.raises(SourceError, match=r"pairs\.txt:3: .*") as caught:
        listed("lfw", tmp_path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("head", ["0\t300", "10\tmany", "100000\t3", "ten"])
def test_a_first_line_that_makes_no_folds_is_an_error(tmp_path, head):
    write_files(small_tree(tmp_path), {"pairs.txt": f"{head}\nAaron_Peirsol\t1\t2\n"})
    with pytest.raises(SourceError, match=r"pairs\.txt:1: .*expected the number of folds"):
        listed("lfw", tmp_path)


@pytest.mark.parametrize("row", ["A/A_0001.jpg\t1\t2", "A/A_0001.jpg" + "\tnan" * 10])
def test_a_damaged_row_of_points_is_an_error(tmp_path, row):
    write_files(small_tree(tmp_path), {"lfw_landmark.txt": row})
    with pytest.raises(SourceError, match=r"lfw_landmark\.txt:1: .*five points"):
        listed("lfw", tmp_path)


def test_a_folder_without_persons_names_what_was_looked_for(tmp_path):
    write_pictures(tmp_path, "a/b.jpg")
    with pytest.raises(SourceError, match=r"no person folders were found; expected person folders"):
        listed("lfw", tmp_path, "originals")
    with pytest.raises(SourceError, match=r"person folders with Name_0001\.jpg"):
        listed("lfw", tmp_path)


def test_an_archive_is_read_as_its_folder_is(tmp_path):
    lfw_release(tmp_path / "raw")
    packed = shutil.make_archive(str(tmp_path / "lfw"), "zip", tmp_path / "raw")
    reader, items = listed("lfw", tmp_path / "raw")
    again, packed_items = listed("lfw", tmp_path / packed)
    assert [(i.source, i.size, i.identity) for i in packed_items] == [
        (i.source, i.size, i.identity) for i in items
    ]
    assert pairs(again) == pairs(reader)


@pytest.mark.shared
def test_a_part_of_the_real_originals_keeps_every_pair(shared):
    reader, items = listed("lfw", shared / "faces/lfw")
    assert (reader.form, len(items), reader.remarks()) == ("originals", 463, [])
    assert not [item for item in items if item.reject]
    rows = pairs(reader)
    assert [row["fold"] for row in rows] == [n // 30 + 1 for n in range(300)]
    assert sum(row["same"] for row in rows) == 150


@pytest.mark.shared
def test_the_whole_of_view_2_is_read_from_aligned_crops(shared):
    reader, items = listed("lfw", shared / "faces/lab")
    assert (reader.form, len(items), len({i.identity for i in items})) == ("aligned", 7_701, 4_281)
    rows = pairs(reader)
    assert [row["fold"] for row in rows] == [n // 600 + 1 for n in range(6_000)]
    assert [row["same"] for row in rows] == [n // 300 % 2 == 0 for n in range(6_000)]
    here = {item.source: item.identity for item in items if not item.reject}
    assert all(row["same"] == (here[row["source_a"]] == here[row["source_b"]]) for row in rows)


@pytest.mark.parametrize("name", ["lfw.tgz", "lfw-deepfunneled.tgz", "images/lfw.tar.gz"])
def test_an_archive_beside_other_folders_is_read_without_unpacking(tmp_path, name):
    files = files_of(small_tree(tmp_path / "plain"))
    write_tar(tmp_path / "raw" / name, files)
    write_files(tmp_path / "raw", {"pairs.txt": LFW_PAIRS, "view1/note.txt": "x", "old/a/b": "x"})
    reader, items = listed("lfw", tmp_path / "raw")
    kept = [item for item in items if not item.reject]
    assert [item.source for item in kept] == [f"{name}/{source}" for source in sorted(files)]
    assert len(pairs(reader)) > 0


def test_an_archive_of_what_is_unpacked_is_not_read_again(tmp_path):
    files = files_of(small_tree(tmp_path))
    write_tar(tmp_path / "lfw.tgz", files)
    _, items = listed("lfw", tmp_path)
    assert {item.source.split("/")[0] for item in items} == {"lfw"}
