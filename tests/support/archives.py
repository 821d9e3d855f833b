"""Small zips and tars, well formed and hostile."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

#: Suffix to the mode of ``tarfile``.
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def write_zip(
    path: Path, files: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """Write a zip of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write a tar of these files, in this order, compressed as its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = next(end for end in sorted(TARS, key=len, reverse=True) if path.name.endswith(end))
    with tarfile.open(path, TARS[suffix], format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            add_member(archive, name, data.encode() if isinstance(data, str) else data)
    return path


def add_member(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    """Add a member to a tar with any fields of its head."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def write_archive(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write a zip or a tar, as the suffix says."""
    return write_zip(path, files) if path.suffix == ".zip" else write_tar(path, files)


def files_of(folder: Path) -> dict[str, bytes]:
    """Give the files below a folder by their path, as an archive of it holds them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
