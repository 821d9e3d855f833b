from base64 import b64encode
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forms_lists import full_row, tsv_row

from fusekit.errors import FormatError
from fusekit.formats.msceleb import (
    DEV_SET,
    FULL,
    THUMBNAILS,
    find_columns,
    read_face,
    scan_faces,
)

JPEG = b"\xff\xd8\xff\xe0 a picture"
ROW = full_row(("m.01", 3, "FaceId-0"), JPEG)


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (ROW, FULL),
        (b"damaged\n" + ROW, FULL),
        (tsv_row("m.01", "Ann", "u", "FaceId-0", image=JPEG), DEV_SET),
        (
            b"\t".join([b"m.01", b"Ann", b"1", b"u", b"page of 16 byte.", b64encode(JPEG)]),
            THUMBNAILS,
        ),
        (b"m.01\tAnn\n", None),
        (b"a\tb\tc\td\te\tf\tno picture\n", None),
        (b"", None),
        (b"\0" * 100, None),
    ],
)
def test_the_form_of_a_table_is_told_by_its_columns(data, columns):
    assert find_columns(BytesIO(data)) == columns


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_pictures_of_any_length_come_back(pictures):
    file = BytesIO(b"".join(full_row(("m.01", n, "FaceId-0"), p) for n, p in enumerate(pictures)))
    rows = list(scan_faces(file, FULL))
    assert [read_face(file, row.offset, row.size, "t") for row in rows if row] == pictures


@given(st.data())
def test_a_mutated_table_gives_rows_or_errors_of_ours(data):
    table = bytearray(ROW * 3)
    for _ in range(data.draw(st.integers(1, 6))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    file = BytesIO(table[: data.draw(st.integers(0, len(table)))])
    find_columns(BytesIO(table))
    for row in scan_faces(file, data.draw(st.sampled_from([FULL, DEV_SET, THUMBNAILS]))):
        if row is None or row.damage:
            continue
        at = file.tell()
        try:
            assert len(read_face(file, row.offset, row.size, "t")) == row.size
        except FormatError as error:
            assert error.found == "its base64 is damaged"  # noqa: PT017 - most rows are whole
        file.seek(at)


def test_an_address_that_is_far_too_long_is_none():
    row = tsv_row("m.01", "1", "u" * 9_000, "", "FaceId-0", image=JPEG)
    [face] = scan_faces(BytesIO(row), FULL)
    assert face.url is None
    assert face.damage is None
