"""SPDL: image files in a threaded pipeline, decoded by simplejpeg one by one or by lists.

Its own ``spdl.io.load_image_batch`` is not among the variants: it took 1.0 ms of CPU an image
(FFmpeg 5.1, a decoder opened for each), ten times simplejpeg, and wants FFmpeg installed.
"""

import random
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import with_folders
from spdl.pipeline import PipelineBuilder

PACKAGE = "spdl"


def variants(cpus):
    return [
        {"workers": n, "decode": decode}
        for decode in ("by image", "by list")
        for n in (cpus, 2 * cpus)
    ]


convert = with_folders.convert


def load(item):
    path, label = item
    return simplejpeg.decode_jpeg(Path(path).read_bytes(), "RGB"), label


def stack(items):
    images, labels = zip(*items, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def load_list(items):
    images = np.empty((len(items), 112, 112, 3), np.uint8)
    for image, (path, _) in zip(images, items, strict=True):
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs what the read does
            simplejpeg.decode_jpeg(file.read(), "RGB", buffer=image)
    return torch.from_numpy(images), torch.tensor([label for _, label in items])


def open_batches(folder, workers, decode):
    items = with_folders.list_items(folder)

    def batches():
        random.shuffle(items)
        # Lists of paths as the source: a queue between stages costs some 50 µs for each item.
        lists = [items[start : start + 256] for start in range(0, len(items), 256)]
        builder = PipelineBuilder()
        if decode == "by image":
            builder = builder.add_source(items).pipe(load, concurrency=workers)
            builder = builder.aggregate(256).pipe(stack)
        else:
            builder = builder.add_source(lists).pipe(load_list, concurrency=workers)
        pipeline = builder.add_sink(4).build(num_threads=workers)
        with pipeline.auto_stop():
            yield from pipeline

    return batches
