"""``--contact-sheet``: the picture of a finding that several commands draw."""

from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

import typer


def _check(path: Path | None) -> Path | None:
    """Refuse a name that no picture has before the work starts."""
    if path is None:
        return None
    from fusekit.report.finding_sheets import check_sheet_path

    return check_sheet_path(path)


ContactSheet: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--contact-sheet",
        metavar="FILE",
        callback=_check,
        help="Draw what was found, .png or .jpg.",
    ),
]


class Found(Protocol):
    """What a finding's command gives."""

    @property
    def finding(self) -> str:
        """The finding's fingerprint."""


def write_sheet(path: Path | None, kind: str, found: Found, store: str | None) -> None:
    """Draw a finding where a path is given.

    Args:
        path: The picture's; None: nothing is drawn.
        kind: The finding's kind.
        found: What made it.
        store: The store's path.
    """
    if path is None:
        return
    from fusekit.report.finding_sheets import write_contact_sheet
    from fusekit.store.findings import read_finding
    from fusekit.store.layout import open_store

    storage = open_store(store)
    write_contact_sheet(storage, read_finding(storage, kind, found.finding), path)
