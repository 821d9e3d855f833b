"""Measure dedup: copies put among real crops, and the search of hashes at scale.

    python tests/bench/dedup.py --real [STORE]     copies of real crops: recall by kind, precision
    python tests/bench/dedup.py --scale            hashes a second; search of 1 and 5 million

STORE holds embedded datasets (``support/real_store.py`` makes one); it is copied, never written
to. Of 100 of its crops, drawn with a fixed seed, each kind of copy is made, and all of them stand
in a dataset of their own, embedded by the store's model (MODEL, a file). Recall is the share of
copies in their original's group. Precision counts pairs of other pictures that were grouped with
them; pictures that the real sets hold twice anyway are looked up in a run without the copies.
"""

import argparse
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.benchmarks import machine, table, versions
from support.real_store import copy_store
from support.stores import make_dataset

from fusekit.curate.dedup import find_duplicates
from fusekit.curate.embed import embed_dataset
from fusekit.curate.hamming import near_pairs
from fusekit.curate.numbered_rows import CropReader, NumberedRows
from fusekit.curate.perceptual_hash import hash_crops, hash_dataset
from fusekit.curate.registration import lay_pairs
from fusekit.faces.image import encode_crop
from fusekit.progress import silent
from fusekit.store.datasets import list_datasets, open_dataset
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store, sample_key

MODEL = Path("../shared/models/mobilefacenet_128d.onnx")
ORIGINALS = 100
STRETCHED = 1.05


def jpeg(crop, quality):
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(crop), quality, colorsubsampling="420")
    return simplejpeg.decode_jpeg(data)


def shrink(crop, side):
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR)


def move(crop, across=1.0, down=1.0, turn=0.0, shift=(0.0, 0.0)):
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    linear = np.array([[across * cosine, -sine], [sine, down * cosine]])
    offset = np.array([56, 56]) - linear @ [56, 56] + shift
    matrix = np.column_stack([linear, offset])
    return cv2.warpAffine(crop, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)


KINDS = {
    "JPEG quality 60": lambda c: jpeg(c, 60),
    "JPEG quality 30": lambda c: jpeg(c, 30),
    "JPEG quality 10": lambda c: jpeg(c, 10),
    "from 56x56": lambda c: shrink(c, 56),
    "from 37x37": lambda c: shrink(c, 37),
    "brighter by 30": lambda c: np.clip(c.astype(int) + 30, 0, 255).astype(np.uint8),
    "contrast x 1.3": lambda c: np.clip((c - 128.0) * 1.3 + 128, 0, 255).astype(np.uint8),
    "gamma 0.7": lambda c: (255 * (c / 255) ** 0.7).astype(np.uint8),
    "cut 2 pixels off": lambda c: move(c, shift=(2, 2)),
    "cut 4 % closer, turned 1 degree, JPEG 50": lambda c: jpeg(
        move(c, 1.04, 1.04, 1, (1.5, 1)), 50
    ),
    "stretched by 1.1": lambda c: move(c, 1.05, 0.955),
    "stretched by 1.25": lambda c: move(c, 1.12, 0.896),
    "mirrored": lambda c: c[:, ::-1],
    "mirrored, JPEG quality 40": lambda c: jpeg(c[:, ::-1], 40),
    "mirrored, cut 2 pixels off": lambda c: move(np.ascontiguousarray(c[:, ::-1]), shift=(2, -1)),
}


