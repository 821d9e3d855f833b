"""Objects of ``s3://``, ``gs://`` and ``https://`` stores, read with retries.

The requests are made by obstore (the Rust crate object_store): it keeps connections alive, signs,
and lets go of the interpreter's lock. Retrying is done here, so that a broken transfer goes on
where it stopped, every retry is counted, and an error is one line that says what was tried.
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from pathlib import PurePosixPath
from threading import Event, Lock
from typing import IO, TYPE_CHECKING, Any, Final, Self

from fusekit.errors import MissingExtraError, StorageError
from fusekit.storage.aws import s3_options
from fusekit.storage.google import gs_options
from fusekit.storage.retry import READER_CLOSED, Fault, Patience, Retry
from fusekit.storage.url import split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from fusekit.storage.url import Place

    T = TypeVar("T")

_CHUNK: Final = 1 << 20
_CONNECT: Final = timedelta(seconds=10)
_STALLED: Final = timedelta(seconds=30)
_WHOLE_REQUEST: Final = timedelta(hours=12)  # a slow but steady transfer is no fault
_STATUS: Final = re.compile(r"non-2xx status code: (\d{3})")
_TRY_AGAIN: Final = {408, 409, 425, 429}
_CREDENTIALS: Final = (
    "for s3:// set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or "
    "AWS_SKIP_SIGNATURE=true for a public bucket; for gs:// GOOGLE_APPLICATION_CREDENTIALS"
)
_OTHER_REGION: Final = ("BareRedirect", "PermanentRedirect", "AuthorizationHeaderMalformed")
_TOKEN_REQUESTS: Final = (
    "/latest/api/token", "/latest/meta-data/", "computeMetadata", "TokenRequest", "169.254.170.2",
)  # fmt: skip
_log = logging.getLogger("fusekit.storage")


class ObjectStore:
    """The objects under a URL; :meth:`open` opens one. Any number of threads may use it.

    Attributes:
        url: Where it is, in its one spelling.
    """

    def __init__(self, url: str, store: Any, retry: Retry) -> None:  # noqa: ANN401 - obstore's own
        self.url = url
        self._store = store
        self._retry = retry
        self._stop = Event()
        self._lock = Lock()
        self._retries = 0
        self._ranges = True  # until the server shows that it knows none
        self._reached = False

    @classmethod
    def open(cls, url: str, retry: Retry | None = None) -> Self:
        """Open the objects under a URL; nothing is asked of the server yet.

        Credentials come from where the provider's own tools look for them: environment, profile
        files, the instance's role. They are never in the URL.

        Args:
            url: ``s3://BUCKET/FOLDER``, ``gs://BUCKET/FOLDER``, ``https://HOST/FOLDER``, or
                ``http://`` of this machine. ``AWS_ENDPOINT_URL`` leads ``s3://`` elsewhere.
            retry: When to give up; None takes the defaults.

        Raises:
            StorageError: The URL can't be one, or holds a password; the endpoint or the profile
                can't be used.
            MissingExtraError: obstore is not installed.
        """
        place = split_url(url)
        try:
            store = _connect(place)
        except ImportError:
            scheme = f"{place.scheme}://"
            raise MissingExtraError(scheme, "remote") from None
        return cls(place.url, store, retry or Retry())

    @property
    def retries(self) -> int:
        """How many requests were made again."""
        return self._retries

    def where(self, name: str) -> str:
        """Give an object's URL."""
        return f"{self.url}/{name}"

    def get(self, name: str) -> bytes:
        """Read a whole object.

        Raises:
            StorageError: It is not there, access is refused, or it can't be read in all tries.
        """
        return b"".join(self.stream(name))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the object ends.

        Raises:
            StorageError: As :meth:`get`; or the server knows no ranges.
        """
        import obstore

        if length <= 0:
            return b""
        path = _checked(name)

        def read() -> bytes:
            try:
                return bytes(obstore.get_range(self._store, path, start=offset, length=length))
            except obstore.exceptions.GenericError as error:
                if _status(error) == 416:  # the range starts behind its end
                    return b""
                raise

        return self._again(name, read)

    def get_to_file(self, name: str, file: IO[bytes]) -> int:
        """Copy a whole object to a file, piece by piece.

        Returns:
            Its size in bytes.

        Raises:
            StorageError: As :meth:`get`.
        """
        return sum(file.write(chunk) for chunk in self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """Read a whole object piece by piece; a broken transfer goes on where it stopped.

        Nothing is checked but its length: an object that is replaced meanwhile may come mixed,
        so compare digests.

        Raises:
            StorageError: As :meth:`get`.
        """
        path = _checked(name)
        patience = Patience(self.where(name), self._retry, self._stop)
        done = 0
        while True:
            try:
                for chunk in self._from(path, done):
                    if self.closed:
                        raise StorageError(self.where(name), READER_CLOSED)
                    done += len(chunk)
                    patience.progress(len(chunk))
                    self._reached = True
                    yield chunk
            except _failures() as error:
                self._pause(name, patience, error)
            else:
                return

    def size(self, name: str) -> int:
        """Give an object's size in bytes.

        Raises:
            StorageError: As :meth:`get`.
        """
        import obstore

        path = _checked(name)
        return self._again(name, lambda: int(obstore.head(self._store, path)["size"]))

    def list(self, folder: str = "") -> list[str]:
        """List all objects in a folder and below, sorted; names are relative to the URL.

        Raises:
            StorageError: As :meth:`get`; plain HTTP servers can't list.
        """
        import obstore

        path = _checked(folder) if folder else None
        return self._again(
            folder,
            lambda: sorted(o["path"] for part in obstore.list(self._store, path) for o in part),
        )

    def close(self) -> None:
        """Let nothing wait for another try any more; streams end with an error."""
        self._stop.set()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._stop.is_set()

    def _from(self, path: str, start: int) -> Iterator[bytes]:
        """Give an object's bytes from ``start`` on."""
        import obstore

        skip = 0
        if start and self._ranges:
            try:
                got = obstore.get(self._store, path, options={"range": {"offset": start}})
            except (obstore.exceptions.NotSupportedError, obstore.exceptions.GenericError) as error:
                if not _knows_no_ranges(error):
                    raise
                self._ranges = False
        if not start or not self._ranges:
            got, skip = obstore.get(self._store, path), start
        for chunk in got.stream(_CHUNK):
            data = bytes(chunk)
            if skip >= len(data):
                skip -= len(data)
                continue
            yield data[skip:] if skip else data
            skip = 0

    def _again(self, name: str, request: Callable[[], T]) -> T:
        patience = Patience(self.where(name), self._retry, self._stop)
        while True:
            try:
                found = request()
            except _failures() as error:
                self._pause(name, patience, error)
            else:
                self._reached = True
                return found

    def _pause(self, name: str, patience: Patience, error: Exception) -> None:
        fault = _fault(error, reached=self._reached)
        try:
            patience.pause(fault)
        except StorageError as final:
            # The library's words are cut off: they repeat what the server said, request and all.
            raise final from None
        with self._lock:
            self._retries += 1
        _log.info("%s %s; trying again", self.where(name), fault.found)


