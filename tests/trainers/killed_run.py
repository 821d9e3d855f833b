"""A training that may be killed at any moment: run it again and it goes on.

It logs what each step trained on, and saves weights and the loader's state in one file, whole.
"""

import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np

from fusekit import MixtureLoader

SAVE_EVERY = 5
CLASSES, PIXELS = 5, 3 * 7 * 7


class NumpyTrainer:
    """Softmax regression on shrunk images by gradient descent."""

    arrays = "numpy"

    def __init__(self, weights=None):
        self.weights = np.zeros((PIXELS, CLASSES)) if weights is None else np.array(weights)

    def train(self, images, labels):
        images = images.reshape(-1, 3, 7, 16, 7, 16).mean((3, 5)).reshape(-1, PIXELS) / 255
        logits = images @ self.weights
        softmax = np.exp(logits - logits.max(1, keepdims=True))
        softmax /= softmax.sum(1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(softmax[rows, labels]).mean()
        softmax[rows, labels] -= 1
        self.weights -= 0.1 * images.T @ softmax / len(labels)
        return float(loss)

    def state(self):
        return self.weights.tolist()


class TorchTrainer:
    """The same with torch, with momentum, so that the optimizer has a state too."""

    arrays = "torch"

    def __init__(self, state=None):
        import torch

        self.net = torch.nn.Sequential(
            torch.nn.AvgPool2d(16), torch.nn.Flatten(), torch.nn.Linear(PIXELS, CLASSES)
        )
        torch.nn.init.zeros_(self.net[2].weight)
        torch.nn.init.zeros_(self.net[2].bias)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.loss = torch.nn.CrossEntropyLoss()
        if state is not None:
            tensors = [torch.tensor(values) for values in state]
            self.net[2].load_state_dict({"weight": tensors[0], "bias": tensors[1]})
            for parameter, momentum in zip(self.net.parameters(), tensors[2:], strict=True):
                self.optimizer.state[parameter]["momentum_buffer"] = momentum

    def train(self, images, labels):
        loss = self.loss(self.net(images.float() / 255), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self):
        parameters = list(self.net.parameters())
        momenta = [self.optimizer.state[p]["momentum_buffer"] for p in parameters]
        return [tensor.tolist() for tensor in (*parameters, *momenta)]


def main(kind, path, folder, steps):
    """Train from the last save up to a step."""
    folder, steps = Path(folder), int(steps)
    saved = folder / "saved.json"
    state = json.loads(saved.read_text()) if saved.exists() else {"loader": None, "trainer": None}
    trainer = {"numpy": NumpyTrainer, "torch": TorchTrainer}[kind](state["trainer"])
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with MixtureLoader(path, 8, threads=2, arrays=trainer.arrays) as loader:
        if state["loader"] is not None:
            loader.load_state_dict(state["loader"])
        first = loader.step
        while loader.step < steps:
            for batch in loader:
                n = batch.n_labeled
                loss = trainer.train(batch.images[:n], batch.labels[:n])
                line = {
                    "from": first, "step": batch.step, "rows": batch.rows.tolist(),
                    "pixels": zlib.crc32(bytes(memoryview(np.asarray(batch.images)))),
                    "loss": loss,
                }  # fmt: skip
                os.write(log, (json.dumps(line) + "\n").encode())
                if loader.step % SAVE_EVERY == 0:
                    new = {"loader": loader.state_dict(), "trainer": trainer.state()}
                    (folder / "new").write_text(json.dumps(new))
                    (folder / "new").replace(saved)
                if loader.step == steps:
                    break
    os.close(log)


if __name__ == "__main__":
    main(*sys.argv[1:])
