"""Crops for benchmarks: drawn, with JPEGs as large as a photograph's."""

from io import BytesIO

import cv2
import numpy as np
import simplejpeg


def draw_photo(seed):
    """A crop whose JPEG is as large as a photograph's: smooth shapes under some noise."""
    rng = np.random.default_rng(seed)
    shapes = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (112, 112))
    noise = rng.integers(-11, 12, shapes.shape, dtype=np.int16)
    return cv2.blur(np.clip(shapes + noise, 0, 255).astype(np.uint8), (3, 3))


def draw_jpeg(seed):
    return simplejpeg.encode_jpeg(draw_photo(seed), quality=95, colorsubsampling="444")


def draw_raw(seed):
    """Random pixels in a ``.npy`` file: what they show costs a copy nothing."""
    file = BytesIO()
    np.save(file, np.random.default_rng(seed).integers(0, 256, (112, 112, 3), dtype=np.uint8))
    return file.getvalue()
