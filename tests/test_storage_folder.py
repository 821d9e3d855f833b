"""A folder that is written as a whole: there when its block ends, and not before."""

import fcntl
import os

import pytest

from fusekit.errors import StorageError, StoreError
from fusekit.storage.folder import Storage, writing_folder


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_a_folder_appears_when_its_block_ends(tmp_path):
    with writing_folder(tmp_path / "new" / "out") as target:
        target.write("d/a.bin", b"x")
        assert not (tmp_path / "new/out").exists()
    assert names(tmp_path) == ["new", "new/out", "new/out/d", "new/out/d/a.bin"]


def test_an_empty_folder_is_filled_and_a_full_one_is_an_error(tmp_path):
    (tmp_path / "out").mkdir()
    with writing_folder(tmp_path / "out") as target:
        target.write("a.bin", b"x")
    with (
        pytest.raises(StorageError, match="out: Directory not empty"),
        writing_folder(tmp_path / "out") as target,
    ):
        target.write("b.bin", b"x")
    assert names(tmp_path) == ["out", "out/a.bin"]


def test_an_error_or_an_interrupt_leaves_nothing(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), writing_folder(tmp_path / "out") as target:
            target.write("a.bin", b"x")
            raise error
        assert names(tmp_path) == []


def test_what_a_killed_run_left_is_emptied(tmp_path):
    (tmp_path / ".tmp-out" / "d").mkdir(parents=True)
    (tmp_path / ".tmp-out" / "d" / "a").write_bytes(b"x")
    (tmp_path / ".tmp-out" / "b").write_bytes(b"x")
    with writing_folder(tmp_path / "out") as target:
        target.write("c", b"x")
    assert names(tmp_path) == ["out", "out/c"]


def test_a_folder_that_another_run_writes_is_refused_and_left_alone(tmp_path):
    (tmp_path / ".tmp-out").mkdir()
    (tmp_path / ".tmp-out" / "theirs").write_bytes(b"x")
    other = os.open(tmp_path / ".tmp-out", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with (
        pytest.raises(StoreError, match=r".tmp-out: another run is writing it; wait for it"),
        writing_folder(tmp_path / "out"),
    ):
        raise AssertionError
    os.close(other)
    assert names(tmp_path) == [".tmp-out", ".tmp-out/theirs"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with (
        pytest.raises(StorageError, match="file/out: Not a directory"),
        writing_folder(tmp_path / "file" / "out"),
    ):
        raise AssertionError


def test_a_file_is_overwritten_in_place_for_whoever_has_it_open(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    with (tmp_path / "a").open("rb") as reader:
        with Storage(tmp_path).overwriting("a") as file:
            file.seek(3)
            file.write(b"xyz")
        assert reader.read() == b"012xyz6789"


def test_what_is_not_there_can_not_be_overwritten(tmp_path):
    with (
        pytest.raises(StorageError, match="a: is not there"),
        Storage(tmp_path).overwriting("a"),
    ):
        pass
