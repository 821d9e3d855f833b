"""Train through torchdata's StatefulDataLoader; run it again after a stop and it goes on."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torchdata.stateful_dataloader import StatefulDataLoader

from fusekit import Mixture, MixtureDataset


def train(path, checkpoint, steps, batch_size=None, num_workers=0, save_every=2):
    """Train up to a step; give the loss of every step of this run, by its number."""
    torch.manual_seed(0)
    mixture, checkpoint = Mixture.open(path), Path(checkpoint)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(256, mixture.num_classes),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    # batch_size=None: the dataset gives whole batches. No worker is needed: it decodes in threads.
    loader = StatefulDataLoader(
        MixtureDataset(path, batch_size), batch_size=None, num_workers=num_workers
    )
    step, losses = 0, {}
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        step = saved["step"]
    while step < steps:
        for batch in loader:  # an epoch, or what was left of it
            n = batch["n_labeled"]  # these come first; the rest is for an unlabeled loss
            images = batch["images"][:n].float() / 127.5 - 1  # (n, 3, 112, 112)
            loss = functional.cross_entropy(net(images), batch["labels"][:n])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step] = loss.item()
            step += 1
            if step % save_every == 0:
                saved = {
                    "net": net.state_dict(), "optimizer": optimizer.state_dict(),
                    "loader": loader.state_dict(), "step": step,
                }  # fmt: skip
                new = checkpoint.with_suffix(".new")
                torch.save(saved, new)
                new.replace(checkpoint)  # a stop leaves a whole one, this or the one before
            if step == steps:
                break
    return losses


if __name__ == "__main__":
    for number, value in train(sys.argv[1], sys.argv[2], int(sys.argv[3])).items():
        print(f"step {number}: loss {value:.6f}")
