"""A pack that InsightFace's ``arcface_torch`` trains on as it is.

``train.rec`` and ``train.idx`` hold the images by label, each label's in one run, with keys from
1; then a record of each identity with the keys of its images, and key 0 last, which says where
these begin. Their numbers are 32-bit floats. Where a pack is too long for them to be exact, it is
written without these records and with keys from 0, which readers take for images alone.

``train.lst`` is MXNet's: ``key<TAB>label<TAB>path``, the paths being those of the ``folders``
format, so that it tells which sample a key is.

Reference:
    InsightFace, ``recognition/arcface_torch/dataset.py`` (``MXFaceDataset``) and
    ``recognition/arcface_mxnet``; MXNet, ``tools/im2rec.py``.
"""

from __future__ import annotations

from itertools import count
from typing import IO, TYPE_CHECKING

from fusekit.errors import MixtureError
from fusekit.export.folders import place
from fusekit.export.identities import write_names
from fusekit.formats.recordio import EXACT_FLOAT32, pack_record
from fusekit.formats.recordio_writer import PackWriter, RecordWriter, property_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.export.part import Part
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage


def check_recordio(part: Part, exact: int = EXACT_FLOAT32) -> list[str]:
    """Say what is to be known of the pack that would be written.

    Raises:
        MixtureError: It has more labels than a record's label tells apart.
    """
    if part.num_classes > exact:
        raise MixtureError(
            part.mixture.name, f"{part.num_classes} classes", f"at most {exact} in a pack",
            "labels there are 32-bit floats; another format has no such limit",
        )  # fmt: skip
    if part.name == "unlabeled":
        return ["unlabeled images have the label -1, keys from 0 and no identity records"]
    if not _has_identity_records(part, exact):
        return [
            f"{len(part.rows)} images are too many for exact identity records: "
            "none are written, and keys begin at 0"
        ]
    return []


def write_recordio(part: Part, target: Storage, report: Report, exact: int = EXACT_FLOAT32) -> None:
    """Write ``train.rec``, ``train.idx``, ``train.lst``, ``property``, ``names.txt``."""
    with (
        target.writing("train.rec") as rec,
        target.writing("train.idx") as idx,
        target.writing("train.lst") as lst,
    ):
        if _has_identity_records(part, exact):
            pack = PackWriter(rec, idx, part.num_classes)
            _write_images(part, pack.add, lst, report)
            pack.finish()
        else:
            _write_images(part, _plain_adder(rec, idx), lst, report)
    width, height = part.mixture.crop_size
    target.write("property", property_text(part.num_classes, (height, width)).encode())
    if part.name == "labeled":
        write_names(part, target)


def _has_identity_records(part: Part, exact: int) -> bool:
    identities = int((part.images > 0).sum()) if part.name == "labeled" else 0
    return bool(identities) and len(part.rows) + 1 + identities <= exact


def _write_images(
    part: Part, add: Callable[[int, bytes], int], lst: IO[bytes], report: Report
) -> None:
    for crop in part.crops(report):
        key = add(crop.label, crop.image)
        lst.write(f"{key}\t{crop.label}\t{place(part, crop)}\n".encode())


def _plain_adder(rec: IO[bytes], idx: IO[bytes]) -> Callable[[int, bytes], int]:
    writer, keys = RecordWriter(rec, idx), count()

    def add(label: int, image: bytes) -> int:
        key = next(keys)
        writer.add(key, pack_record(float(label), key, image))
        return key

    return add
