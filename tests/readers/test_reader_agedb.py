import pytest
from support.evaluation import listed, pairs, short
from support.forms import face_landmarks
from support.forms_evaluation import (
    AGEDB,
    AGEDB_FOLDS,
    AGEDB_RELEASED,
    agedb_mat,
    agedb_package,
    agedb_release,
)
from support.raw import write_files, write_pictures

from fusekit.errors import SourceError

MAT = "04_FINAL_protocol_30_years.mat"


def test_the_protocol_package_alone_is_read(tmp_path):
    reader, items = listed("agedb-30", agedb_package(tmp_path))
    assert [(item.source.rpartition("/")[2], item.identity) for item in items] == [
        ("AlPacino_x_y_2_40_m.jpg", "AlPacino"),
        ("MariaCallas_x_0_35_f.jpg", "MariaCallas"),
        ("MariaCallas_x_1_70_f.jpg", "MariaCallas"),
    ]
    assert short(pairs(reader)) == [
        (1, True, AGEDB[0], AGEDB[1]), (1, False, AGEDB[0], AGEDB[2]),
        (2, True, AGEDB[1], AGEDB[0]), (2, False, AGEDB[1], AGEDB[2]),
    ]  # fmt: skip
    assert {(row["protocol"], row["main"]) for row in pairs(reader)} == {("30-years", True)}
    assert reader.ignored() == {"lists and metadata (by suffix)": 4}
    assert reader.names() == {}


def test_five_of_the_68_points_are_hints(tmp_path):
    _, items = listed("agedb-30", agedb_package(tmp_path))
    assert items[1].landmarks == pytest.approx(face_landmarks(0))


def test_points_are_found_under_an_upper_case_suffix(tmp_path):
    for path in sorted(agedb_package(tmp_path).rglob("*.pts")):
        path.rename(path.with_suffix(".PTS"))
    _, items = listed("agedb-30", tmp_path)
    assert items[1].landmarks == pytest.approx(face_landmarks(0))


def test_the_release_alone_is_joined_by_person_number_and_age(tmp_path):
    reader, items = listed("agedb-30", agedb_release(tmp_path))
    assert [(item.source, item.identity) for item in items] == [
        ("AgeDB/0_MariaCallas_35_f.jpg", "MariaCallas"),
        ("AgeDB/1_MariaCallas_70_f.jpg", "MariaCallas"),
        ("AgeDB/2_AlPacino_40_m.jpg", "AlPacino"),
    ]
    assert short(pairs(reader))[:2] == [
        (1, True, "0_MariaCallas_35_f", "1_MariaCallas_70_f"),
        (1, False, "0_MariaCallas_35_f", "2_AlPacino_40_m"),
    ]


def test_where_both_lie_the_protocol_s_own_pictures_are_the_pairs(tmp_path):
    agedb_package(tmp_path / "z")
    agedb_release(tmp_path / "a")
    reader, items = listed("agedb-30", tmp_path)
    assert len(items) == 6
    assert not [item for item in items if item.reject]
    assert {row["source_a"].partition("/")[0] for row in pairs(reader)} == {"z"}


def test_a_picture_of_another_age_or_person_is_not_taken_for_the_protocol_s(tmp_path):
    write_pictures(tmp_path, "AgeDB/0_MariaCallas_36_f.jpg", "AgeDB/2_JoePacino_40_m.jpg")
    write_files(tmp_path, {MAT: agedb_mat(AGEDB_FOLDS)})
    _, items = listed("agedb-30", tmp_path)
    missing = {item.source: item.identity for item in items if item.reject == "missing"}
    assert missing == {f"AgeDB/{stem}.jpg": stem.partition("_")[0] for stem in AGEDB}


