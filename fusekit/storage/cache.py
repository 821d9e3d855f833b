"""Where this user's caches lie."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Give the folder of everything that can be fetched again.

    ``FUSEKIT_CACHE`` overrules the system's.
    """
    import platformdirs

    override = os.environ.get("FUSEKIT_CACHE")
    return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("fusekit"))
