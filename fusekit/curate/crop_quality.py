"""One number for how good a crop is, from the columns of its manifest row.

It chooses among copies of one picture, and marks crops too poor to learn from. It is no measure
of beauty: every part of it is a thing that training loses by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Values: TypeAlias = npt.NDArray[np.float64]

QUALITY_COLUMNS: Final = (
    "eye_distance", "sharpness", "jpeg_quality", "det_score", "brightness", "channels",
)  # fmt: skip
"""The manifest's columns that :func:`quality` reads."""
VERSION: Final = 1

_CROP_EYES: Final = 35.2372  # pixels between the eyes of the ArcFace template
_SHARP_HALF: Final = 200.0  # the sharpness that gives one half: LFW's median is 185, Pins' 776
_DARK: Final = 64.0  # brighter than this, and as far from white, nothing is lost
_GREY: Final = 0.9
_DEPTH: Final = 10_000  # steps between 0 and 1: powers differ in the last bits by machine
_WEIGHTS: Final = {
    "size": 0.3, "sharpness": 0.3, "compression": 0.2, "detection": 0.1, "exposure": 0.05,
    "colour": 0.05,
}  # fmt: skip


def quality(columns: pa.Table) -> npt.NDArray[np.float32]:
    """Grade crops from 0 to 1: the weighted geometric mean of six parts of 0 to 1.

    ==========  ======  =====================================================================
    part        weight  is
    ==========  ======  =====================================================================
    size        0.3     e / (e + 35.24), e = ``eye_distance`` in the source; 0.5 where unknown
    sharpness   0.3     s / (s + 200)
    compression 0.2     ``jpeg_quality`` / 100; 1 where the source is no JPEG
    detection   0.1     ``det_score``; 1 where no detection ran
    exposure    0.05    distance of ``brightness`` from black and white over 64, at most 1
    colour      0.05    0.9 where the crop is grey, else 1
    ==========  ======  =====================================================================

    A crop holds no more than 35.24 pixels between the eyes; a larger source still averages its
    noise and its compression away.

    Args:
        columns: A table with :data:`QUALITY_COLUMNS`, as in the manifest.

    Returns:
        float32 ``(N,)``, in steps of 1/10,000.
    """
    eyes, sharpness = _values(columns, "eye_distance", _CROP_EYES), _values(columns, "sharpness", 0)
    brightness = _values(columns, "brightness", 0)
    parts = {
        "size": eyes / (eyes + _CROP_EYES),
        "sharpness": sharpness / (sharpness + _SHARP_HALF),
        "compression": _values(columns, "jpeg_quality", 100) / 100,
        "detection": _values(columns, "det_score", 1),
        "exposure": np.minimum(brightness, 255 - brightness) / _DARK,
        "colour": np.where(_values(columns, "channels", 3) == 1, _GREY, 1.0),
    }
    grade = np.ones(columns.num_rows)
    for name, weight in _WEIGHTS.items():
        grade *= np.power(parts[name].clip(0, 1), weight)
    return np.asarray(np.rint(grade * _DEPTH) / _DEPTH, np.float32)


def _values(columns: pa.Table, name: str, unknown: float) -> Values:
    values = columns.column(name).to_numpy().astype(np.float64)  # null comes as nan
    return np.asarray(np.where(np.isnan(values), unknown, values))
