import bz2
import gzip
import lzma
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import FormatError
from fusekit.formats.compressed import CompressedFile, compression_of

PACK = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
kinds = st.sampled_from(sorted(PACK))


def opened(folder, data, kind):
    path = Path(folder, "x")
    path.write_bytes(data)
    assert kind == compression_of(data[:6]) or not data
    return CompressedFile(path, kind)


@given(kinds, st.lists(st.binary(max_size=3000), min_size=1, max_size=3), st.data())
def test_any_part_is_read_as_it_was_whether_forward_or_back(kind, streams, data):
    whole = b"".join(streams)
    packed = b"".join(PACK[kind](stream) for stream in streams)
    padding = b"\0" * data.draw(st.integers(0, 600))
    with tempfile.TemporaryDirectory() as folder:
        file = opened(folder, packed + padding, kind)
        for _ in range(4):
            at, size = data.draw(st.integers(0, 9000)), data.draw(st.integers(0, 9000))
            assert file.seek(at) == min(at, len(whole))
            assert file.tell() == min(at, len(whole))
            assert file.read(size) == whole[at : at + size]
        file.close()


@pytest.mark.parametrize("kind", sorted(PACK))
def test_more_than_one_piece_is_given_at_once_and_skipped(tmp_path, kind):
    whole = bytes(range(256)) * 20_000
    file = opened(tmp_path, PACK[kind](whole), kind)
    assert file.read(len(whole) + 1) == whole
    assert file.read(1) == b""
    assert file.seek(4_000_001) == 4_000_001
    assert file.read(3) == whole[4_000_001:4_000_004]
    assert file.seek(5) == 5
    assert file.read(3) == whole[5:8]


@pytest.mark.parametrize("kind", sorted(PACK))
def test_a_stream_that_is_cut_off_is_named(tmp_path, kind):
    file = opened(tmp_path, PACK[kind](bytes(range(256)) * 9)[:-9], kind)
    with pytest.raises(
        FormatError, match=rf"the {kind} stream is damaged or cut off \(it ends ear"
    ):
        file.read(1 << 20)


@given(kinds, st.integers(0, 5000), st.binary(min_size=1, max_size=4))
def test_damage_is_an_error_of_ours_or_other_bytes(kind, at, value):
    packed = bytearray(PACK[kind](b"abc" * 1000))
    at = 6 + at % (len(packed) - 6)
    packed[at : at + len(value)] = value
    with tempfile.TemporaryDirectory() as folder:
        file = opened(folder, bytes(packed), kind)
        try:
            file.read(1 << 20)
        except FormatError as error:
            assert "is damaged or cut off" in error.found  # noqa: PT017


def test_a_stream_that_asks_for_gigabytes_of_memory_is_refused(tmp_path):
    packed = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    head = slice(12, 12 + (packed[12] + 1) * 4 - 4)  # the block's, without its checksum
    packed[packed.index(b"\x21\x01") + 2] = 40  # a dictionary of 4 GiB
    packed[head.stop : head.stop + 4] = zlib.crc32(packed[head]).to_bytes(4, "little")
    file = opened(tmp_path, bytes(packed), "xz")
    with pytest.raises(FormatError, match="Memory usage limit exceeded"):
        file.read(1)
