import datetime as dt
import io
import os
import pickle
import struct
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import FormatError
from fusekit.formats import pickle_machine
from fusekit.formats.pair_pack import (
    is_pair_pack,
    pair_folds,
    read_packed_image,
    read_pair_pack,
)

IMAGES = [b"\xff\xd8\xff\x00\n'\"\\" + bytes([n]) * 40 for n in range(4)]
ELEMENTS = {
    "bytes": bytes,
    "flat arrays": lambda image: np.frombuffer(image, np.uint8),
    "columns": lambda image: np.frombuffer(image, np.uint8).reshape(-1, 1).copy(),
}
LABELS = {
    "booleans": [True, False],
    "integers": [1, 0],
    "a tuple of numpy booleans": (np.True_, np.False_),
    "numpy integers": [np.int64(1), np.uint8(0)],
    "an array of booleans": np.array([True, False]),
    "an array of int64": np.array([1, 0]),
    "an array of the other byte order": np.array([1, 0], ">i4"),
    "a column of uint8": np.array([[1], [0]], np.uint8),
}
# lfw2pack.py under Python 2: cPickle, protocol 2, str and bool.
PYTHON_2 = (
    b"\x80\x02]q\x01(T\x05\x00\x00\x00\xff\xd8\xff\n'q\x02U\x02\xd8\x00q\x03e]q\x04\x88a\x86q\x05."
)
# The same with a numpy array of Python 2 for the first image, labels as protocol 0 spells them.
PYTHON_2_ARRAY = (
    b"((lp1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntS'b'\ntRp4\n"
    b"(I1\n(I5\nL1L\ntcnumpy\ndtype\np5\n(S'u1'\nI0\nI1\ntRp6\n(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    b"I00\nS\"\\xff\\xd8\\xff\\n'\"\ntbaS'\\xd8\\x00'\na(lp7\nI01\natp8\n."
)


def read(data):
    file = io.BytesIO(data)
    pack = read_pair_pack(file, "lfw.bin")
    images = [read_packed_image(file, image, "lfw.bin") for image in pack.images]
    assert [image.size for image in pack.images] == [len(image) for image in images]
    return images, pack.same.tolist()


def refused(data, match):
    with pytest.raises(FormatError, match=match):
        read(data)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("labels", LABELS)
def test_every_protocol_and_type_gives_the_bytes_and_labels_that_went_in(protocol, element, labels):
    pack = ([ELEMENTS[element](image) for image in IMAGES], LABELS[labels])
    assert read(pickle.dumps(pack, protocol)) == (IMAGES, [True, False])


def test_a_writable_buffer_of_protocol_5_is_bytes():
    pack = ([bytearray(image) for image in IMAGES[:2]], [True])
    assert read(pickle.dumps(pack, 5)) == (IMAGES[:2], [True])


@pytest.mark.parametrize("data", [PYTHON_2, PYTHON_2_ARRAY], ids=["str", "array"])
def test_streams_of_python_2_are_read(data):
    assert read(data) == ([b"\xff\xd8\xff\n'", b"\xd8\x00"], [True])
    assert pickle.loads(data, encoding="bytes")[1] == [True]  # and are pickles indeed


def test_an_image_that_is_remembered_may_stand_in_many_pairs():
    pack = ([IMAGES[0], IMAGES[1], IMAGES[0], IMAGES[1]], [True, True])
    assert read(pickle.dumps(pack, 4)) == (pack[0], [True, True])


