"""One folder for each label, as torchvision's ``ImageFolder`` and most trainers read them.

Folders are labels and not names of identities: these may hold what no file system takes, and
two datasets may share one. Labels are padded with zeros because ``ImageFolder`` numbers classes in
the order of their folders' texts. A file is ``<dataset>-<key>``, so a picture leads back to its
sample.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from fusekit.errors import MixtureError

if TYPE_CHECKING:
    from fusekit.export.part import Crop, Part
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage

_DIGITS: Final = 7
_FAN_OUT: Final = 2  # letters of a key: 1,024 folders, since millions of files in one are slow


def place(part: Part, crop: Crop) -> str:
    """Give the path of a crop's file in the folder of the export."""
    file = f"{crop.name}.{crop.suffix}"
    if part.name == "unlabeled":
        return f"{part.mixture.sources[crop.source].name}/{crop.key[:_FAN_OUT]}/{file}"
    return f"{crop.label:0{_width(part)}d}/{file}"


def check_folders(part: Part) -> list[str]:
    """Say what is to be known of the folders that would be written.

    Raises:
        MixtureError: A label has no image, so ``ImageFolder`` would number the others otherwise.
    """
    if part.name == "labeled" and not part.images.all():
        label = int((part.images == 0).argmax())
        raise MixtureError(
            part.mixture.name, f"label {label} has no image left", "one or more in each folder",
            "build the mixture again",
        )  # fmt: skip
    return []


def write_folders(part: Part, target: Storage, report: Report) -> None:
    """Write each crop as a file of its own."""
    made: str | None = None
    for crop in part.crops(report):
        path = target.path(place(part, crop))
        if (folder := str(path.parent)) != made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made = folder
        path.write_bytes(crop.image)
    os.sync()  # one for all: syncing each file costs more than writing it


def _width(part: Part) -> int:
    return max(_DIGITS, len(str(part.num_classes - 1)))
