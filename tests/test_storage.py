import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from fusekit.errors import StorageError, StoreError
from fusekit.storage.folder import Storage, open_storage


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "store")


def test_a_file_appears_only_when_it_is_whole(storage):
    with storage.writing("a/b.bin") as file:
        file.write(b"half")
        assert not storage.exists("a/b.bin")
        assert storage.names("a") == []
    assert storage.read("a/b.bin") == b"half"


def test_a_failed_write_leaves_the_old_file_and_no_rest(storage):
    storage.write("a.bin", b"old")
    with pytest.raises(RuntimeError, match="stop"), storage.writing("a.bin") as file:
        file.write(b"new")
        raise RuntimeError("stop")
    assert storage.read("a.bin") == b"old"
    assert names(storage.root) == ["a.bin"]


def test_only_the_first_create_of_a_name_wins(storage):
    assert storage.create("x.json", b"1") is True
    assert storage.create("x.json", b"2") is False
    assert storage.read("x.json") == b"1"
    assert names(storage.root) == ["x.json"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_name_that_leads_out_of_the_store_is_refused(storage, name):
    with pytest.raises(StorageError, match="leads out of the store"):
        storage.path(name)


def test_a_missing_file_is_one_line(storage):
    with pytest.raises(StorageError, match=r"^a\.bin: is not there$"):
        storage.read("a.bin")


def test_a_full_disk_is_one_line_and_leaves_nothing(storage, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        storage.write("a.bin", b"x")
    assert names(storage.root) == []


def test_a_folder_that_cannot_be_written_is_one_line(storage, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="can't be written or read here"):
        storage.write("a.bin", b"x")


def test_leftovers_of_killed_writers_are_swept_and_nothing_else(storage):
    storage.write("d/keep.bin", b"x")
    storage.path("d/.tmp-0123").write_bytes(b"rest")
    assert storage.sweep("d") == 1
    assert names(storage.path("d")) == ["keep.bin"]


def _hold(root, held, leave):
    with Storage(root).lock("pins"):
        held.set()
        leave.wait()


def test_a_second_run_on_a_dataset_is_told_of_the_first_and_may_go_on_after_it(storage):
    context = multiprocessing.get_context("spawn")
    held, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(storage.root, held, leave))
    other.start()
    assert held.wait(30)
    with pytest.raises(StoreError, match="pins: another run is writing it"), storage.lock("pins"):
        pass
    leave.set()
    other.join()
    with storage.lock("pins"):
        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/store", "s3:// can't hold a store in this release"),
        ("s3://key:secret@bucket/store", "holds a name or password"),
    ],
)
def test_a_store_that_cannot_be_is_refused_without_showing_a_password(url, message):
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StorageError, match="is a file; expected a folder"):
        open_storage(tmp_path / "f")


def test_a_renamed_file_replaces_what_was_there_and_one_that_is_gone_is_an_error(tmp_path):
    storage = Storage(tmp_path)
    storage.write("a/one", b"1")
    storage.write("b/two", b"2")
    storage.rename("a/one", "b/two")
    assert (storage.read("b/two"), storage.exists("a/one")) == (b"1", False)
    with pytest.raises(StorageError, match=r"a/one: is not there"):
        storage.rename("a/one", "b/two")
