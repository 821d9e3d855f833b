import io
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusekit.errors import FormatError
from fusekit.formats.frames import read_frame, record_span, scan_frames
from fusekit.formats.recordio import (
    image_keys,
    pack_record,
    read_head,
    read_index,
    read_property,
    unpack_record,
)
from fusekit.formats.recordio_writer import RecordWriter, write_pack

MARK = bytes.fromhex("0a23d7ce")

# Laid out by hand from the description of the format: 3 images, 2 identities, key 0 last.
GOLDEN_REC = bytes.fromhex(
    """
    0a23d7ce 1c000000  00000000 00000000 0100000000000000 0000000000000000  ffd8ffd9
    0a23d7ce 24000000  02000000 00000000 0200000000000000 0000000000000000
        00000000 0000803f  ffd8ffd9
    0a23d7ce 1d000000  00000000 0000803f 0300000000000000 0000000000000000  ffd8ffe0 00 000000
    0a23d7ce 20000000  02000000 00000000 0400000000000000 0000000000000000  0000803f 00004040
    0a23d7ce 20000000  02000000 00000000 0500000000000000 0000000000000000  00004040 00008040
    0a23d7ce 20000000  02000000 00000000 0000000000000000 0000000000000000  00008040 0000c040
    """
)
GOLDEN_IDX = b"1\t0\n2\t36\n3\t80\n4\t120\n5\t160\n0\t200\n"
GOLDEN_RECORDS = [
    (1, 0.0, b"\xff\xd8\xff\xd9"),
    (2, (0.0, 1.0), b"\xff\xd8\xff\xd9"),
    (3, 1.0, b"\xff\xd8\xff\xe0\x00"),
    (4, (1.0, 3.0), b""),
    (5, (3.0, 4.0), b""),
    (0, (4.0, 6.0), b""),
]


def written(payloads):
    rec, idx = io.BytesIO(), io.BytesIO()
    writer = RecordWriter(rec, idx)
    offsets = [writer.add(key, payload) for key, payload in enumerate(payloads)]
    return rec, idx.getvalue(), offsets


def test_the_writer_gives_the_bytes_that_the_format_describes():
    rec, idx = io.BytesIO(), io.BytesIO()
    writer = RecordWriter(rec, idx)
    for key, labels, image in GOLDEN_RECORDS:
        writer.add(key, pack_record(labels, key, image))
    assert len(GOLDEN_REC) == 240
    assert rec.getvalue() == GOLDEN_REC
    assert idx.getvalue() == GOLDEN_IDX


def test_the_reader_takes_the_described_bytes_apart():
    file = io.BytesIO(GOLDEN_REC)
    for (offset, length), (key, labels, image) in zip(
        scan_frames(file, "x.rec"), GOLDEN_RECORDS, strict=True
    ):
        data = read_frame(file, offset, "x.rec")
        header, payload = unpack_record(data, "x.rec")
        assert len(data) == length
        assert header.id == key
        assert header.labels == (labels if isinstance(labels, tuple) else (labels,))
        assert header.flag == (len(labels) if isinstance(labels, tuple) else 0)
        assert payload == image
        head = read_head(file, offset, "x.rec")
        assert (head.header, head.size) == (header, len(image))
        assert head.end == record_span(file, offset, "x.rec")[1]


def test_a_pack_ends_with_its_identity_records_and_key_0(tmp_path):
    write_pack(tmp_path, [(0, b"\xff\xd8\xff\xd9"), (0, b"\xff\xd8\xff\xd9"), (1, b"\xff")], 2)
    expected = io.BytesIO()
    writer = RecordWriter(expected, io.BytesIO())
    for key, labels, image in [
        (1, 0.0, b"\xff\xd8\xff\xd9"), (2, 0.0, b"\xff\xd8\xff\xd9"), (3, 1.0, b"\xff"),
        (4, (1.0, 3.0), b""), (5, (3.0, 4.0), b""), (0, (4.0, 6.0), b""),
    ]:  # fmt: skip
        writer.add(key, pack_record(labels, key, image))
    assert (tmp_path / "train.rec").read_bytes() == expected.getvalue()
    assert read_index(tmp_path / "train.idx")[0].tolist() == [1, 2, 3, 4, 5, 0]
    assert (tmp_path / "property").read_text() == "2,112,112"


