"""WebDataset tars: ``<dataset>-<key>.jpg``, ``.cls`` and ``.json``, in an order of chance.

Trainers read such tars from front to back and shuffle in a window only, so the order is mixed
here, over the whole part, by the mixture's seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusekit.export.images import split_by_bytes
from fusekit.fingerprint import canonical_json
from fusekit.formats.tar import TarWriter

if TYPE_CHECKING:
    from fusekit.export.part import Crop, Part
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage

_SHARD_BYTES: Final = 512 << 20
_HEADS: Final = 3 * 1024  # a sample's three heads and its padding, about


def write_webdataset(part: Part, target: Storage, report: Report) -> None:
    """Write ``train-000000.tar`` and so on, each of about 512 MiB at most."""
    part = part.shuffled()
    people = part.identities if part.name == "labeled" else None
    crops = part.crops(report)
    shards = split_by_bytes(part.sizes + _HEADS, _SHARD_BYTES)
    for number, rows in enumerate(shards):
        with target.writing(f"train-{number:06d}.tar") as file:
            tar = TarWriter(file)
            for row in range(rows.start, rows.stop):
                crop = next(crops)
                tar.add(f"{crop.name}.{crop.suffix}", crop.image)
                if people is not None:
                    tar.add(f"{crop.name}.cls", str(crop.label).encode())
                identity = None if people is None else people[row].as_py()
                tar.add(f"{crop.name}.json", canonical_json(_about(part, crop, identity)))
            tar.finish()


def _about(part: Part, crop: Crop, identity: str | None) -> dict[str, Any]:
    source = part.mixture.sources[crop.source]
    return {
        "key": crop.key, "dataset": source.name, "dataset_index": source.store_index,
        "source_index": crop.source, "identity": identity, "label": crop.label,
    }  # fmt: skip
