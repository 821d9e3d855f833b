"""URLs of object stores: which there are, and that none of them carries a secret."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from fusekit.errors import StorageError

_HOST: Final = re.compile(r"[\w.\-]*(:\d*)?|\[[0-9a-fA-F:.]+\](:\d*)?")
OBJECT_SCHEMES: Final = ("s3", "gs", "https", "http")


class Place(NamedTuple):
    """Where an object store's URL leads.

    Attributes:
        scheme: One of :data:`OBJECT_SCHEMES`.
        host: The bucket, or the server with its port.
        path: The folder in it, without slashes at either end.
    """

    scheme: str
    host: str
    path: str

    @property
    def url(self) -> str:
        """The URL, in its one spelling."""
        return f"{self.scheme}://{self.host}/{self.path}".rstrip("/")


def is_url(place: str | os.PathLike[str]) -> bool:
    """Say whether this is a URL and no path.

    Example:
        >>> is_url("s3://faces/store"), is_url("C:/store"), is_url("store")
        (True, False, False)
    """
    scheme, mark, _ = os.fspath(place).partition("://")
    return bool(mark) and len(scheme) > 1 and scheme.isalnum()


def refuse_secrets(url: str) -> None:
    """Refuse a URL with a name or password in it, without repeating them.

    Raises:
        StorageError: It holds one.
    """
    parts = _parts(url)
    if "@" in parts.netloc:
        place = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise StorageError(
            place, "holds a name or password", None,
            "give credentials by the environment, never in a URL",
        )  # fmt: skip


def split_url(url: str) -> Place:
    """Take an object store's URL apart.

    Args:
        url: ``s3://BUCKET/FOLDER``, ``gs://BUCKET/FOLDER``, ``https://HOST/FOLDER``, or
            ``http://`` of this machine.

    Raises:
        StorageError: It is of another kind, has no bucket or host, leads out of its folder, or
            holds a password, a query (where signed URLs carry theirs) or a fragment.

    Example:
        >>> split_url("s3://faces/store/")
        Place(scheme='s3', host='faces', path='store')
    """
    refuse_secrets(url)
    parts = _parts(url)
    plain = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if parts.scheme not in OBJECT_SCHEMES:
        expected = "s3://, gs:// or https://"
        raise StorageError(plain, f"{parts.scheme}:// can't be read", expected)
    if parts.query or parts.fragment:
        raise StorageError(
            plain, "has a query or a fragment", "a folder's URL",
            "give credentials by the environment, never in a URL",
        )  # fmt: skip
    if not parts.hostname:
        raise StorageError(plain, "names no bucket or host")
    names = [name for name in parts.path.split("/") if name]
    if {".", ".."} & set(names):
        raise StorageError(plain, "holds '.' or '..'", "a folder's URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise StorageError(plain, "is not encrypted", "https://, or http:// on this machine")
    return Place(parts.scheme, parts.netloc, "/".join(names))


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.port is None or parts.port > 0
    except ValueError:  # its words may repeat a password
        sound = False
    if not sound or not _HOST.fullmatch(parts.netloc.rpartition("@")[2]):
        place = url.partition("://")[0] + "://…"
        raise StorageError(place, "names no host or bucket that can be", "BUCKET, or HOST:PORT")
    return parts


def is_loopback(host: str | None) -> bool:
    """Say whether a host is this machine by its name or address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("example.org")
        (True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
