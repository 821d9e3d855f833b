from collections import Counter

import pytest
from support.evaluation import listed, pairs, short
from support.forms import face_landmarks
from support.forms_evaluation import rfw_release
from support.raw import write_files, write_pictures

from fusekit.errors import SourceError

TXTS = "images/test/txts"


def test_rfw_is_read_in_its_real_layout(tmp_path):
    reader, items = listed("rfw", rfw_release(tmp_path))
    assert reader.form == "originals"
    assert (items[0].source, items[0].identity, items[0].split) == (
        "images/test/data/African/m.0100/m.0100_0001.jpg", "m.0100", "african",
    )  # fmt: skip
    assert Counter(item.split for item in items) == dict.fromkeys(
        ("african", "asian", "caucasian", "indian"), 4
    )
    assert reader.ignored() == {"lists and metadata (by suffix)": 12}
    assert reader.names() == {}


def test_each_group_is_a_main_protocol_of_its_own(tmp_path):
    reader, _ = listed("rfw", rfw_release(tmp_path))
    rows = pairs(reader)
    assert Counter((row["protocol"], row["main"]) for row in rows) == {
        (group, True): 4 for group in ("african", "asian", "caucasian", "indian")
    }
    assert short(rows)[8:11] == [
        (0, True, "m.0300_0001", "m.0300_0002"), (0, True, "m.0100_0001", "m.0100_0002"),
        (0, False, "m.0300_0001", "m.0100_0002"),
    ]  # fmt: skip
    # a person of two groups: the pair's pictures are its own group's
    assert rows[9]["source_a"] == "images/test/data/Caucasian/m.0100/m.0100_0001.jpg"


def test_folds_are_ten_slices_of_a_list(tmp_path):
    rfw_release(tmp_path)
    rows = "m.0100\t1\t2\nm.0100\t1\tm.0101\t2\n" * 10
    write_files(tmp_path, {f"{TXTS}/African/African_pairs.txt": rows})
    reader, _ = listed("rfw", tmp_path)
    folds = [row["fold"] for row in pairs(reader) if row["protocol"] == "african"]
    assert folds == [n // 2 + 1 for n in range(20)]
    assert [text.partition(" ")[0] for text in reader.remarks()] == [
        f"{TXTS}/{group}/{group}_pairs.txt" for group in ("Asian", "Caucasian", "Indian")
    ]


def test_the_lists_of_points_give_hints(tmp_path):
    _, items = listed("rfw", rfw_release(tmp_path))
    assert items[0].landmarks == face_landmarks(0)
    assert items[2].landmarks == face_landmarks(1)


def test_a_listed_picture_that_is_not_there_is_a_missing_item(tmp_path):
    rfw_release(tmp_path)
    (tmp_path / "images/test/data/Asian/m.0200/m.0200_0002.jpg").unlink()
    _, items = listed("rfw", tmp_path)
    (missing,) = [item for item in items if item.reject]
    assert missing.source == "images/test/data/Asian/m.0200/m.0200_0002.jpg"
    assert (missing.identity, missing.split) == ("m.0200", "asian")


def test_without_lists_the_pictures_are_samples_and_it_is_said(tmp_path):
    rfw_release(tmp_path)
    reader, items = listed("rfw", tmp_path / "images/test/data")
    assert (len(items), reader.tables()) == (16, {})
    assert "no list of pairs (African_pairs.txt and so on) was found" in reader.remarks()[0]


def test_what_is_no_picture_of_a_group_is_counted(tmp_path):
    rfw_release(tmp_path)
    write_pictures(tmp_path, "images/test/data/Other/m.1/m.1_0001.jpg", "images/x.png")
    reader, items = listed("rfw", tmp_path)
    assert len(items) == 16
    assert reader.ignored()["files that are no pictures of a person of a group"] == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [("African_pairs.txt", "m.0100 1\t2\nm.0100\n"), ("African_lmk.txt", "/a/b/c.jpg\t0\t1\t2\n")],
)
def test_a_damaged_row_is_an_error_with_its_line(tmp_path, name, text):
    write_files(rfw_release(tmp_path), {f"{TXTS}/African/{name}": text})
    with pytest.raises(SourceError, match=rf"{name}:\d: "):
        listed("rfw", tmp_path)


def test_other_folders_are_refused(tmp_path):
    write_pictures(tmp_path, "a/b.jpg")
    with pytest.raises(
        SourceError, match="no groups were found; expected a folder data with the f"
    ):
        listed("rfw", tmp_path, "originals")


def test_training_pictures_beside_the_test_are_counted_and_two_tests_are_refused(tmp_path):
    rfw_release(tmp_path)
    write_pictures(tmp_path, "images/train/data/African/m.9/m.9_0001.jpg")
    reader, items = listed("rfw", tmp_path)
    assert len(items) == 16
    assert reader.ignored()["files that are no pictures of a person of a group"] == 1
    rfw_release(tmp_path / "copy")
    with pytest.raises(
        SourceError, match="both 'images/test/data' and 'copy/images/test/data' hold"
    ):
        listed("rfw", tmp_path, "originals")
