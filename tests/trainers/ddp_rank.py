"""One rank of a DDP training: the tutorial's loop, with what it saw written for the test."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import torch
from support.training import TUTORIALS
from torch import distributed

from fusekit import MixtureDataset


def run(path, checkpoint, steps):
    """Train up to a step: rows and labeled count, loss of each step, and the weights."""
    train = runpy.run_path(str(TUTORIALS / "torch_ddp.py"))["train"]
    seen = {}
    net, losses = train(path, checkpoint, steps, seen=seen)
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    return {"seen": seen, "losses": losses, "weights": weights.tolist()}


def main(found, path, folder):
    """A run at one go, one to step 5, and that one resumed; its checkpoint is kept for others."""
    distributed.init_process_group("gloo")
    rank, folder = distributed.get_rank(), Path(folder)
    dataset = MixtureDataset(path, 8)
    about = {"dataset": (dataset.rank, dataset.world_size, next(iter(dataset))["rows"].tolist())}
    about["whole"] = run(path, folder / "whole", 9)
    about["first"] = run(path, folder / "kept", 5)
    distributed.barrier()
    if rank == 0:
        shutil.copy(folder / "kept", folder / "at-five")
    distributed.barrier()
    about["rest"] = run(path, folder / "kept", 9)
    Path(f"{found}{rank}").write_text(json.dumps(about))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
