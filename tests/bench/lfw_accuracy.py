"""Print the accuracy of embedders on the 6,000 pairs of LFW's View 2, from aligned crops.

    PYTHONPATH=tests python tests/bench/lfw_accuracy.py dlib-resnet-v1 path/to/model.onnx

The crops are ``faces/lab`` of the shared photographs; ten folds, cosine, no flip.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
from support.verification import read_pairs, verify

from fusekit.faces.embed import open_embedder
from fusekit.faces.image import decode_image
from fusekit.models.registry import resolve_model

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("FUSEKIT_SHARED", REPOSITORY.parent / "shared"))
_OPENED = []


def _open_here(model):
    _OPENED.append(open_embedder(model))


def _embed_here(paths):
    return _OPENED[0].embed(np.stack([decode_image(p.read_bytes(), p.name) for p in paths]))


def main() -> None:
    """Embed, verify, print one row a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    lab = SHARED / "faces/lab"
    pairs = read_pairs(lab / "lfw_pairs.txt", lab / "lfw_112x112")
    paths = sorted({path for pair in pairs for path in (pair.first, pair.second)})
    blocks = [paths[i : i + 64] for i in range(0, len(paths), 64)]
    print("| model | pairs | accuracy % | ± over folds | ms a crop and process |")
    print("|---|---:|---:|---:|---:|")
    for spec in arguments.models:
        model = resolve_model(spec, "embed")
        start = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers, _open_here, (model,)) as pool:
            vectors = np.concatenate(pool.map(_embed_here, blocks, chunksize=1))
        seconds = time.perf_counter() - start
        mean, deviation = verify(pairs, dict(zip(paths, vectors, strict=True)))
        each = 1000 * seconds * arguments.workers / len(paths)
        print(f"| {model.name} | {len(pairs)} | {mean:.2f} | {deviation:.2f} | {each:.1f} |")


if __name__ == "__main__":
    main()
