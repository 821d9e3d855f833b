"""How Google Cloud Storage is reached; its library finds the credentials itself."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from fusekit.errors import StorageError
from fusekit.storage.url import is_loopback

EMULATOR: str = "STORAGE_EMULATOR_HOST"


def gs_options() -> tuple[dict[str, Any], bool]:
    """Give what obstore's ``GCSStore`` is to be made with, beside what it reads itself.

    Credentials are ``GOOGLE_APPLICATION_CREDENTIALS``, those of ``gcloud``, or the instance's role.
    ``STORAGE_EMULATOR_HOST`` leads to an emulator on this machine, without credentials.

    Returns:
        Keyword arguments, and whether plain HTTP is allowed.

    Raises:
        StorageError: The emulator is on another machine.
    """
    host = os.environ.get(EMULATOR)
    if not host:
        return {}, False
    url = host if "://" in host else f"http://{host}"
    parts = urlsplit(url)
    if "@" in parts.netloc or not is_loopback(parts.hostname):
        raise StorageError(EMULATOR, "names another machine", "one on this machine")
    return {"base_url": url.rstrip("/"), "skip_signature": True}, True