def real(store: Path, model: Path) -> None:
    """Print recall by kind, precision, and what the real sets hold themselves."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_store(store, Path(folder, "store"))
        storage = open_store(copy)
        names = [info.name for info in list_datasets(storage)]
        started = time.perf_counter()
        before = find_duplicates(names, store=copy)
        print(f"{before.samples:,} crops in {time.perf_counter() - started:.0f} s: ", end="")
        print(f"{before.exact} exact and {before.near} near copies, ", end="")
        print(f"{len(before.conflicts)} conflicts; cosine threshold {before.cosine}, ", end="")
        print(f"{before.candidates:,} pairs of near hashes\n")
        print(stretched(storage, names))
        known = members(storage, names)
        numbered = NumberedRows.of(storage, [open_dataset(storage, name) for name in names])
        chosen = np.sort(
            np.random.default_rng(0).choice(numbered.first_rows[-1], ORIGINALS, replace=False)
        )
        crops = CropReader(numbered, chosen)
        kinds = list(KINDS)
        images = [
            encode_crop(np.ascontiguousarray(KINDS[kind](crops(row))), "jpg")
            for kind in kinds
            for row in chosen.tolist()
        ]
        make_dataset(storage, "copies", len(images), images=images, unit_size=512)
        embed_dataset("copies", model=str(model), store=copy)
        find_duplicates([*names, "copies"], store=copy)
        print(injected(storage, names, numbered, chosen, kinds, known))


def members(storage, names):
    """Sample to its group in the newest finding that speaks of exactly these datasets."""
    finding = find_fresh(storage, "duplicates", datasets=names)
    rows = read_finding_table(storage, finding, ["dataset", "key", "group"]).to_pylist()
    return {(row["dataset"], row["key"]): row["group"] for row in rows}


def injected(storage, names, numbered, chosen, kinds, known):
    about = numbered.take(chosen, ["dataset", "key"]).to_pylist()
    originals = [(row["dataset"], row["key"]) for row in about]
    groups = members(storage, [*names, "copies"])
    rows, true, wrong = [], 0, 0
    of_original = {groups[o]: o for o in originals if o in groups}
    for at, kind in enumerate(kinds):
        found = 0
        for number, original in enumerate(originals):
            group = groups.get(
                ("copies", sample_key(f"crawl/{at * ORIGINALS + number:05d}.jpg", 0))
            )
            same = group is not None and group == groups.get(original)
            found += same
            home = of_original.get(group)
            # A copy of the same picture, which the real sets hold twice, is right too.
            twin = home in known and known.get(original) == known.get(home)
            wrong += not same and home is not None and not twin
        true += found
        rows.append([kind, f"{found / ORIGINALS:.1%}"])
    rows.append(["all", f"{true / len(kinds) / ORIGINALS:.1%}"])
    head = f"{true} copies in the group of their original, {wrong} in another original's: "
    head += f"precision {true / (true + wrong):.2%}\n\n"
    return head + table(["kind of copy", "found"], rows)


def stretched(storage, names):
    """Tell how many near copies of each dataset are stretched by 5 % or more."""
    finding = find_fresh(storage, "duplicates", datasets=names)
    rows = read_finding_table(storage, finding).to_pylist()
    numbered = NumberedRows.of(storage, [open_dataset(storage, name) for name in names])
    numbers = {
        (row["dataset"], row["key"]): at
        for at, row in enumerate(
            numbered.take(np.arange(numbered.first_rows[-1]), ["dataset", "key"]).to_pylist()
        )
    }
    best = {row["group"]: row for row in rows if row["best"]}
    pairs = [
        (best[row["group"]], row) for row in rows if row["match"] == "near" and not row["best"]
    ]
    ends = np.array([[numbers[r["dataset"], r["key"]] for r in pair] for pair in pairs])
    laid = lay_pairs(ends[:, 0], ends[:, 1], CropReader(numbered, np.unique(ends)), 2)
    counts: dict[str, list[float]] = {}
    for (_, row), overlay in zip(pairs, laid, strict=True):
        counts.setdefault(row["dataset"], []).append(overlay.stretch)
    lines = [
        [name, str(len(s)), str(sum(x >= STRETCHED for x in s)), f"{max(s):.2f}"]
        for name, s in sorted(counts.items())
    ]
    return table(["near copies in", "all", "stretched by 5 %", "most"], lines) + "\n"


def search(count, distance):
    """Pairs, seconds of the wall and of the processor, and the largest memory of the process."""
    codes = np.random.default_rng(1).integers(0, 2**64, (count, 2), dtype=np.uint64)
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = sum(len(near.left) for near in near_pairs(codes, distance, threads=2))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return pairs, wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def scale() -> None:
    """Print the rate of hashing, and the time and memory of searching drawn hashes."""
    crops = np.random.default_rng(0).integers(0, 256, (1024, 112, 112, 3), dtype=np.uint8)
    started = time.perf_counter()
    for begin in range(0, len(crops), 128):
        hash_crops(crops[begin : begin + 128])
    seconds = time.perf_counter() - started
    print(f"hash: {len(crops) / seconds:,.0f} decoded crops a second on one core")
    with tempfile.TemporaryDirectory() as folder:
        storage = open_store(folder, create=True)
        info = make_dataset(storage, "drawn", {"a": 8192}, unit_size=2048)
        started = time.perf_counter()
        hash_dataset(storage, info, 2, silent)
        rate = info.samples / (time.perf_counter() - started)
        print(f"read, check, decode and hash: {rate:,.0f} crops a second on two threads\n")
    rows = []
    for count, distance in ((1_000_000, 15), (1_000_000, 23), (5_000_000, 15)):
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # its peak is its own
            pairs, wall, cpu, peak = apart.submit(search, count, distance).result()
        rows.append(
            [f"{count:,} hashes, {distance} bits", str(pairs), f"{wall:.0f}", f"{cpu:.0f}",
             f"{peak:.2f}"]
        )  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    print(table(["search, one orientation", "pairs", "seconds", "of CPU time", "GiB, peak"], rows))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", nargs="?", const="fusekit-store", metavar="STORE")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--model", default=MODEL, type=Path)
    asked = parser.parse_args()
    print(f"{machine()}; {versions('numpy', 'opencv-python', 'duckdb')}\n")
    if asked.real:
        real(Path(asked.real), asked.model)
    if asked.scale:
        scale()


if __name__ == "__main__":
    main()
