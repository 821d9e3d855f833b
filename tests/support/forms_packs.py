"""The generic pack: InsightFace's RecordIO, of anyone."""

from pathlib import Path

from support.forms import FormCase
from support.raw import record_pack, write_files


def named_pack(root: Path) -> Path:
    """A pack with a name a line for labels 0, 1 and 2."""
    return write_files(record_pack(root), {"names.txt": "Ann\nBob\nCleo\n"})


FORMS = {
    ("recordio", "recordio"): FormCase(
        named_pack, 6, ("0", "1", "2"), names={"0": "Ann", "2": "Cleo"}
    ),
}
