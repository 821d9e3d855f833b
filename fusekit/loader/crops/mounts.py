"""Which folders are on this machine's own disks, whose files may be mapped into memory."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

# A map of a file that can't be read any more ends the process with a signal: a server that is
# away for a moment must not do that. What is not known to be local is read by calls.
_LOCAL: Final = frozenset({
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs",
})  # fmt: skip
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_TABLE: Final = Path("/proc/self/mountinfo")


def is_local(folder: Path, table: Path = _TABLE) -> bool:
    """Tell whether a folder is on a local file system; False where that is not known.

    Args:
        folder: The folder, absolute.
        table: The system's table of mounts; Linux has one.
    """
    best = max(
        (mount for mount in _mounts(table) if folder.is_relative_to(mount[0])),
        key=lambda mount: len(mount[0].parts),
        default=None,
    )
    return best is not None and best[1] in _LOCAL


@cache
def _mounts(table: Path) -> tuple[tuple[PurePosixPath, str], ...]:
    """Read where file systems are mounted, and their types; of two at one place the later one."""
    try:
        lines = table.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ()
    found = {}
    for line in lines:
        mounted, _, source = line.partition(" - ")
        fields, kind = mounted.split(" "), source.split(" ")[0]
        if len(fields) > 4:
            found[PurePosixPath(_ESCAPE.sub(lambda m: chr(int(m[1], 8)), fields[4]))] = kind
    return tuple(found.items())
