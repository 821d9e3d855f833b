"""What a loader keeps on this machine: whole shards of an object store, decoded crops."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from fusekit.cards.checking import nearest
from fusekit.errors import LoaderError

_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([KMGT]?B)?")
_UNITS: Final = {None: 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_WHAT: Final = "None, 'none', 'decoded' or {decoded, shards, folder, size}"


@dataclass(frozen=True)
class CacheSettings:
    """What is kept, where, and how much of it.

    Attributes:
        decoded: Keep crops as they are decoded: from the second epoch on they are only copied.
            A crop takes 37,632 bytes.
        shards: Keep whole shards of an object store; else its crops are read one by one.
        folder: Where; None takes ``FUSEKIT_CACHE``, else the system's folder for caches.
        size: Most bytes on the disk, of decoded crops and of shards each; None: 20 GB, and never
            more than half of what is free.
    """

    decoded: bool = False
    shards: bool = True
    folder: Path | None = None
    size: int | None = None

    @classmethod
    def of(cls, value: CacheSettings | Mapping[str, Any] | str | None) -> CacheSettings:
        """Take it in any of its forms.

        Args:
            value: None: shards of object stores are kept; ``"none"``: nothing is; ``"decoded"``:
                decoded crops too; or a mapping of the attributes, ``size`` in bytes or as text.

        Raises:
            LoaderError: It is none of these.

        Example:
            >>> CacheSettings.of({"decoded": True, "size": "1.5 GB"}).size
            1500000000
        """
        if isinstance(value, CacheSettings):
            return value
        if value is None or value == "none":
            return cls(shards=value is None)
        if value == "decoded":
            return cls(decoded=True)
        if not isinstance(value, Mapping):
            raise LoaderError("cache", f"is {value!r}", _WHAT)
        known = [field.name for field in fields(cls)]
        for name in value:
            if name not in known:
                near = nearest(str(name), known)
                fix = f"did you mean {near!r}?" if near else None
                raise LoaderError("cache", f"unknown key {name!r}", ", ".join(known), fix)
        for name in ("decoded", "shards"):
            if not isinstance(value.get(name, False), bool):
                where = f"cache.{name}"
                raise LoaderError(where, f"is {value[name]!r}", "true or false")
        folder, size = value.get("folder"), value.get("size")
        if folder is not None and not isinstance(folder, (str, os.PathLike)):
            raise LoaderError("cache.folder", f"is {folder!r}", "a path")
        return cls(
            decoded=value.get("decoded", False),
            shards=value.get("shards", True),
            folder=None if folder is None else Path(folder).expanduser(),
            size=None if size is None else _size(size),
        )


def _size(value: object) -> int:
    plain = isinstance(value, (int, str)) and not isinstance(value, bool)
    found = _SIZE.fullmatch(str(value).strip()) if plain else None
    size = int(Fraction(found[1]) * _UNITS[found[2]]) if found else 0
    if not size:
        raise LoaderError("cache.size", f"is {value!r}", "bytes, or text such as '20 GB'")
    return size
