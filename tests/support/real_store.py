"""A store of real datasets with their embeddings, made once for all tests of a run."""

import fcntl
import shutil
from pathlib import Path

from fusekit.curate.embed import embed_dataset
from fusekit.ingest.dataset import ingest_dataset

EMBEDDER = "mobilefacenet_128d"
_RAW = {
    "pins": ("pinsface", "faces/lab/faces_pins_112x112"),
    "glint": ("deepglint", "faces/glint_rec"),
    "celeba": ("celeba", "faces/lab/faces_celeba299_112x112"),
    "five": ("14-celebrity", "faces/five_celebs"),
    "crawl": ("unlabeled", "faces/unlabeled_deepface"),
}


def make_real_store(shared: Path, folder: Path) -> Path:
    """Make the store in a folder, or find it there: pins, glint, celeba, five, crawl and lfw.

    Any number of test processes ask at once; one of them makes it. Nothing may write to it: take
    a copy with :func:`copy_store`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store, done = folder / "store", folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(store, ignore_errors=True)
            _make(shared, folder / "raw", store)
            done.touch()
    return store


def copy_store(store: Path, folder: Path) -> Path:
    """Copy a store, so that a test may write to it."""
    return Path(shutil.copytree(store, folder))


def _make(shared: Path, raw: Path, store: Path) -> None:
    shutil.rmtree(raw, ignore_errors=True)
    shutil.copytree(shared / "faces/lab/lfw_112x112", raw / "lfw")
    shutil.copy(shared / "faces/lab/lfw_pairs.txt", raw / "pairs.txt")
    sources = {name: (card, shared / path) for name, (card, path) in _RAW.items()}
    for name, (card, path) in (sources | {"lfw": ("lfw", raw)}).items():
        ingest_dataset(card, raw=path, name=name, store=store, workers=0)
        embed_dataset(name, model=str(shared / f"models/{EMBEDDER}.onnx"), store=store, workers=0)
    shutil.rmtree(raw)