def test_the_mark_inside_a_payload_splits_the_record_as_described():
    rec, _, _ = written([b"AAAA" + MARK + b"BB"])
    assert rec.getvalue().hex(" ", 4) == "0a23d7ce 04000020 41414141 0a23d7ce 02000060 42420000"


payload = st.lists(
    st.sampled_from([MARK, MARK[:1], MARK[:3], b"\0", b"AAAA", b"abc"]) | st.binary(max_size=9),
    max_size=12,
).map(b"".join)


@given(st.lists(payload, max_size=6))
@example([MARK * 3])
@example([b"", MARK, b"a" + MARK, MARK + b"a"])
def test_what_is_written_is_read_whatever_marks_it_holds(payloads):
    rec, idx, offsets = written(payloads)
    lengths = [len(p) for p in payloads]
    assert list(scan_frames(rec, "x.rec")) == list(zip(offsets, lengths, strict=True))
    assert [read_frame(rec, o, "x.rec") for o in offsets] == payloads
    assert [line.split(b"\t")[1] for line in idx.splitlines()] == [b"%d" % o for o in offsets]


@given(payload, st.integers(1, 40) | st.none())
def test_a_head_says_what_the_whole_record_says(image, labels):
    label = 7.0 if labels is None else tuple(float(n) for n in range(labels))
    rec, _, _ = written([pack_record(label, 2**63, image), b"next"])
    head = read_head(rec, 0, "x.rec")
    header, data = unpack_record(read_frame(rec, 0, "x.rec"), "x.rec")
    assert (head.header, head.size) == (header, len(data))
    assert rec.getvalue()[head.end :] == written([b"next"])[0].getvalue()


@given(st.lists(payload, min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_is_found_out(payloads, data):
    rec, _, offsets = written(payloads)
    whole = rec.getvalue()
    cut = data.draw(st.integers(1, len(whole) - 1))
    if cut in offsets:
        return  # a whole file of fewer records: only an index can tell
    with pytest.raises(FormatError, match=r"the file ends .* the file is cut off: fetch it again"):
        list(scan_frames(io.BytesIO(whole[:cut]), "x.rec"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xe0\0\0\0\0", "x.rec at byte 0: the bytes ffd8ffe0; expected a record's"),
        (
            MARK + b"\0\0\0\x40",
            "x.rec at byte 0: a frame of kind 2; expected the start of a record",
        ),
        (
            MARK + b"\0\0\0\x20" * 1 + MARK + bytes(4),
            "at byte 8: a frame of kind 0; expected the ne",
        ),
        (MARK + b"\x08\0\0\0abcd", "at byte 0: the file ends 12 bytes into a record; expected 16"),
        (MARK, "at byte 0: the file ends 4 bytes into a record; expected 8 bytes or more"),
        (b"", "at byte 0: the file ends 0 bytes into a record; expected 8 bytes or more"),
    ],
)
def test_a_broken_record_is_named_by_its_place(data, message):
    with pytest.raises(FormatError, match=re.escape(message)):
        read_frame(io.BytesIO(data), 0, "x.rec")


def test_a_record_too_short_for_its_header_or_labels_is_an_error():
    with pytest.raises(FormatError, match=r"a record of 3 bytes; expected a header .* in 24 bytes"):
        unpack_record(b"abc", "x.rec#1")
    with pytest.raises(FormatError, match=r"x.rec#1: a record of 28 bytes; .* in 44 bytes or more"):
        unpack_record(b"\5" + bytes(27), "x.rec#1")
    rec, _, _ = written([b"\5" + bytes(27)])
    with pytest.raises(FormatError, match=r"x.rec at byte 0: a record of 28 bytes"):
        read_head(rec, 0, "x.rec")
    cut = io.BytesIO(GOLDEN_REC[:20])
    with pytest.raises(FormatError, match="the file ends 20 bytes into a record; expected 36"):
        read_head(cut, 0, "x.rec")


def test_an_index_keeps_the_order_of_its_file(tmp_path):
    path = tmp_path / "train.idx"
    path.write_bytes(b"5\t160\r\n0\t0\r\n17186135\t99999999999\r\n")
    keys, offsets = read_index(path)
    assert keys.dtype == offsets.dtype == np.int64
    assert keys.tolist() == [5, 0, 17186135]
    assert offsets.tolist() == [160, 0, 99999999999]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t0\n1 36\n", ":2: '1 36'; expected key, tab, offset"),
        ("0\t0\n1\t2\t3\n", ":2: '1\\\\t2\\\\t3'; expected key, tab, offset"),
        ("0\t0\n-1\t36\n", ":2: '-1\\\\t36'; expected key, tab, offset"),
        ("0\t1.5\n", ":1: '0\\\\t1.5'; expected key, tab, offset"),
        ("0\t99999999999999999999\n", ":1: .* expected key, tab, offset"),
        ("1\t0\n1\t36\n", ": key 1 is there twice; expected each key once"),
        ("", ": holds no records; expected lines of key, tab, offset"),
    ],
)
def test_a_broken_index_is_named_by_its_line(tmp_path, text, message):
    path = tmp_path / "train.idx"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_index(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("85742,112,112", (85742, 112, 112)),
        ("10572,112,96\n", (10572, 112, 96)),
        ("93431,112,112\n5179510\nshuffled\nSun Nov 22\n", (93431, 112, 112)),
        ("93431", None),
        ("", None),
    ],
)
def test_a_property_file_is_read_in_all_its_variants(tmp_path, text, found):
    (tmp_path / "property").write_text(text)
    assert read_property(tmp_path / "property") == found


