import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import FormatError
from fusekit.formats.msgpack import pack_array_head, pack_bytes, pack_int

msgpack = importlib.import_module("msgpack")


@given(st.integers(-32, 2**64 - 1) | st.sampled_from([127, 128, 255, 256, 65_535, 65_536]))
def test_a_number_is_written_as_the_library_writes_it(value):
    assert pack_int(value) == msgpack.packb(value)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536])
def test_bytes_are_written_as_the_library_writes_them(size):
    assert pack_bytes(b"x" * size) == msgpack.packb(b"x" * size)


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536])
def test_an_array_is_written_as_the_library_writes_it(count):
    assert pack_array_head(count) + b"\0" * count == msgpack.packb([0] * count)


@pytest.mark.parametrize("value", [-33, 2**64])
def test_a_number_that_has_no_form_is_an_error(value):
    with pytest.raises(FormatError, match=rf"the number {value}; expected -32 to 2\*\*64 - 1"):
        pack_int(value)


def test_bytes_that_have_no_form_are_an_error():
    class Long(bytes):
        def __len__(self):
            return 1 << 32

    with pytest.raises(FormatError, match="4294967296 bytes; expected under 4 GiB"):
        pack_bytes(Long())
