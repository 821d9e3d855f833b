"""The one door through which a local store's files are read and written.

Names inside a store are relative POSIX paths, so another kind of storage can stand behind the
same functions. Every write is whole: a temporary name in the same folder,
synced, then renamed. A reader therefore never sees half a file under its final name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from fusekit.errors import StorageError, StoreError
from fusekit.storage.url import refuse_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEMPORARY = ".tmp-"


class Storage:
    """A folder whose files are written whole or not at all.

    Args:
        root: The folder; made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Give the local path of a name.

        Raises:
            StorageError: The name leads out of the store.
        """
        parts = PurePosixPath(name).parts
        if parts[:1] == ("/",) or ".." in parts:
            raise StorageError(name, "leads out of the store", "a relative path without '..'")
        return self.root.joinpath(*parts)

    def exists(self, name: str) -> bool:
        """Say whether a file or folder of this name is there."""
        return self.path(name).exists()

    def size(self, name: str) -> int:
        """Give a file's size in bytes.

        Raises:
            StorageError: It is not there.
        """
        with _translated(name):
            return self.path(name).stat().st_size

    def read(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            StorageError: It is not there or can't be read.
        """
        with _translated(name):
            return self.path(name).read_bytes()

    def names(self, folder: str) -> list[str]:
        """List the finished files and folders in a folder, sorted; empty when it is not there."""
        path = self.path(folder)
        if not path.is_dir():
            return []
        return sorted(p.name for p in path.iterdir() if not p.name.startswith("."))

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that appears under its name only when the block ends without an error.

        Raises:
            StorageError: The disk is full, or the folder can't be written.
        """
        final = self.path(name)
        temporary = final.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        with _translated(name):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(final)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(final.parent)

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, replacing what was there.

        Raises:
            StorageError: As :meth:`writing`.
        """
        with self.writing(name) as file:
            file.write(data)

    @contextmanager
    def overwriting(self, name: str) -> Iterator[IO[bytes]]:
        """Open a finished file to be written in place; it is synced when the block ends.

        Only erasure does this: whoever has the file open or mapped sees the change.

        Raises:
            StorageError: It is not there, or can't be written.
        """
        with _translated(name), self.path(name).open("r+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def create(self, name: str, data: bytes) -> bool:
        """Write a whole file only if nothing of its name is there; exactly one caller wins.

        Returns:
            True when this call made it, False when it was there already.

        Raises:
            StorageError: As :meth:`writing`.
        """
        final = self.path(name)
        if final.exists():
            return False
        temporary = final.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        with _translated(name):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, final)  # unlike rename, fails when the name is taken
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(final.parent)
        return True

    def rename(self, name: str, final: str) -> None:
        """Give a finished file another name, replacing what was there.

        Raises:
            StorageError: It is not there, or the folder can't be written.
        """
        path = self.path(final)
        with _translated(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.path(name).replace(path)
            _sync_folder(path.parent)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with _translated(name):
            self.path(name).unlink(missing_ok=True)

    def sweep(self, folder: str) -> int:
        """Remove what killed writers left right in a folder; call only under its lock.

        Returns:
            How many files were removed.
        """
        leftovers = list(self.path(folder).glob(f"{_TEMPORARY}*"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock of this name; the system frees it when the process dies.

        Raises:
            StoreError: Another process holds it.
        """
        path = self.path(f".locks/{name}.lock")
        with _translated(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StoreError(
                        name, "another run is writing it", None, "wait for it or stop it"
                    ) from None
                yield


def open_storage(store: str | os.PathLike[str]) -> Storage:
    """Open the storage that a store's path or URL names; nothing is written yet.

    Args:
        store: A folder's path.

    Raises:
        StorageError: A URL of a kind that can't hold a store, or with a password in it.
    """
    text = os.fspath(store)
    if not text:  # an unset variable; it would mean the current folder
        raise StorageError("the store's path", "is empty", "a folder's path")
    parts = urlsplit(text)
    if len(parts.scheme) > 1:  # one letter is a drive
        refuse_secrets(text)
        raise StorageError(
            text, f"{parts.scheme}:// can't hold a store in this release", "a folder's path"
        )
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise StorageError(text, "is a file", "a folder")
    return Storage(path)


@contextmanager
def writing_folder(folder: Path) -> Iterator[Storage]:
    """Fill a folder that appears under its name only when the block ends without an error.

    Args:
        folder: Where it goes: nothing or an empty folder is there.

    Yields:
        A folder beside it, to be filled; a killed run's is emptied first.

    Raises:
        StorageError: The disk is full, or the folder can't be written.
        StoreError: Another process is filling it.
    """
    filling = folder.with_name(f"{_TEMPORARY}{folder.name}")
    with _translated(str(folder)):
        filling.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(filling, os.O_RDONLY)
        try:
            _lock_folder(descriptor, filling)
            for path in filling.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            try:
                yield Storage(filling)
                filling.replace(folder)
            except BaseException:
                shutil.rmtree(filling, ignore_errors=True)
                raise
        finally:
            os.close(descriptor)
        _sync_folder(folder.parent)


def _lock_folder(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have renamed it since it was opened here.
        mine = os.path.samestat(os.fstat(descriptor), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        mine = False
    if not mine:
        raise StoreError(folder, "another run is writing it", None, "wait for it or stop it")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StorageError(name, "is not there") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                name, "the disk is full", None, "free some space and run the same command again"
            ) from None
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StorageError(name, "can't be written or read here (permission)") from None
        raise StorageError(name, f"{error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
