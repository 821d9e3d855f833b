import io
import pickle
import pickletools

from hypothesis import given
from hypothesis import strategies as st

from fusekit.formats.pair_pack import read_packed_image, read_pair_pack
from fusekit.formats.pair_writer import write_pair_pack


def written(images, same):
    file = io.BytesIO()
    write_pair_pack(file, images, same)
    return file.getvalue()


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300), st.booleans())))
def test_a_pack_loads_as_the_pairs_that_were_written(pairs):
    images = [image for a, b, _ in pairs for image in (a, b)]
    same = [truth for _, _, truth in pairs]
    data = written(images, same)
    assert pickle.loads(data) == (images, same)
    assert pickle.loads(data, encoding="bytes") == (images, same)


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans())))
def test_a_pack_is_read_back_by_the_reader_of_packs(pairs):
    file = io.BytesIO(written([i for image, _ in pairs for i in (image, b"x")],
                              [truth for _, truth in pairs]))  # fmt: skip
    pack = read_pair_pack(file, "x.bin")
    found = [read_packed_image(file, image, "x.bin") for image in pack.images]
    assert found == [i for image, _ in pairs for i in (image, b"x")]
    assert pack.same.tolist() == [truth for _, truth in pairs]
    assert pack.end == len(file.getvalue())


def test_a_pack_calls_for_no_class_and_needs_no_memo():
    names = {opcode.name for opcode, _, _ in pickletools.genops(written([b"a", b"b"], [True]))}
    assert names == {
        "PROTO", "EMPTY_LIST", "MARK", "BINBYTES", "APPENDS", "NEWTRUE", "TUPLE2", "STOP"
    }  # fmt: skip


def test_a_packs_bytes_are_these_under_every_python():
    assert written([b"a", b"bc"], [False]).hex(" ") == (
        "80 03 5d 28 42 01 00 00 00 61 42 02 00 00 00 62 63 65 5d 28 89 65 86 2e"
    )
