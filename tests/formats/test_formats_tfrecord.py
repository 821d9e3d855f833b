import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import example

from fusekit.errors import FormatError
from fusekit.formats.tfrecord import (
    Span,
    example_features,
    pack_record,
    read_features,
    read_record,
    record_size,
)

VALUES = st.one_of(st.binary(max_size=600), st.integers(-(1 << 63), (1 << 63) - 1))


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_records_come_back_one_after_another(payloads):
    data = b"".join(map(pack_record, payloads))
    file, at = io.BytesIO(data), 0
    for payload in payloads:
        assert record_size(file, at, "a") == len(payload)
        assert read_record(file, at, "a") == payload
        at += 16 + len(payload)
    assert at == len(data)


@given(st.dictionaries(st.text("abc/", min_size=1, max_size=9), VALUES, max_size=5))
def test_features_are_found_wherever_the_picture_stands(features):
    data = example(features)
    for found in (
        example_features(data, "a"),
        read_features(io.BytesIO(pack_record(data)), 0, "a")[0],
    ):
        assert {
            name: data[value.start : value.end] if isinstance(value, Span) else value
            for name, value in found.items()
        } == features


def test_a_record_s_end_is_where_the_next_one_starts():
    data = pack_record(example({"image": b"x" * 1_000}))
    assert read_features(io.BytesIO(data + data), 0, "a")[1] == len(data)


def test_damage_is_seen_by_the_checksums():
    data = bytearray(pack_record(b"payload"))
    data[14] ^= 1
    with pytest.raises(FormatError, match=r"a.tfrecord at byte 0: a record whose checksum differs"):
        read_record(io.BytesIO(data), 0, "a.tfrecord")
    with pytest.raises(FormatError, match="at byte 3: no record starts there, by its checksum"):
        read_record(io.BytesIO(data), 3, "a.tfrecord")


def test_a_file_that_ends_too_early_is_cut_off():
    data = pack_record(b"payload")
    with pytest.raises(FormatError, match="the file ends 5 bytes into a record of 7"):
        read_record(io.BytesIO(data[:17]), 0, "a")
    with pytest.raises(FormatError, match="at byte 23: the file ends"):
        read_record(io.BytesIO(data), len(data), "a")


def test_a_length_that_can_t_be_is_never_allocated():
    huge = pack_record(b"")[:0]
    length = (1 << 60).to_bytes(8, "little")
    framed = pack_record(length)  # its own checksum is of the length's bytes
    huge = length + framed[20:24]
    with pytest.raises(FormatError, match="a record of 1152921504606846976 bytes"):
        read_record(io.BytesIO(huge + bytes(100)), 0, "a")


@given(st.binary(max_size=200))
def test_what_is_no_example_is_an_error_or_has_features(data):
    with suppress(FormatError):
        assert isinstance(example_features(data, "a"), dict)


@given(st.data())
def test_damaged_examples_give_one_kind_of_error(data):
    whole = bytearray(example({"image": b"jpeg" * 99, "label": -1, "path": b"a/b"}))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FormatError):
        example_features(bytes(whole), "a")