def test_the_names_of_older_numpy_mean_the_same():
    new = pickle.dumps(([np.zeros(3, np.uint8)] * 2, [np.True_]), 2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != new
    assert read(old) == read(new) == ([bytes(3), bytes(3)], [True])


def test_what_follows_the_pickle_is_not_read():
    data = pickle.dumps((IMAGES[:2], [True]), 4)
    assert read_pair_pack(io.BytesIO(data + b"more"), "lfw.bin").end == len(data)


def test_memory_is_that_of_the_places_and_not_of_the_images():
    pack = read_pair_pack(io.BytesIO(pickle.dumps(([bytes(1 << 20)] * 40, [True] * 20), 4)), "x")
    assert sum(sys.getsizeof(image.text) for image in pack.images) < 1 << 14


@pytest.mark.parametrize(
    ("pairs", "lengths"),
    [(6000, [600] * 10), (13, [2, 2, 2] + [1] * 7), (10, [1] * 10)],
)
def test_folds_are_ten_runs_the_first_ones_longer(pairs, lengths):
    assert np.bincount(pair_folds(pairs))[1:].tolist() == lengths
    assert sorted(pair_folds(pairs)) == pair_folds(pairs).tolist()


def test_fewer_than_ten_pairs_have_no_folds():
    assert pair_folds(9).tolist() == [0] * 9


RUN = []


def run():
    RUN.append(True)


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


ATTACKS = {
    "a command": (Evil(os.system, ("exit 1",)), r"asks for posix\.system"),
    "our code": (Evil(run, ()), r"asks for .*\.run"),
    "eval": (Evil(eval, ("1 + 1",)), r"asks for (__builtin__|builtins)\.eval"),
    "a class": (dt.date(2020, 1, 1), r"asks for datetime\.date"),
    "an object of ours": (Evil(Evil, ()), r"asks for .*Evil"),
    "a dictionary": ({"a": 1}, r"holds a dictionary, at byte"),
    "a set": ({1}, r"holds a set|asks for (__builtin__|builtins)\.set"),
    "a decimal": (1.5, r"holds a decimal number"),
    "an array of objects": (np.array([None]), r"values of the type 'O8'"),
    "an array of dates": (np.array(["2020"], "M8[D]"), r"values of the type 'M8'"),
    "a structured type": (np.zeros(1, [("a", "u1")]), r"values of the type 'V1'"),
    "a huge number": (1 << 90, r"number"),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("attack", ATTACKS)
def test_anything_but_plain_data_is_refused_and_never_run(attack, protocol):
    value, match = ATTACKS[attack]
    refused(pickle.dumps(([value, b""], [True]), protocol), match)
    assert not RUN


MALFORMED = {
    b"": r"cut off at byte 0",
    b"\x80\x06.": r"a pickle of protocol 6; expected 0 to 5",
    b"\x80\x04B\xff\xff\xff\xffxx.": r"4,294,967,295 bytes should follow byte 7 .*at most 3",
    b"\x80\x04\x8e" + b"\xff" * 8 + b".": r"bytes should follow byte 11",
    b"\x80\x04\x95" + b"\xff" * 8 + b".": r"bytes should follow byte 11",
    b"\x80\x04\xee.": r"unknown opcode b'\\xee', at byte 3",
    b"\x80\x02cnumpy\n": r"is cut off",
    b"c" + b"x" * 999 + b"\n.": r"has an endless line",
    b"cos\nsystem\n(tR.": r"asks for os\.system; .*it was not run",
    b"(S'id'\nios\nsystem\n.": r"asks for os\.system",
    b"\x8c\x02os\x8c\x06system\x93.": r"asks for os\.system",
    b"NN\x93.": r"asks for \.;",
    b"cnumpy\nndarray\n(I1000000000\ntR.": r"calls numpy\.ndarray in an unknown way",
    b"cnumpy\ndtype\n)R.": r"calls numpy\.dtype in an unknown way",
    b"NNR.": r"calls what is no function",
    b"NNb.": r"sets the state of what has none",
    b"a.": r"takes a value that is not there",
    b"(N0a.": r"takes a value that is not there",
    b"NNa.": r"appends to what is no list",
    b"t.": r"takes a mark that is not there",
    b"h\x07.": r"takes value 7 of its memo",
    b"g1x\n.": r"has b'1x' where a number should be",
    b"I\n.": r"has b'' where a number should be",
    b"\x8b\xff\xff\xff\x7f.": r"a number of 2,147,483,647 bytes",
    b"NN.": r"holds more than one value",
    b"\x97.": r"holds a buffer kept elsewhere",
    b"\x82\x01.": r"holds an extension",
    b"Pid\n.": r"holds an object kept elsewhere",
    b"N.": r"no pack of pairs; expected two lists",
    b"](NNt.": r"holds more than one value",
    b"NN\x86.": r"its images are None",
    b"]N\x86.": r"its labels are None",
    b"(NNl]\x88a\x86.": r"image 0 is None; expected the bytes of an image file",
    b"(X\x01\x00\x00\x00aX\x01\x00\x00\x00bl]\x88a\x86.": r"image 0 is text",
    b"(C\x01aC\x01bl]K\x02a\x86.": r"label 0 is 2; expected True or False",
    b"(C\x01aC\x01bl]C\x01xa\x86.": r"label 0 is bytes; expected True or False",
    b"(C\x01aC\x01bC\x01cl]\x88a\x86.": r"holds 3 images and 1 labels; expected two images",
    b"(C\x01aC\x01bl]\x86.": r"holds 2 images and 0 labels",
    b"(S'ab\nS'b'\nl]\x88a\x86.": r"text at byte 2 can't be decoded",
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_malformed_is_one_line(data):
    refused(data, MALFORMED[data])


def test_arrays_that_are_no_image_files_are_refused():
    def first(value, protocol):
        return pickle.dumps(([value, b"x"], [True]), protocol)

    for protocol in (2, 5):
        refused(first(np.zeros((2, 2, 3), np.uint8), protocol), r"array of u1, shape \(2, 2, 3\)")
        refused(first(np.zeros(3, np.int32), protocol), r"image 0 is an array of i4, shape \(3,\)")
    data = first(np.zeros(3, np.uint8), 5)
    refused(data.replace(b"K\x03\x85", b"K\x04\x85"), r"image 0 has 3 bytes; expected 4, as its")
    labels = pickle.dumps((IMAGES[:2], np.zeros((1, 3), np.bool_)), 5)
    refused(labels, r"its labels have the shape \(1, 3\)")


def test_a_text_that_is_no_bytes_is_refused():
    data = pickle.dumps(([b"ab", b"\xff"], [True]), 2)
    refused(data.replace("\xff".encode(), "\u0100".encode()), r"can't be decoded")


def test_a_feature_matrix_is_told_from_a_pack():
    for head in (struct.pack("<4i", 512, 1, 4, 5), struct.pack("<4i", 640, 512, 2048, 5)):
        assert not is_pair_pack(head)
        refused(head + bytes(64), r"holds \d+ x \d+ features, no images; .*a model's output")
    assert is_pair_pack(PYTHON_2)
    assert is_pair_pack(PYTHON_2_ARRAY)
    assert not is_pair_pack(b"\xff\xd8\xff\xe0")
    assert not is_pair_pack(b"")


BOMBS = {
    b"N" + b"\x85" * 300_000 + b".": r"no pack of pairs",
    b"N" + b"2\x86" * 300_000 + b".": r"label 0 is a tuple",
    b"]" + b"2a" * 300_000 + b"2\x86.": r"holds 300000 images|label 0 is a list",
    b"(" * 300_000 + b".": r"takes a value that is not there",
}


@pytest.mark.parametrize("bomb", BOMBS, ids=["nested", "doubled", "in itself", "marks"])
def test_a_bomb_ends_soon_with_an_error(bomb):
    started = time.monotonic()
    refused(bomb, BOMBS[bomb])
    assert time.monotonic() - started < 10


def test_a_pickle_of_endless_steps_is_left(monkeypatch):
    monkeypatch.setattr(pickle_machine, "_MAX_STEPS", 1000)
    refused(b"N0" * 1000 + b".", r"takes more than 1,000 steps; expected a verification pack")


def outcome(data):
    try:
        return read(data)
    except FormatError as error:
        return str(error)


GOOD = [pickle.dumps((IMAGES[:2], [True]), p) for p in range(6)] + [
    pickle.dumps((list(map(ELEMENTS["columns"], IMAGES[:2])), np.array([True])), p)
    for p in (0, 2, 5)
]


@given(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=4)), max_size=4),
    st.integers(0, 500),
)
def test_mutated_and_cut_packs_are_read_or_refused_with_one_error(data, changes, keep):
    mutated = bytearray(data)
    for at, new in changes:
        mutated[at : at + len(new)] = new
    found = outcome(bytes(mutated[: len(mutated) if keep > 450 else keep]))
    if isinstance(found, str):
        assert "\n" not in found
        assert len(found) < 1000
    else:
        images, same = found
        assert len(images) == 2 * len(same)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_a_pack(data):
    assert outcome(b"\x80\x04" + data + b".")