def test_two_protocol_names_of_one_release_picture_are_not_guessed_between(tmp_path):
    agedb_release(tmp_path)
    stems = ("MariaCallas_x_0_35_f", "MariaCallas_x_1_70_f", "MariaCallas_y_0_35_f")
    ages = ((0, 1, 1), (2, 1, 1))
    data = agedb_mat((ages, ages), stems).replace(b"\0\0\0\0\0\0D@", b"\0\0\0\0\0\x80A@")  # 40, 35
    write_files(tmp_path, {MAT: data})
    _, items = listed("agedb-30", tmp_path)
    assert {item.source for item in items if item.reject} == {
        f"AgeDB/{stems[0]}.jpg", f"AgeDB/{stems[2]}.jpg",
    }  # fmt: skip


def test_names_are_read_from_the_right(tmp_path):
    names = ("7_Jean_Luc_Picard_9_m.jpg", "8_O'Neill-Smith_101_F.JPG")
    write_pictures(tmp_path, *(f"AgeDB/{name}" for name in names), "AgeDB/notes.jpg")
    reader, items = listed("agedb-30", tmp_path)
    assert [item.identity for item in items] == ["Jean_Luc_Picard", "O'Neill-Smith"]
    assert reader.ignored() == {"pictures that are not named as AgeDB's": 1}


def test_without_the_protocol_the_pictures_are_samples_and_it_is_said(tmp_path):
    write_pictures(tmp_path, *(f"AgeDB/{name}" for name in AGEDB_RELEASED))
    reader, items = listed("agedb-30", tmp_path)
    assert (len(items), reader.tables()) == (3, {})
    assert f"no {MAT} was found" in reader.remarks()[0]


def test_other_counts_and_labels_than_the_names_say_are_reported(tmp_path):
    write_files(agedb_release(tmp_path), {MAT: agedb_mat((((0, 1, -1),), ((0, 1, 1),)))})
    reader, _ = listed("agedb-30", tmp_path)
    assert reader.remarks() == [
        f"{MAT} has 2 pairs, 6000 in the release",
        f"{MAT}: the names of 1 pairs contradict their labels",
    ]


def test_the_protocol_of_other_years_is_an_option(tmp_path):
    agedb_release(tmp_path)
    (tmp_path / MAT).rename(tmp_path / "01_five.mat")
    reader, _ = listed("agedb-30", tmp_path, "originals", protocol="01_five.mat")
    assert len(pairs(reader)) == 4


def test_damaged_points_are_counted_and_the_picture_kept(tmp_path):
    agedb_package(tmp_path)
    folder = tmp_path / "AgeDB-protocols/03_Protocol_Images"
    (folder / f"{AGEDB[0]}.pts").write_text("version: 1\n{\n1 2\n}\n")
    (folder / f"{AGEDB[1]}.pts").write_text("{\n" + "1 x\n" * 68 + "}\n")
    reader, items = listed("agedb-30", tmp_path)
    assert [item.landmarks is None for item in items] == [False, True, True]
    assert reader.ignored()["files of landmarks that can't be read"] == 2


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"no MAT file", "is no MAT file; expected a MAT file of level 5"),
        (agedb_mat(AGEDB_FOLDS)[:900], "ends too early"),
        (agedb_mat((((0, 1, 1),), ((0, 1, 2),))), "fold 2: has labels that are neither 1 nor -1"),
        (agedb_mat(AGEDB_FOLDS, ("../../x", "b", "c")), "names a picture '../../x'"),
    ],
)
def test_a_damaged_protocol_is_an_error_that_names_it(tmp_path, data, found):
    write_files(agedb_release(tmp_path), {MAT: data})
    with pytest.raises(SourceError, match=r"04_FINAL_protocol_30_years\.mat: ") as caught:
        listed("agedb-30", tmp_path)
    assert found in str(caught.value)


def test_a_folder_of_other_pictures_is_refused(tmp_path):
    write_pictures(tmp_path, "a/b.jpg")
    with pytest.raises(SourceError, match=r"no pictures of AgeDB were found; expected pictures li"):
        listed("agedb-30", tmp_path, "originals")
