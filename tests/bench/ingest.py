"""How fast is ingest, against what its parts alone allow? Prints one table.

Pictures: the demo's tree, each picture many times over; with FUSEKIT_SHARED set, LFW's originals.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from fusekit.demo.raw import build_raw
from fusekit.faces.align import align_face
from fusekit.faces.detect import open_detector
from fusekit.faces.image import decode_image, encode_crop
from fusekit.faces.quality import measure_crop
from fusekit.ingest.dataset import ingest_dataset
from fusekit.models.registry import resolve_model

REPEATS = 3
COPIES = 12


def pictures(folder: Path) -> Path:
    shared = os.environ.get("FUSEKIT_SHARED")
    if shared:
        return Path(shared) / "faces/lfw/lfw-deepfunneled"
    tree = build_raw(folder / "raw")["vggface2"] / "train"
    for path in sorted(tree.rglob("*.jpg")):
        for copy in range(COPIES):
            target = folder / "tree" / path.parent.name / f"{path.stem}-{copy}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return folder / "tree"


def rate(count: int, work) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return count / statistics.median(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = pictures(folder)
        files = [p.read_bytes() for p in sorted(root.rglob("*.jpg"))]
        images = [decode_image(data, "bench") for data in files]
        detector = open_detector(resolve_model("retinaface-mnet025", "detect"))
        found = [(i, detector.detect(i)) for i in images]
        marked = [(i, f.landmarks[0]) for i, f in found if len(f.scores)]
        crops = [align_face(i, points) for i, points in marked]
        rows = [
            ("decode", lambda: [decode_image(d, "bench") for d in files]),
            ("detect", lambda: [detector.detect(i) for i in images]),
            ("align", lambda: [align_face(i, points) for i, points in marked]),
            ("measure", lambda: [measure_crop(c) for c in crops]),
            ("encode", lambda: [encode_crop(c, "jpg") for c in crops]),
        ]
        parts = [(what, rate(len(files), work)) for what, work in rows]
        limit = 1 / sum(1 / r for _, r in parts)
        table = [*parts, ("all parts, one core: the limit", limit)]
        for workers in (0, 1, 2):

            def run(workers: int = workers) -> None:
                store = Path(tempfile.mkdtemp(dir=folder))
                ingest_dataset(
                    "folders", raw=root, store=store, name="bench", workers=workers, unit_size=128
                )

            table.append((f"fusekit ingest, {workers or 'no'} workers", rate(len(files), run)))
    print(f"{len(files)} pictures, median of {REPEATS}\n")
    print("| what | pictures/s | of the limit |\n|---|---:|---:|")
    for what, speed in table:
        print(f"| {what} | {speed:,.0f} | {speed / limit:.2f} |")


if __name__ == "__main__":
    main()
