"""An LMDB in one file, as face trainers that keep one read it.

Keys are ``0``, ``1``, … in ASCII, in the order of labels; a value is MessagePack of the image's
bytes and the label. ``__keys__`` lists the keys, ``__len__`` and ``__classnum__`` count images and
classes.

Reference:
    HaiyuWu/SOTA-Face-Recognition-Train-and-Test, whose LMDBs have this form.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import MissingExtraError, StorageError
from fusekit.formats.msgpack import pack_array_head, pack_bytes, pack_int

if TYPE_CHECKING:
    from fusekit.export.part import Part
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage

_FILE: Final = "train.lmdb"
_PAGE: Final = 4096
_COMMIT: Final = 4096  # images in a transaction: its pages are held in memory
_OVERHEAD: Final = 64  # bytes of an entry beside its image


def check_lmdb(part: Part) -> list[str]:  # noqa: ARG001 - every format is asked the same way
    """Check that ``lmdb`` is installed.

    Raises:
        MissingExtraError: It is not.
    """
    _library()
    return []


def write_lmdb(part: Part, target: Storage, report: Report) -> None:
    """Write ``train.lmdb``.

    Raises:
        StorageError: The disk is full.
    """
    lmdb, total = _library(), len(part.rows)
    crops = part.crops(report)
    path = target.path(_FILE)
    try:
        with lmdb.open(
            str(path), subdir=False, lock=False, sync=False, map_size=_map_size(part)
        ) as file:
            for start in range(0, total, _COMMIT):
                with file.begin(write=True) as write:
                    for key, crop in enumerate(islice(crops, _COMMIT), start):
                        value = pack_array_head(2) + pack_bytes(crop.image) + pack_int(crop.label)
                        write.put(b"%d" % key, value)
            with file.begin(write=True) as write:
                keys = b"".join(pack_bytes(b"%d" % key) for key in range(total))
                write.put(b"__keys__", pack_array_head(total) + keys)
                write.put(b"__len__", pack_int(total))
                write.put(b"__classnum__", pack_int(part.num_classes))
            file.sync(True)  # noqa: FBT003 - takes no keyword
    except lmdb.DiskError:
        fix = "free some space and run the same command again"
        raise StorageError(_FILE, "the disk is full", None, fix) from None
    except lmdb.Error as error:
        # LMDB calls a write that found only some room an input/output error.
        fix = "see that the disk has room and is whole"
        raise StorageError(_FILE, f"can't be written ({error})", None, fix) from None


def _map_size(part: Part) -> int:
    """Bound the file's size: an image that shares no page with another fills whole pages."""
    pages = (part.sizes + _OVERHEAD) // _PAGE + 1
    # Twice, for the tree above the images and the pages that a transaction frees; keys once more.
    return 2 * int(pages.sum()) * _PAGE + 32 * len(part.rows) + (64 << 20)


def _library() -> Any:  # noqa: ANN401 - lmdb ships no annotations
    try:
        import lmdb
    except ImportError:
        raise MissingExtraError("--format lmdb", "lmdb") from None
    return lmdb
