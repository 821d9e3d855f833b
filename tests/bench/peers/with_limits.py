"""What the machine itself allows: the same bytes decoded, read or copied, and nothing else."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import simplejpeg

PACKAGE = "simplejpeg"


def variants(cpus):
    return [{"what": what, "threads": cpus} for what in ("decode", "read", "copy")]


def convert(crops, folder):
    """Read the crops where they are."""


def open_batches(folder, what, threads):
    crops = folder.parent / "crops"
    if what == "copy":
        work = copying(crops, threads)
    else:
        table = np.load(crops / "table.npz")
        places = list(zip([0, *table["ends"].tolist()[:-1]], table["ends"].tolist(), strict=True))
        work = (decoding if what == "decode" else reading)(crops / "images.bin", places, threads)
    batch = np.broadcast_to(np.uint8(0), (work.count, 112, 112, 3))  # only its shape is looked at
    labels = range(work.count)

    def batches():
        work()
        yield batch, labels

    return batches


class Parts:
    """Work in parts, one a thread, over ``count`` crops."""

    def __init__(self, part, parts, count):
        self.part, self.parts, self.count = part, parts, count

    def __call__(self):
        with ThreadPoolExecutor(len(self.parts)) as pool:
            list(pool.map(self.part, self.parts))


def decoding(path, places, threads):
    """Decode from memory into one scratch a thread."""
    data = path.read_bytes()
    images = [data[start:end] for start, end in places]
    scratch = [np.empty((112, 112, 3), np.uint8) for _ in range(threads)]

    def part(thread):
        out = scratch[thread]
        for image in images[thread::threads]:
            simplejpeg.decode_jpeg(image, "RGB", buffer=out)

    return Parts(part, list(range(threads)), len(images))


def reading(path, places, threads):
    """Read each crop from the page cache, then decode it."""
    file = os.open(path, os.O_RDONLY)

    def part(thread):
        out = np.empty((112, 112, 3), np.uint8)
        for start, end in places[thread::threads]:
            simplejpeg.decode_jpeg(os.pread(file, end - start, start), "RGB", buffer=out)

    return Parts(part, list(range(threads)), len(places))


def copying(crops, threads):
    """Copy decoded crops from memory into one batch's memory a thread, a batch at a time."""
    count = int(np.load(crops / "raw.npy"))
    source = np.full((count, 112, 112, 3), 7, np.uint8)  # written once: pages are there

    def part(thread):
        out = np.ones((256, 112, 112, 3), np.uint8)
        for start in range(256 * thread, count, 256 * threads):
            piece = source[start : start + 256]
            out[: len(piece)] = piece

    return Parts(part, list(range(threads)), count)
