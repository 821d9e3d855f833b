"""Where the cards and recipes lie that come with fusekit."""

from __future__ import annotations

from pathlib import Path


def shipped(folder: str) -> dict[str, Path]:
    """Give the YAML files of a folder that comes with fusekit, stem to path, sorted.

    Args:
        folder: ``manifests`` or ``pipelines``.

    Returns:
        Empty when they are not installed.

    Example:
        >>> sorted(shipped("pipelines"))[0]
        'demo'
    """
    package = Path(__file__).parent
    # Installed as data of the package; in a checkout they stand at the top of the repository.
    for home in (package / "_data", package.parent):
        paths = sorted((home / folder).glob("*.yaml"))
        if paths:
            return {path.stem: path for path in paths}
    return {}
