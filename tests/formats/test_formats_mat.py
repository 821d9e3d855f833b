import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import FormatError
from fusekit.formats import mat
from fusekit.formats.mat import Cells, Structs, read_mat

HEAD = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + struct.pack("<H", 0x0100) + b"IM"


def saved(compress=False, **variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compress)
    return file.getvalue()


def cells(*values):
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


DEEP = 200_000  # SciPy's reader ends the process at a tenth of it


def matrix(kind, body, shape=(1, 1), name=b""):
    flags = element(6, struct.pack("<II", kind, 0))
    dims = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + dims + element(1, name) + body)


NUMBER = matrix(6, element(9, struct.pack("<d", 1)))


@pytest.mark.parametrize("compress", [False, True])
def test_cells_structures_text_and_numbers_are_read(compress):
    data = saved(compress, first=1.5, x=cells("Zoé", np.arange(3), {"a": "b", "c": -7}, cells()))
    value = read_mat(data, "x", "x.mat")
    assert isinstance(value, Cells)
    assert value.shape == (1, 4)
    text, numbers, structure, empty = value.values
    assert text == "Zoé"
    assert numbers.tolist() == [0, 1, 2]
    assert isinstance(structure, Structs)
    assert structure.fields == ("a", "c")
    assert structure.values[0][0] == "b"
    assert structure.values[0][1].tolist() == [-7]
    assert isinstance(empty, (Cells, np.ndarray))
    assert read_mat(data, "first", "x.mat").tolist() == [1.5]


def test_cells_stand_column_after_column():
    array = np.empty((2, 3), object)
    for row in range(2):
        for column in range(3):
            array[row, column] = f"{row}{column}"
    value = read_mat(saved(x=array), "x", "x.mat")
    assert value.shape == (2, 3)
    assert value.values == ("00", "10", "01", "11", "02", "12")


def test_files_of_the_other_byte_order_are_read():
    tag = ">II"
    text = struct.pack(tag, 14, 56) + struct.pack(tag, 6, 8) + struct.pack(tag, 6, 0)
    text += struct.pack(tag, 5, 8) + struct.pack(">ii", 1, 1)
    text += struct.pack(">HH", 1, 1) + b"x\0\0\0" + struct.pack(tag, 9, 8) + struct.pack(">d", 2.5)
    data = HEAD[:124] + b"\x01\x00MI" + text
    assert read_mat(data, "x", "x.mat").tolist() == [2.5]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "is no MAT file"),
        (b"MATLAB 7.3 MAT-file".ljust(200, b" "), r"is of MATLAB 7\.3 \(HDF5\)"),
        (HEAD, "has no variable 'x'"),
        (saved(y=1.0), "has no variable 'x'"),
        (HEAD + element(14, b"")[:4], "is damaged"),
        (HEAD + struct.pack("<II", 14, 1 << 31), "ends too early"),
        (HEAD + struct.pack("<II", 15, 8) + b"nonsense", "is damaged"),
        (HEAD + matrix(1, NUMBER, shape=(1 << 30, 1 << 30), name=b"x"), "ends too early"),
        (HEAD + matrix(1, NUMBER, shape=(-1, 1), name=b"x"),
         r"has an array of the shape \(-1, 1\)"),
        (HEAD + matrix(1, element(9, b"\0" * 8), name=b"x"),
         "has an element of the type 9 where an array should be"),
        (HEAD + element(14, element(6, b"")), "is damaged"),
        (HEAD + matrix(5, b"", name=b"x"), "has an array of the class 5"),
        (HEAD + matrix(6, element(99, b""), name=b"x"), "has numbers of the unknown type 99"),
        (HEAD + matrix(4, element(99, b"a"), name=b"x"), "has text of the unknown type 99"),
        (HEAD + matrix(2, element(5, b"\0" * 4) + element(1, b"a"), name=b"x"),
         "has a structure with a damaged list of fields"),
    ],
)  # fmt: skip
def test_damaged_files_say_what_is_wrong(data, found):
    with pytest.raises(FormatError, match=rf"x\.mat: {found}; expected a MAT file of level 5"):
        read_mat(data, "x", "x.mat")


def test_a_file_that_nests_deeply_is_refused_and_does_no_harm():
    head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1))
    parts, size = [NUMBER], len(NUMBER)
    for level in range(1, DEEP + 1):
        own = head + element(1, b"x" if level == DEEP else b"")
        parts.append(struct.pack("<II", 14, len(own) + size) + own)
        size += len(own) + 8
    with pytest.raises(FormatError, match="nests more than 32 deep"):
        read_mat(HEAD + b"".join(reversed(parts)), "x", "x.mat")


def test_what_a_small_file_unfolds_to_is_bounded(monkeypatch):
    monkeypatch.setattr(mat, "_MAX_UNFOLDED", 1 << 20)
    packed = zlib.compress(bytes(1 << 22))
    data = HEAD + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(FormatError, match="unfolds to more than 1048576 bytes"):
        read_mat(data, "x", "x.mat")


SMALL = saved(x=cells("a", np.arange(3), {"b": cells("c", 1.0)}))
PACKED = saved(compress=True, x=cells("a", np.arange(3), {"b": cells("c", 1.0)}))


@given(st.sampled_from([SMALL, PACKED]), st.data())
def test_mutated_and_cut_files_give_values_or_format_errors(data, draw):
    changed = bytearray(data[: draw.draw(st.integers(0, len(data)), label="length")])
    for _ in range(draw.draw(st.integers(0, 4))):
        if changed:
            at = draw.draw(st.integers(min(120, len(changed) - 1), len(changed) - 1))
            changed[at] = draw.draw(st.integers(0, 255))
    with suppress(FormatError):
        read_mat(bytes(changed), "x", "x.mat")
