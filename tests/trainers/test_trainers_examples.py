"""The tutorials' trainers, run as they stand: a stopped run goes on as if it had not been."""

import math
import runpy
import subprocess
import sys

import pytest
from accelerate import Accelerator
from support.training import TUTORIALS, planned, small_mixture

pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),
    # What Lightning, its parts and Accelerate say of themselves is not ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_mixture(tmp_path_factory.mktemp("trainers"))


def example(name):
    return runpy.run_path(str(TUTORIALS / f"{name}.py"))["train"]


def check_resume(train, path, folder, **more):
    """Compare a run of 13 steps (8 an epoch) with one that is stopped at steps 5 and 9."""
    whole = train(path, folder / "whole", 13, **more)
    assert list(whole) == list(range(13))
    assert all(math.isfinite(loss) for loss in whole.values())
    assert len(set(whole.values())) == 13  # each batch another: a wrong one would show
    parts = [train(path, folder / "parts", steps, **more) for steps in (5, 9, 13)]
    # Saved after every second step: what came after the last save is trained again.
    assert [list(part) for part in parts] == [
        list(range(5)), list(range(4, 9)), list(range(8, 13))
    ]  # fmt: skip
    for part in parts:
        assert part == {step: whole[step] for step in part}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stateful_dataloader_goes_on(path, tmp_path, workers):
    check_resume(example("stateful_dataloader"), path, tmp_path, num_workers=workers)


@pytest.mark.parametrize("epoch_steps", [1000, 6])
@pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning")
def test_lightning_goes_on(path, tmp_path, epoch_steps):
    check_resume(example("lightning_trainer"), path, tmp_path, epoch_steps=epoch_steps)


def test_accelerate_goes_on_with_batches_as_planned(path, tmp_path):
    def train(*words, **more):
        # A process of the tutorial has one; it remembers every network it ever prepared.
        return example("accelerate_loop")(Accelerator(cpu=True), *words, **more)

    seen = {}
    check_resume(train, path, tmp_path, seen=seen)
    assert list(seen.values()) == planned(path, 13)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["stateful_dataloader", "lightning_trainer", "accelerate_loop", "torch_ddp"]
)
def test_the_script_runs_as_the_page_says(path, tmp_path, name):
    command = [sys.executable, TUTORIALS / f"{name}.py", path, tmp_path / "kept"]
    if name == "torch_ddp":
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command[1:1] = torchrun
    runs = [
        subprocess.run([*command, steps], check=True, capture_output=True, text=True)
        for steps in ("3", "5")
    ]
    numbers = [[int(line.split()[1][:-1]) for line in run.stdout.splitlines()
                if line.startswith("step ")] for run in runs]  # fmt: skip
    again = 3 if name == "torch_ddp" else 2  # it saves at its end, the others every second step
    assert numbers == [[0, 1, 2], list(range(again, 5))]