def _connect(place: Place) -> Any:  # noqa: ANN401 - one of obstore's stores
    from obstore.store import GCSStore, HTTPStore, S3Store

    client: Any = {
        "connect_timeout": _CONNECT, "read_timeout": _STALLED, "timeout": _WHOLE_REQUEST,
    }  # fmt: skip
    once: Any = {"max_retries": 0}
    prefix = place.path or None
    if place.scheme == "s3":
        options, plain = s3_options()
        client["allow_http"] = plain
        return S3Store(
            place.host, prefix=prefix, client_options=client, retry_config=once, **options
        )
    if place.scheme == "gs":
        options, plain = gs_options()
        client["allow_http"] = plain
        return GCSStore(
            place.host, prefix=prefix, client_options=client, retry_config=once, **options
        )
    client["allow_http"] = place.scheme == "http"  # of this machine: any other was refused
    return HTTPStore(place.url, client_options=client, retry_config=once)


def _checked(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise StorageError(name, "leads out of the store", "a relative path without '..'")
    return name


def _failures() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, OSError


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _knows_no_ranges(error: Exception) -> bool:
    text = str(error)
    return "NotPartial" in text or "RangeNotSupported" in text


def _fault(error: Exception, *, reached: bool) -> Fault:
    """Say what went wrong without a word of the server's: it may repeat keys and signatures.

    Args:
        error: The library's.
        reached: Whether the store was read before, so that credentials were there and may be
            there again.
    """
    from obstore import exceptions

    text, status = str(error), _status(error)
    if any(m in text for m in _TOKEN_REQUESTS) or (status is None and "redential" in text):
        return Fault("no credentials were found for it", _CREDENTIALS, again=reached)
    if isinstance(error, FileNotFoundError):
        return Fault("is not there (404): it was removed, or never copied there", again=False)
    if isinstance(error, exceptions.PermissionDeniedError):
        return Fault("access is refused (403)", _CREDENTIALS, again=False)
    if isinstance(error, exceptions.UnauthenticatedError):
        return Fault("can't be read without credentials (401)", _CREDENTIALS, again=False)
    if _knows_no_ranges(error):
        return Fault("the server answers no range requests", "read it with a cache", again=False)
    if any(m in text for m in _OTHER_REGION):
        return Fault("the bucket is in another region", "set AWS_REGION", again=False)
    if status is not None:
        again = status >= 500 or status in _TRY_AGAIN
        return Fault(f"the server answered {status}", again=again)
    if isinstance(error, exceptions.NotSupportedError):
        return Fault("the server can't do this", again=False)
    return Fault(_broken(text))


def _broken(text: str) -> str:
    for mark, found in (
        ("TimedOut", "the server is silent"), ("Timeout", "the server is silent"),
        ("IncompleteBody", "the transfer broke off"), ("Interrupted", "the transfer broke off"),
        ("ConnectionReset", "the connection was reset"),
        ("IncompleteMessage", "the connection was closed without an answer"),
        ("Connect", "can't connect to the server"),
    ):  # fmt: skip
        if mark in text:
            return found
    return "the request failed"
