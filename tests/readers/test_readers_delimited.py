import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import SourceError
from fusekit.readers.tables.delimited import (
    MAX_LINE,
    box_of,
    numbers,
    read_csv,
    read_jsonl,
    read_lines,
)


def lines_of(data):
    return list(read_lines(io.BytesIO(data), "list.txt"))


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_line():
    assert lines_of(b"\xef\xbb\xbfa 1\r\nb 2") == ["a 1", "b 2"]


def test_names_that_differ_in_bytes_that_are_no_utf8_stay_two_names():
    assert lines_of(b"M\xfcller\nM\xf6ller\n") == ["M\\xfcller", "M\\xf6ller"]


def test_utf16_is_named_and_not_read_as_noise():
    with pytest.raises(SourceError, match=r"list.txt: is UTF-16; expected UTF-8 text; convert it"):
        lines_of("a 1\n".encode("utf-16"))


def test_a_line_without_end_is_not_read_whole():
    with pytest.raises(SourceError, match=r"list.txt:2: has over 1048576 bytes"):
        lines_of(b"a\n" + b"x" * (MAX_LINE + 2))


def test_quotes_keep_commas_and_line_ends_together():
    data = b'a,"b,\nc"\n\n"d ""e""",f\n'
    assert list(read_csv(io.BytesIO(data), "t.csv", ",")) == [
        (2, ["a", "b,\nc"]), (4, ['d "e"', "f"]),
    ]  # fmt: skip


def test_in_a_tab_file_a_quote_is_a_letter():
    rows = list(read_csv(io.BytesIO(b'"Weird Al\t1\nb\t2\n'), "t.tsv", "\t"))
    assert rows == [(1, ['"Weird Al', "1"]), (2, ["b", "2"])]


def test_a_quote_that_never_ends_is_no_cell():
    data = b'a,"' + b"b\n" * 200_000
    with pytest.raises(SourceError, match=r"t.csv:\d+: is no row of a table \(field larger"):
        list(read_csv(io.BytesIO(data), "t.csv", ","))


@pytest.mark.parametrize("line", [b"[1]", b"{", b"7", b"[" * 100_000, b"nul"])
def test_a_line_that_is_no_object_is_named(line):
    with pytest.raises(SourceError, match=r"t.jsonl:2: .*; expected a JSON object"):
        list(read_jsonl(io.BytesIO(b"{}\n" + line), "t.jsonl"))


def test_numbers_of_json_keep_their_spelling():
    data = b'{"id": 12345678901234567890123, "x": 1.50, "n": NaN}\n\n'
    ((line, row),) = read_jsonl(io.BytesIO(data), "t.jsonl")
    assert (line, row) == (1, {"id": "12345678901234567890123", "x": "1.50", "n": "NaN"})


@pytest.mark.parametrize("cells", [["1", "x"], ["1"], ["1", "inf"], ["1", "nan"], ["1", ""]])
def test_what_is_no_coordinate_gives_none(cells):
    assert numbers(cells, 2) is None


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_a_box_without_an_area_is_no_box(size):
    assert box_of(1, 2, *size) is None


@given(st.binary(max_size=300), st.sampled_from([",", "\t", ";"]))
def test_any_bytes_are_rows_or_an_error_of_ours(data, delimiter):
    try:
        for line, cells in read_csv(io.BytesIO(data), "t.csv", delimiter):
            assert line > 0
            assert cells
            assert all(cell.encode() is not None for cell in cells)
        list(read_jsonl(io.BytesIO(data), "t.jsonl"))
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ways are fine
