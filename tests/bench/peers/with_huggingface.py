"""Hugging Face datasets: Parquet files with the images' bytes, read as a map or as a stream."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import torch
from torch.utils.data import DataLoader

PACKAGE = "datasets"
PER_FILE = 2500

# A stream sleeps five seconds at its end for its threads; an epoch of any length, so not counted.
datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0


def variants(cpus):
    return [{"workers": n, "form": form} for form in ("map", "stream") for n in range(cpus + 2)]


def convert(crops, folder):
    datasets.disable_progress_bars()
    rows = list(crops)
    for start in range(0, len(rows), PER_FILE):
        images, labels = zip(*rows[start : start + PER_FILE], strict=True)
        table = pa.table({"image": pa.array(images, pa.binary()), "label": pa.array(labels)})
        pq.write_table(
            table, folder / f"{start:08d}.parquet", compression="none", row_group_size=100
        )


class Batches(torch.utils.data.Dataset):
    """Rows by lists of numbers: one call of the library for a batch, instead of one a row."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitems__(self, rows):
        return self.data[rows]


def decode(rows):
    """A list of rows, or the columns of a batch, into tensors."""
    if isinstance(rows, list):
        rows = {name: [row[name] for row in rows] for name in ("image", "label")}
    images = np.stack([simplejpeg.decode_jpeg(data, "RGB") for data in rows["image"]])
    return torch.from_numpy(images), torch.tensor(rows["label"])


def open_batches(folder, workers, form):
    files = {"data_files": sorted(str(path) for path in folder.glob("*.parquet"))}
    files |= {"split": "train", "cache_dir": str(folder / "cache")}
    if form == "map":
        data = Batches(datasets.load_dataset("parquet", **files))
    else:
        data = datasets.load_dataset("parquet", streaming=True, **files)
        data = data.shuffle(seed=0, buffer_size=1000)
    loader = DataLoader(
        data, 256, shuffle=form == "map" or None, collate_fn=decode, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    return lambda: iter(loader)
