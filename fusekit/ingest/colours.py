"""Whether aligned crops have red and blue swapped, as some public extractions do without a mark.

A face is redder than blue under nearly every light. Swapped crops are reported, never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import ItemError
from fusekit.faces.image import decode_image
from fusekit.rng import derive, permute
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage

_IMAGES: Final = 256
_A_UNIT: Final = 64
#: Fewer colour crops than this say nothing.
_ENOUGH: Final = 20
_GREY: Final = 1.0  # a colour cast under this is a grey picture stored in colour


def check_colours(storage: Storage, dataset: str, units: int) -> dict[str, Any]:
    """Compare red and blue over a fixed random choice of a dataset's crops.

    Args:
        storage: The store; every unit of the dataset is committed.
        dataset: Its name.
        units: How many units it has.

    Returns:
        ``images`` looked at (colour crops only), their mean ``red`` and ``blue``, 0 to 255, the
        share of them that is ``bluer``, and ``swapped``: whether all that suggests a swap.
    """
    means: list[tuple[float, float]] = []
    looked = 0
    for unit in permute(np.arange(units), units, derive("colours")).tolist():
        rows = read_table(storage, layout.manifest_part(dataset, unit), MANIFEST_SCHEMA)
        if not rows.num_rows:
            continue
        wanted = min(max(_A_UNIT, -(-_IMAGES // units)), _IMAGES - looked)
        picked = _choose(wanted, rows.num_rows, unit)
        looked += len(picked)
        with storage.path(layout.shard(dataset, unit)).open("rb") as shard:
            for row in rows.select(["offset", "length", "source"]).take(picked).to_pylist():
                shard.seek(row["offset"])
                mean = _colour(shard.read(row["length"]), row["source"])
                if mean is not None:
                    means.append(mean)
        if looked >= _IMAGES:
            break
    if not means:
        return {"images": 0, "red": None, "blue": None, "bluer": None, "swapped": False}
    red, blue = np.array(means).T
    bluer = float((blue > red).mean())
    return {
        "images": len(means), "red": round(float(red.mean()), 1),
        "blue": round(float(blue.mean()), 1), "bluer": round(bluer, 3),
        "swapped": bool(len(means) >= _ENOUGH and bluer > 0.5 and blue.mean() > red.mean()),
    }  # fmt: skip


def _choose(count: int, among: int, unit: int) -> list[int]:
    """Choose so many rows of a unit, always the same ones, ascending."""
    picked = permute(np.arange(min(count, among)), among, derive("colours", unit))
    return sorted(picked.astype(np.int64).tolist())


def _colour(data: bytes, source: str) -> tuple[float, float] | None:
    """Give mean red and blue of the middle of a crop; None: it is grey, or no picture."""
    try:
        crop = decode_image(data, source)
    except ItemError:
        return None
    height, width = crop.shape[:2]
    face = crop[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    red, green, blue = face.reshape(-1, 3).mean(axis=0)
    if max(abs(red - green), abs(green - blue), abs(red - blue)) < _GREY:
        return None
    return float(red), float(blue)
