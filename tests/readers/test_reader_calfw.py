import pytest
from support.evaluation import listed, pairs, short
from support.forms import face_landmarks
from support.forms_evaluation import calfw_release, cplfw_release
from support.raw import write_files, write_pictures

from fusekit.errors import SourceError

INNER = "calfw/images&landmarks/images&landmarks"


def test_calfw_is_read_in_its_real_layout(tmp_path):
    reader, items = listed("calfw", calfw_release(tmp_path))
    assert [(item.source.rpartition("/")[2], item.identity, item.reject) for item in items] == [
        ("Aaron_Eckhart_0001.jpg", "Aaron_Eckhart", None),
        ("Aaron_Eckhart_0002.jpg", "Aaron_Eckhart", None),
        ("Zhu_Rongji_0001.jpg", "Zhu_Rongji", None),
        ("Zhu_Rongji_0009.jpg", "Zhu_Rongji", "missing"),
    ]
    assert reader.ignored() == {
        "files outside the folder of pictures": 3, "lists and metadata (by suffix)": 4,
    }  # fmt: skip
    assert reader.names() == {}


def test_two_lines_make_a_pair_and_a_positive_s_token_is_its_fold(tmp_path):
    reader, _ = listed("calfw", calfw_release(tmp_path))
    assert short(pairs(reader)) == [
        (1, True, "Aaron_Eckhart_0001", "Aaron_Eckhart_0002"),
        (2, True, "Aaron_Eckhart_0002", "Aaron_Eckhart_0001"),
        (0, False, "Aaron_Eckhart_0001", "Zhu_Rongji_0001"),
        (0, False, "Zhu_Rongji_0009", "Aaron_Eckhart_0002"),
    ]
    assert {(row["protocol"], row["main"]) for row in pairs(reader)} == {("ten-fold", True)}


def test_negatives_without_a_fold_take_it_from_their_place(tmp_path):
    write_pictures(tmp_path, "images/A_0001.jpg", "images/A_0002.jpg", "images/B_0001.jpg")
    same = [f"A_0001.jpg {fold}\nA_0002.jpg {fold}\n" for fold in range(1, 11) for _ in range(2)]
    write_files(tmp_path, {
        "pairs_CALFW.txt": "".join(same) + "A_0001.jpg 0\nB_0001.jpg 0\n" * 20,
    })  # fmt: skip
    reader, _ = listed("calfw", tmp_path)
    rows = pairs(reader)
    slices = [fold for fold in range(1, 11) for _ in range(2)]
    assert [row["fold"] for row in rows if row["same"]] == slices
    assert [row["fold"] for row in rows if not row["same"]] == slices
    assert reader.remarks() == []


def test_cplfw_s_tokens_are_no_folds(tmp_path):
    reader, items = listed("cplfw", cplfw_release(tmp_path))
    rows = pairs(reader)
    assert [row["fold"] for row in rows if row["same"]] == list(range(1, 11))
    assert [row["fold"] for row in rows if not row["same"]] == list(range(1, 11))
    assert rows[0]["source_a"] == "cplfw/images/Aaron_Eckhart_1.jpg"
    assert {item.identity for item in items} == {"Aaron_Eckhart", "Zhu_Rongji"}


@pytest.mark.parametrize(("card", "build"), [("calfw", calfw_release), ("cplfw", cplfw_release)])
def test_points_beside_the_pictures_or_their_folder_are_hints(tmp_path, card, build):
    _, items = listed(card, build(tmp_path))
    assert [item.landmarks for item in items[:3]] == [face_landmarks(seed) for seed in range(3)]


def test_names_with_dots_keep_them(tmp_path):
    write_pictures(tmp_path, "images/J.K._Rowling_0001.jpg", "images/J.K._Rowling_0002.jpg")
    write_files(tmp_path, {
        "images/J.K._Rowling_0001_5loc_attri.txt": "1 2\n3 4\n5 6\n7 8\n9 10\n",
        "pairs_CALFW.txt": "J.K._Rowling_0001.jpg 1\nJ.K._Rowling_0002.jpg 1\n",
    })  # fmt: skip
    _, items = listed("calfw", tmp_path)
    assert [(item.identity, item.landmarks) for item in items] == [
        ("J.K._Rowling", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)), ("J.K._Rowling", None),
    ]  # fmt: skip


def test_damaged_points_are_counted_and_the_picture_kept(tmp_path):
    calfw_release(tmp_path)
    (tmp_path / INNER / "CA_landmarks/Aaron_Eckhart_0001_5loc_attri.txt").write_text("1 2\n3\n")
    reader, items = listed("calfw", tmp_path)
    assert items[0].landmarks is None
    assert reader.ignored()["files of landmarks that can't be read"] == 1


def test_without_the_list_the_pictures_are_samples_and_it_is_said(tmp_path):
    calfw_release(tmp_path)
    (tmp_path / "calfw/pairs_CALFW.txt").unlink()
    reader, items = listed("calfw", tmp_path, "originals")
    assert (len(items), reader.tables()) == (3, {})
    assert reader.remarks() == [
        "no pairs_CALFW.txt was found: the pictures are stored without pairs"
    ]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("A_0001.jpg 1\nA_0002.jpg 2\n", 2, "expected the token 1, as on the pair's first line"),
        ("A_0001.jpg 1\n", 1, "expected two lines for each pair"),
        ("A_0001.jpg\n", 1, "expected a picture Name_0001.jpg and a number from 0 to 10"),
        ("A_0001.jpg 11\nA_0002.jpg 11\n", 1, "a number from 0 to 10"),
        ("../A_0001.jpg 1\n../A_0002.jpg 1\n", 1, "a picture Name_0001.jpg"),
        ("A\0_0001.jpg 1\nA_0002.jpg 1\n", 1, "a picture Name_0001.jpg"),
        ("logo.jpg 1\nA_0002.jpg 1\n", 1, "a picture Name_0001.jpg"),
    ],
)
def test_a_damaged_row_is_an_error_with_its_line(tmp_path, text, line, found):
    write_files(calfw_release(tmp_path), {"calfw/pairs_CALFW.txt": text})
    with pytest.raises(SourceError, match=rf"pairs_CALFW\.txt:{line}: ") as caught:
        listed("calfw", tmp_path)
    assert found in str(caught.value)


def test_other_folders_are_refused(tmp_path):
    write_files(tmp_path, {"a/b.jpg": "x"})
    with pytest.raises(SourceError, match=r"no pictures were found; expected a folder of pictures"):
        listed("calfw", tmp_path, "originals")
