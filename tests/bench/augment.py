"""Print what each augmentation costs: PYTHONPATH=tests python tests/bench/augment.py

Drawn crops of 112x112 in runs of 16, as the loader's threads get them. Processor time of one
thread, the least of 15 rounds in which the operations take turns: other work on the machine only
adds to it. Each operation stands alone and happens to every crop, with its default range; "flip
0.5" is the loader's default. Beside them stands what decoding such a crop costs.
"""

import time

import cv2
import numpy as np
import simplejpeg
from support.stores import draw_sized_crop

from fusekit.loader.crops.augment import OPERATIONS, Augment
from fusekit.loader.crops.augmenter import Augmenter
from fusekit.rng import permute

RUN, RUNS, ROUNDS = 16, 60, 15


def draw_photo(seed):
    """A crop as busy as a photograph: smooth shapes under some noise."""
    shapes = cv2.resize(draw_sized_crop(seed, (9, 9)), (112, 112), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).integers(-11, 12, shapes.shape, dtype=np.int16)
    return cv2.blur(np.clip(shapes + noise, 0, 255).astype(np.uint8), (3, 3))


def time_round(settings, photos, keys):
    """Microseconds of this thread for each image."""
    augmenter = Augmenter(settings, 112, 112)
    images = np.empty_like(photos)
    seconds = 0.0
    for k in range(RUNS):
        np.copyto(images, photos)
        start = time.thread_time()
        augmenter.run(images, keys[k * RUN : (k + 1) * RUN])
        seconds += time.thread_time() - start
    return seconds / (RUN * RUNS) * 1e6


def time_decoding(photos):
    """Microseconds of this thread for each image."""
    stored = [simplejpeg.encode_jpeg(photo, quality=95, colorsubsampling="444") for photo in photos]
    out = np.empty_like(photos)
    start = time.thread_time()
    for _ in range(RUNS):
        for data, image in zip(stored, out, strict=True):
            simplejpeg.decode_jpeg(data, "RGB", buffer=image)
    return (time.thread_time() - start) / (RUN * RUNS) * 1e6


def main():
    photos = np.stack([draw_photo(seed) for seed in range(RUN)])
    keys = permute(np.arange(RUN * RUNS), 1 << 50, 0)
    rows = {"nothing": Augment.of(False), "flip 0.5": Augment()}
    rows |= {name: Augment.of({"flip": 0, name: 1}) for name in OPERATIONS}
    rows |= {"adaface": Augment.of("adaface")}
    times = {name: [] for name in ("decoding", *rows)}
    for _ in range(ROUNDS):
        times["decoding"].append(time_decoding(photos))
        for name, settings in rows.items():
            times[name].append(time_round(settings, photos, keys))
    print(f"microseconds for each crop (least of {ROUNDS} rounds); OpenCV {cv2.__version__}")
    for name, each in times.items():
        print(f"{name:<12}{min(each):>8.1f}")


if __name__ == "__main__":
    main()
