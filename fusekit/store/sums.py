"""The digests of a folder's files, in the form that ``sha256sum -c`` reads.

They are written when a dataset, its embeddings or a mixture are finished, so that any flipped
byte can be named later, with fusekit or without it.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from fusekit.errors import StoreError
from fusekit.fingerprint import file_sha256
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusekit.storage.folder import Storage

_LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def write_sums(
    storage: Storage, folder: str, names: Iterable[str], known: Mapping[str, str] | None = None
) -> str:
    """Write ``SHA256SUMS`` of a folder of the store.

    Args:
        storage: The store.
        folder: Its name there.
        names: Files in it, relative to it; each is read.
        known: Further files and their sha256, which need not be read again; None for none.

    Returns:
        The sha256 of the file written.
    """
    digests = dict(known or {})
    for name in names:
        digests[name] = file_sha256(storage.path(f"{folder}/{name}"))
    text = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()
    storage.write(layout.sums(folder), text)
    return hashlib.sha256(text).hexdigest()


def read_sums(storage: Storage, folder: str) -> dict[str, str]:
    """Read ``SHA256SUMS`` of a folder of the store.

    Returns:
        A file's name in the store to its sha256.

    Raises:
        StoreError: A line is no digest and name.
        StorageError: The file is not there.
    """
    where = layout.sums(folder)
    digests = {}
    for number, line in enumerate(storage.read(where).decode("utf-8", "replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            place = f"{where} line {number}"
            raise StoreError(place, "is damaged", "a sha256 and a file's name")
        digests[f"{folder}/{match[2]}"] = match[1]
    return digests
