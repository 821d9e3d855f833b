"""Train with Hugging Face Accelerate; run it again after a stop and it goes on."""

import shutil
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional

from fusekit import Mixture, MixtureLoader


def train(accelerator, path, folder, steps, batch_size=None, save_every=2, seen=None):
    """Train up to a step; give the loss of every step of this run on this rank, by its number."""
    torch.manual_seed(0)
    mixture = Mixture.open(path)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(256, mixture.num_classes),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net, optimizer = accelerator.prepare(net, optimizer)
    # The loader is not prepared: it has its ranks already, and prepare() would divide its batches
    # among the ranks once more. Its state goes into the checkpoint.
    loader = MixtureLoader(path, batch_size, accelerator.process_index, accelerator.num_processes)
    accelerator.register_for_checkpointing(loader)
    kept, losses = sorted(Path(folder).glob("step-*")), {}
    if kept:
        accelerator.load_state(kept[-1])
    with loader:
        while loader.step < steps:
            for batch in loader:  # an epoch, or what was left of it
                n = batch.n_labeled  # these come first; the rest is for an unlabeled loss
                labels = batch.labels[:n].to(accelerator.device)
                images = batch.images[:n].to(accelerator.device).float() / 127.5 - 1
                loss = functional.cross_entropy(net(images), labels)
                optimizer.zero_grad()
                accelerator.backward(loss)
                optimizer.step()
                losses[batch.step] = loss.item()
                if seen is not None:
                    seen[batch.step] = batch.rows.tolist()
                if loader.step % save_every == 0:
                    save(accelerator, Path(folder), loader.step)
                if loader.step == steps:
                    break
    return losses


def save(accelerator, folder, step):
    """Save the state of all under another name first: what is called step-* is whole."""
    accelerator.save_state(folder / "new")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        old = list(folder.glob("step-*"))
        (folder / "new").rename(folder / f"step-{step:08d}")
        for each in old:
            shutil.rmtree(each)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    this = Accelerator()
    for number, value in train(this, sys.argv[1], sys.argv[2], int(sys.argv[3])).items():
        this.print(f"step {number}: loss {value:.6f}")
    this.end_training()
