import os
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forms import face_landmarks
from support.raw import write_files

from fusekit.errors import SourceError
from fusekit.readers.tables.list_file import ListFile
from fusekit.readers.tables.list_rows import ListRow, interleaved_points


def listed(text):
    data = text.encode() if isinstance(text, str) else text
    return ListFile(lambda: BytesIO(data), "list.txt")


def rows(text):
    return [(row.path, row.label) for _, row in listed(text).rows()]


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("m.0107_f/10-FaceId-0.jpg 0", "m.0107_f/10-FaceId-0.jpg", "0"),  # Light CNN
        ("./m.0107_f/10-FaceId-0.jpg", "./m.0107_f/10-FaceId-0.jpg", None),  # InsightFace
        ("7 m.0107_f/10-FaceId-0.jpg", "m.0107_f/10-FaceId-0.jpg", "7"),  # C-MS-Celeb
        ("m.02x m.0107_f/10-FaceId-0.jpg", "m.0107_f/10-FaceId-0.jpg", "m.02x"),
        ("m.0107_f/1.jpg m.02x", "m.0107_f/1.jpg", "m.02x"),
        ("0000045\\001.jpg 0", "0000045\\001.jpg", "0"),  # CASIA's clean list
        ("n000002/0001_01.jpg", "n000002/0001_01.jpg", None),  # VGGFace2
        ("train/n004332/0317_01.jpg", "train/n004332/0317_01.jpg", None),
        ("a b/c d.jpg 12", "a b/c d.jpg", "12"),
        ("Brian J. Smith/Brian J. Smith10_19.jpg", "Brian J. Smith/Brian J. Smith10_19.jpg", None),
        ("imgs/1.jpg 0 44 0", "imgs/1.jpg", "44"),  # MagFace
        ("images/00000001.jpg\t0", "images/00000001.jpg", "0"),  # paddle, TFace
        ("1\t/data/0000045/001.jpg\t44", "/data/0000045/001.jpg", "44"),  # InsightFace's .lst
        ("9\t3.000000\t0_0_0000003/0_5.jpg", "0_0_0000003/0_5.jpg", "3"),  # im2rec's .lst
        ("4\t44/001.jpg\t44", "44/001.jpg", "44"),  # CVLface's train.tsv
        ("612\tx/12@N00/1_0.jpg", "x/12@N00/1_0.jpg", "612"),  # MegaFace's noises
        ("0000513", "0000513", None),  # identities
        ("m.0107_f", "m.0107_f", None),
        ("Brian J. Smith", "Brian J. Smith", None),
        ("0000045\tBruce_Lee", "0000045", None),
        ("Alec_Baldwin/Alec_Baldwin_1.png&", "Alec_Baldwin/Alec_Baldwin_1.png&", None),
    ],
)
def test_a_row_of_each_project_is_read(line, path, label):
    assert rows(line) == [(path, label)]
    assert rows(f"\ufeff{line}\r\n\n# a remark\n{line}\n") == [(path, label)] * 2


WORDS = [str(value) for value in face_landmarks(0)]
PLANAR = WORDS[::2] + WORDS[1::2]


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("msra/m.0107_f/1-FaceId-0_align.jpg 5 " + " ".join(WORDS), "5"),
        ("testdata/1.jpg " + " ".join(WORDS), None),
        ("0000045/001.jpg\t5\t" + "\t".join(WORDS), "5"),
        ("0\tmsra/m.0/1.jpg\t5\t0\t0\t0\t0\t" + "\t".join(PLANAR), "5"),
    ],
)
def test_points_come_out_x_and_y_in_turn_however_they_stand(line, label):
    each = listed(line)
    [(at, row)] = each.rows()
    assert row.label == label
    assert row.path.endswith(".jpg")
    assert interleaved_points(row) == face_landmarks(0)
    with each.open() as file:
        assert each.row_at(file, at) == row


@pytest.mark.parametrize("word", ["x", "nan", "inf", ""])
def test_points_that_are_no_numbers_are_none(word):
    assert interleaved_points(ListRow("a", None, (word, *WORDS[1:]))) is None
    assert interleaved_points(ListRow("a", None)) is None


FIRST = "".join(f"a/{n}.jpg 0\n" for n in range(100))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FIRST + "0 a/7.jpg\n", r"list.txt:101: '0 a/7.jpg'; expected 'path label', as in the fir"),
        (FIRST + "a/7.jpg\n", r"list.txt:101: 'a/7.jpg'; expected 'path label'"),
        ("a/1.jpg 0\n0 a/7.jpg\n", r"list.txt:2: '0 a/7.jpg'; expected 'path label'"),
        ("a/1.jpg\na/7.jpg 0\n", r"list.txt:2: 'a/7.jpg 0'; expected 'path', as in the first row"),
        ("0 a/1.jpg\na/7.jpg 0\n", r"list.txt:2: .*; expected 'label path'"),
        (FIRST.replace(" ", "\t") + "a/7.jpg\n", r"list.txt:101: .*path in column 1, a label in"),
        (FIRST.replace(" ", "\t") + "a/7.jpg\tx\n", r"list.txt:101: .*a label in column 2, as in"),
        ("a/1.jpg\tx\na/2.jpg\t\n", r"list.txt:2: 'a/2.jpg\\t'; expected a path in column 1"),
        ("", r"list.txt: has no rows; expected a picture or an identity a line"),
        ("# only a remark\n\n", r"list.txt: has no rows"),
        (b"PK\x03\x04\0\0", r"list.txt:1: is no text; expected a picture a line"),
        ("a" * 70_000, r"list.txt:1: is longer than 65536 bytes"),
    ],
)
def test_a_list_of_no_or_of_several_forms_is_one_line(text, message):
    with pytest.raises(SourceError, match=message):
        rows(text)


def test_a_list_is_read_from_anywhere_or_says_that_it_is_not_there(tmp_path):
    write_files(tmp_path, {"clean.txt": "a/1.jpg 3\n"})
    assert [row.label for _, row in ListFile.at(tmp_path / "clean.txt").rows()] == ["3"]
    with pytest.raises(SourceError, match=r"none.txt: can't be opened \(No such file"):
        ListFile.at(tmp_path / "none.txt")
    with pytest.raises(SourceError, match=r"can't be opened \(Is a directory"):
        ListFile.at(tmp_path)


def test_a_pipe_is_no_list_since_it_can_be_read_only_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe: is a pipe; expected a file: a list is read more"):
        ListFile.at(tmp_path / "pipe")


def test_a_row_that_is_gone_is_an_error():
    each = listed("a/1.jpg 0\n")
    with each.open() as file, pytest.raises(SourceError, match="changed while it was read"):
        each.row_at(file, 7)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error(data):
    try:
        for _, row in listed(data).rows():
            interleaved_points(row)
            assert row.path
    except SourceError:
        pass


@given(st.lists(st.tuples(st.sampled_from(["a b/c.jpg", "x/1", "y\\2.png"]), st.integers(0, 9))))
def test_what_light_cnn_writes_comes_back(pairs):
    if pairs:
        text = "".join(f"{path} {label}\n" for path, label in pairs)
        assert rows(text) == [(path, str(label)) for path, label in pairs]
