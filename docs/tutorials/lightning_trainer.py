"""Train with Lightning; run it again after a stop and it goes on."""

import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional

from fusekit import Mixture, MixtureDataset


class Faces(lightning.LightningDataModule):
    """A mixture's batches."""

    def __init__(self, path, batch_size=None, epoch_steps=1000):
        super().__init__()
        self.path, self.batch_size, self.epoch_steps = path, batch_size, epoch_steps

    def train_dataloader(self):
        # The dataset itself is the loader: it decodes in threads, takes its rank from Lightning's
        # process group, and Lightning keeps its state in the checkpoint. Lightning asks for the
        # length once and counts, so epochs are given a fixed number of steps.
        return MixtureDataset(self.path, self.batch_size, epochs={"steps": self.epoch_steps})


class Net(lightning.LightningModule):
    """A small softmax over the mixture's classes."""

    def __init__(self, classes):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(256, classes),
        )  # fmt: skip
        self.losses = {}

    def training_step(self, batch, _):
        n = batch["n_labeled"]  # these come first; the rest is for an unlabeled loss
        images = batch["images"][:n].float() / 127.5 - 1  # (n, 3, 112, 112)
        loss = functional.cross_entropy(self.net(images), batch["labels"][:n])
        self.losses[batch["step"]] = loss.item()
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def train(path, folder, steps, batch_size=None, epoch_steps=1000, save_every=2):
    """Train up to a step; give the loss of every step of this run, by its number."""
    torch.manual_seed(0)
    keep = ModelCheckpoint(folder, filename="kept", every_n_train_steps=save_every, save_last=True)
    trainer = lightning.Trainer(
        max_steps=steps, callbacks=[keep], logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    net = Net(Mixture.open(path).num_classes)
    last = Path(folder) / "last.ckpt"
    trainer.fit(
        net, datamodule=Faces(path, batch_size, epoch_steps),
        ckpt_path=last if last.exists() else None,
    )  # fmt: skip
    return net.losses


if __name__ == "__main__":
    for number, value in train(sys.argv[1], sys.argv[2], int(sys.argv[3])).items():
        print(f"step {number}: loss {value:.6f}")