def test_a_missing_property_file_is_no_error(tmp_path):
    assert read_property(tmp_path / "property") is None


def key_0(labels, image=b""):
    return read_head(written([pack_record(labels, 0, image)])[0], 0, "x.rec")


def test_key_0_says_which_keys_are_images():
    assert image_keys(key_0((4.0, 6.0)), {4, 5}.__contains__) == range(1, 4)


@pytest.mark.parametrize(
    ("labels", "image", "keys"),
    [
        ((4.0, 6.0), b"an image", {4, 5}),  # style D: key 0 is an image like the others
        (4.0, b"", {4, 5}),
        ((4.0, 6.0, 1.0), b"", {4, 5}),
        ((6.0, 4.0), b"", {4, 5, 6}),
        ((0.0, 6.0), b"", {0, 5}),
        ((4.0, 6.0), b"", {4}),
        ((4.0, 6.0), b"", {5}),
        ((4.5, 6.0), b"", {4, 5}),
        ((float("nan"), 6.0), b"", {4, 5}),
    ],
)
def test_a_key_0_that_says_something_else_is_not_relied_on(labels, image, keys):
    assert image_keys(key_0(labels, image), keys.__contains__) is None


def test_above_2_to_the_24_images_key_0_is_rounded_and_not_relied_on():
    exact, rounded = float(1 << 24), float((1 << 24) + 2)
    assert image_keys(key_0((exact - 9, exact)), lambda _: True) == range(1, (1 << 24) - 9)
    assert image_keys(key_0((exact - 9, rounded)), lambda _: True) is None
    assert image_keys(key_0((17091658.0, 17451890.0)), lambda _: True) is None  # Glint360K


def test_a_pack_is_written_with_each_label_in_one_run(tmp_path):
    with pytest.raises(FormatError, match=r"label 0 comes again; expected all its images in one"):
        write_pack(tmp_path, [(0, b"a"), (1, b"b"), (0, b"c")], 2)
    with pytest.raises(FormatError, match=r"label 2; expected 0 to 1"):
        write_pack(tmp_path, [(2, b"a")], 2)


def test_a_record_too_long_for_a_frame_is_refused():
    class Long(bytes):
        def __len__(self):
            return 1 << 29

    with pytest.raises(FormatError, match="536870912 bytes for key 3; expected at most 536870911"):
        RecordWriter(io.BytesIO(), io.BytesIO()).add(3, Long())
