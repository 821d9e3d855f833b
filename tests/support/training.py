"""A small real mixture, and what a training run on it should have seen."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from support.stores import make_dataset

from fusekit import MixtureLoader
from fusekit.mixture.build import build_mixture
from fusekit.store.layout import open_store

TESTS = Path(__file__).parents[1]
TUTORIALS = TESTS.parent / "docs" / "tutorials"


def small_mixture(folder, share="1/4", size=8):
    """Build a mixture of 48 labeled and 20 unlabeled crops; give its folder."""
    storage = open_store(folder / "store", create=True)
    make_dataset(storage, "one", {"a": 12, "b": 9})
    make_dataset(storage, "two", {"b": 8, "c": 9, "d": 10}, seed=1)
    make_dataset(storage, "crawl", 20, seed=2)
    (folder / "small.yaml").write_text(
        "name: small\n"
        "labeled: [{dataset: one}, {dataset: two}]\n"
        "unlabeled: [{dataset: crawl}]\n"
        f"batch: {{size: {size}, unlabeled_fraction: {share}}}\n"
    )
    build_mixture(folder / "small.yaml", folder / "store")
    return folder / "store" / "mixtures" / "small"


def planned(path, steps, batch_size=8, rank=0, world_size=1, **more):
    """The rows of the first steps, as the loader plans them."""
    with MixtureLoader(path, batch_size, rank, world_size, **more) as loader:
        return [loader.plan(step).rows.tolist() for step in range(steps)]


def launch(folder, script, path):
    """Run a script of tests/trainers as two ranks of this machine; give what each wrote as JSON.

    A rank is given the path to write to, but for its rank, the mixture and a folder for both.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {
        **os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
    }  # fmt: skip
    command = [sys.executable, TESTS / "trainers" / script, folder / "rank", path, folder]
    ranks = [
        subprocess.Popen(
            command, env={**shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        for rank in ranks:
            output, _ = rank.communicate(timeout=120)
            assert rank.returncode == 0, output
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    return [json.loads((folder / f"rank{rank}").read_text()) for rank in range(2)]
