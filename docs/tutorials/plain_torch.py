"""Train a small network on a mixture, with nothing but PyTorch and the loader."""

import sys

import torch
from torch import nn
from torch.nn import functional

from fusekit import Mixture, MixtureLoader


def train(path, epochs=1, batch_size=None, seed=0):
    """Give the loss of every step."""
    torch.manual_seed(seed)
    mixture = Mixture.open(path)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 64),
    )  # fmt: skip
    centres = nn.Parameter(torch.randn(mixture.num_classes, 64))
    optimizer = torch.optim.SGD([*net.parameters(), centres], lr=0.05, momentum=0.9)
    losses = []
    with MixtureLoader(mixture, batch_size, seed=seed) as loader:
        for epoch in range(epochs):
            loader.set_epoch(epoch)
            for batch in loader:
                images = (batch.images.float() - 127.5) / 128  # (B, 3, 112, 112)
                features = functional.normalize(net(images))  # (B, 64)
                loss = torch.zeros(())
                # Labeled rows come first; each dataset has a softmax over its own classes only,
                # since a person may stand in two datasets under two labels.
                dataset, labels = batch.dataset_index[: batch.n_labeled], batch.labels
                for k, (first, end) in enumerate(mixture.class_ranges.tolist()):
                    mine = (dataset == k).nonzero().squeeze(1)  # rows of the batch
                    head = functional.normalize(centres[first:end])  # (classes of k, 64)
                    logits = 16 * features[mine] @ head.T
                    loss += functional.cross_entropy(logits, labels[mine] - first, reduction="sum")
                loss = loss / batch.n_labeled
                # features[batch.n_labeled :] are the unlabeled rows, for a loss of your own.
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    return losses


if __name__ == "__main__":
    for step, value in enumerate(train(sys.argv[1])):
        print(f"step {step}: loss {value:.3f}")
