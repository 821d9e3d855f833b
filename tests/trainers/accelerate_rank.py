"""One rank under Accelerate: what the tutorial's loop sees, and what a prepared loader would."""

import json
import os
import runpy
import sys
from pathlib import Path

from accelerate import Accelerator
from support.training import TUTORIALS
from torch.utils.data import DataLoader

from fusekit import MixtureDataset


def main(found, path, folder):
    train = runpy.run_path(str(TUTORIALS / "accelerate_loop.py"))["train"]
    rank, first, rest = int(os.environ["RANK"]), {}, {}
    train(Accelerator(), path, folder, 7, batch_size=8, seen=first)
    train(Accelerator(), path, folder, 9, batch_size=8, seen=rest)
    accelerator, dataset = Accelerator(), MixtureDataset(path, 8)
    plain = [batch["rows"].tolist() for batch in DataLoader(dataset, batch_size=None)]
    dataset.set_epoch(0)
    loader = accelerator.prepare(DataLoader(dataset, batch_size=None))
    try:
        prepared = [batch["rows"].tolist() for batch in loader]
    except Exception as error:  # noqa: BLE001 - what it raises is what the test is told
        prepared = f"{type(error).__name__}: {error}"
    about = {"first": first, "rest": rest, "plain": plain, "prepared": prepared}
    Path(f"{found}{rank}").write_text(json.dumps(about))
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
