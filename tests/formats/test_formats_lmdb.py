from contextlib import suppress

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import write_lmdb

from fusekit.errors import FormatError
from fusekit.formats.lmdb import LmdbFile


def read_all(path):
    with path.open("rb", buffering=0) as file:
        database = LmdbFile(file, path.name)
        values = list(database.values())
        found = {}
        for value in values:
            file.seek(value.offset)
            found[value.key] = file.read(value.size)
    assert [value.key for value in values] == sorted(found)
    return found


@given(st.dictionaries(st.binary(min_size=1, max_size=500), st.binary(max_size=9_000), max_size=30))
def test_what_the_library_wrote_is_read(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("lmdb") / "a.lmdb"
    assert read_all(write_lmdb(path, values)) == values


def test_a_tree_of_several_levels_is_walked_in_key_order(tmp_path):
    values = {b"%06d" % n * 20: b"v" * (n % 300) for n in range(4_000)}
    path = write_lmdb(tmp_path / "a.lmdb", values)
    with path.open("rb") as file:
        assert LmdbFile(file, "a.lmdb").entries == 4_000
    with lmdb.open(str(path), subdir=False, lock=False) as env:
        assert env.stat()["depth"] > 2
    assert read_all(path) == values


def test_deleted_and_replaced_entries_are_gone(tmp_path):
    values = {str(n).encode(): bytes([n % 256]) * (9_000 if n % 5 else 40) for n in range(600)}
    path = write_lmdb(tmp_path / "a.lmdb", values)
    with lmdb.open(str(path), subdir=False, map_size=1 << 30, lock=False) as env:
        for n in range(0, 600, 3):
            with env.begin(write=True) as txn:
                txn.delete(str(n).encode())
                del values[str(n).encode()]
        with env.begin(write=True) as txn:
            txn.put(b"7", b"new")
    assert read_all(path) == values | {b"7": b"new"}


def test_an_empty_database_has_no_values(tmp_path):
    assert read_all(write_lmdb(tmp_path / "a.lmdb", {})) == {}


def test_databases_inside_are_named_and_not_entered(tmp_path):
    path = tmp_path / "a.lmdb"
    with lmdb.open(str(path), subdir=False, max_dbs=2, map_size=1 << 20, lock=False) as env:
        inner = env.open_db(b"inner")
        with env.begin(write=True) as txn:
            txn.put(b"hidden", b"x", db=inner)
            txn.put(b"plain", b"y")
    with path.open("rb") as file:
        found = {value.key: value.is_database for value in LmdbFile(file, "a").values()}
    assert found == {b"inner": True, b"plain": False}


def test_pages_may_have_another_size(tmp_path):
    path = write_lmdb(tmp_path / "a.lmdb", {b"key": b"value"})
    data = bytearray(path.read_bytes())
    page_size = int.from_bytes(data[40:44], "little")
    assert page_size in (4_096, 16_384)
    data[40:44] = (3_000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"pages of 3000 bytes.*a power of two"):
        read_all(path)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "is no LMDB"),
        (bytes(4_096), "is no LMDB"),
        (bytes(12) + bytes.fromhex("dec0efbe") + bytes(500), "32-bit or big-endian"),
        (bytes(16) + bytes.fromhex("beefc0de") + bytes(500), "32-bit or big-endian"),
        (bytes(16) + bytes.fromhex("dec0efbe02000000") + bytes(500), "an LMDB of version 2"),
    ],
)
def test_what_is_no_lmdb_of_this_kind_is_refused(tmp_path, head, message):
    path = tmp_path / "a.lmdb"
    path.write_bytes(head)
    with pytest.raises(FormatError, match=message):
        read_all(path)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = write_lmdb(tmp_path / "a.lmdb", {b"%03d" % n: b"v" * 9_000 for n in range(50)})
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(FormatError, match=r"past the end.*cut off"):
        read_all(path)


def test_pages_in_a_circle_end(tmp_path):
    values = {b"%04d" % n: b"v" * 90 for n in range(300)}
    path = write_lmdb(tmp_path / "a.lmdb", values)
    data = bytearray(path.read_bytes())
    size = 4_096
    # Every child of the root becomes the first one.
    root = next(
        n for n in range(2, len(data) // size)
        if int.from_bytes(data[n * size + 10 : n * size + 12], "little") == 1
    )  # fmt: skip
    page = data[root * size : (root + 1) * size]
    count = (int.from_bytes(page[12:14], "little") - 16) // 2
    nodes = [int.from_bytes(page[16 + 2 * i : 18 + 2 * i], "little") for i in range(count)]
    for node in nodes:
        data[root * size + node : root * size + node + 6] = page[nodes[0] : nodes[0] + 6]
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"entries; expected 300|in a circle|is not behind"):
        read_all(path)


@given(st.data())
def test_damaged_files_give_one_kind_of_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("lmdb")
    path = write_lmdb(folder / "a.lmdb", {b"%03d" % n: b"v" * (n * 90) for n in range(60)})
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(damaged) // 4_096 - 1)) * 4_096
        at += data.draw(st.integers(0, 200))
        damaged[at] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with suppress(FormatError, AssertionError):  # the latter: keys in another order
        read_all(path)
