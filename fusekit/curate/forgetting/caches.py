"""Erase from this user's caches: decoded crops, shards and tables of mixtures."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

from fusekit.errors import StorageError
from fusekit.loader.crops.decoded import blank_erased
from fusekit.mixture.mixture import Mixture
from fusekit.storage.cache import cache_root
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusekit.storage.folder import Storage

_DIGEST: Final = re.compile(r"[0-9a-f]{32,64}")


def erase_caches(storage: Storage, shards: Iterable[str], mixtures: Mapping[str, str]) -> None:
    """Overwrite or drop what the caches hold of erased samples.

    Only the usual folder is looked at (``FUSEKIT_CACHE``, else the system's).

    Args:
        storage: The store.
        shards: sha256 of the shards before they were overwritten.
        mixtures: Name to sha256 of its ``mixture.json`` before it was changed.

    Raises:
        StorageError: A cache can't be written.
    """
    root = cache_root()
    try:
        for digest in shards:
            if _DIGEST.fullmatch(digest):
                (root / "shards" / f"{digest}.tar").unlink(missing_ok=True)
        for name, digest in mixtures.items():
            # The tables of a copy in an object store are kept under the digest of its record.
            if _DIGEST.fullmatch(digest):
                shutil.rmtree(root / "mixtures" / digest[:32], ignore_errors=True)
            blank_erased(
                Mixture.open(storage.path(layout.mixture(name)), storage.root, verify="none")
            )
    except OSError as error:
        raise StorageError(
            root, f"the cache can't be written ({error.strerror or error})", None,
            "give the same command again when it can",
        ) from None  # fmt: skip
