"""Train on several processes with DistributedDataParallel: torchrun --nproc-per-node 2 this.py."""

import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from fusekit import Mixture, MixtureLoader


def train(path, checkpoint, steps, global_batch=16, seen=None):
    """Train up to a step; give the network and the loss of every step on this rank."""
    torch.manual_seed(0)
    mixture, checkpoint = Mixture.open(path), Path(checkpoint)
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    net = DistributedDataParallel(
        nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(256, mixture.num_classes),
        )
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    losses = {}
    # The same global batch gives the same steps on any number of ranks.
    with MixtureLoader(mixture, global_batch // world_size, rank, world_size) as loader:
        if checkpoint.exists():
            saved = torch.load(checkpoint)
            net.module.load_state_dict(saved["net"])
            loader.load_state_dict(saved["loader"])
        while loader.step < steps:
            for batch in loader:
                n = batch.n_labeled
                images = batch.images[:n].float() / 127.5 - 1  # (n, 3, 112, 112)
                loss = functional.cross_entropy(net(images), batch.labels[:n])
                optimizer.zero_grad()
                loss.backward()  # averages the gradients over the ranks
                optimizer.step()
                losses[batch.step] = loss.item()
                if seen is not None:
                    seen[batch.step] = (batch.rows.tolist(), n)
                if loader.step == steps:
                    break
        if rank == 0:
            # The loader's state is the same on every rank.
            saved = {"net": net.module.state_dict(), "loader": loader.state_dict()}
            torch.save(saved, checkpoint)
    return net.module, losses


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    _, found = train(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    if distributed.get_rank() == 0:
        for number, value in found.items():
            print(f"step {number}: loss {value:.6f}")
    distributed.destroy_process_group()
