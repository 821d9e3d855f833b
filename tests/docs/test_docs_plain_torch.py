"""The tutorial's loop, run as it stands."""

import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from support.stores import make_dataset

from fusekit.mixture.build import build_mixture
from fusekit.store.layout import open_store

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
RECIPE = """
name: small
labeled: [{dataset: one}, {dataset: two}]
unlabeled: [{dataset: crawl}]
batch: {size: 16, unlabeled_fraction: 0.25}
"""


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    storage = open_store(folder / "store", create=True)
    make_dataset(storage, "one", {"a": 12, "b": 9})
    make_dataset(storage, "two", {"b": 8, "c": 9, "d": 10}, seed=1)
    make_dataset(storage, "crawl", 20, seed=2)
    (folder / "small.yaml").write_text(RECIPE)
    build_mixture(folder / "small.yaml", folder / "store")
    return folder / "store" / "mixtures" / "small"


def test_the_plain_loop_trains_for_an_epoch_on_finite_losses(mixture):
    script = runpy.run_path(str(TUTORIALS / "plain_torch.py"))
    losses = script["train"](mixture, epochs=2)
    assert len(losses) == 8  # 48 labeled images, 12 a batch, twice
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)


def test_the_script_runs_as_the_tutorial_says(mixture):
    done = subprocess.run(
        [sys.executable, TUTORIALS / "plain_torch.py", mixture],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0].startswith("step 0: loss ")
    assert len(done.stdout.splitlines()) == 4


def test_the_tutorial_shows_the_script_as_it_is():
    script = (TUTORIALS / "plain_torch.py").read_text().rstrip()
    assert f"```python\n{script}\n```" in (TUTORIALS / "train-with-pytorch.md").read_text()
