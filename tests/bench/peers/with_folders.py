"""A plain torch DataLoader over image folders, a folder an identity."""

import os

import simplejpeg
from torch.utils.data import DataLoader, Dataset

PACKAGE = "torch"


def variants(cpus):
    return [{"workers": n} for n in range(cpus + 2)]


def convert(crops, folder):
    for number, (jpeg, label) in enumerate(crops):
        home = folder / (f"{label:06d}" if label >= 0 else "unlabeled")
        home.mkdir(exist_ok=True)
        (home / f"{number:08d}.jpg").write_bytes(jpeg)


def list_items(folder):
    """Give the path and the label of every image, as torchvision's ImageFolder lists them."""
    homes = sorted(path for path in folder.iterdir() if path.is_dir())
    return [
        (entry.path, int(home.name) if home.name.isdigit() else -1)
        for home in homes
        for entry in sorted(os.scandir(home), key=lambda entry: entry.name)
    ]


class Images(Dataset):
    def __init__(self, folder):
        self.items = list_items(folder)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, at):
        path, label = self.items[at]
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs what the read does
            return simplejpeg.decode_jpeg(file.read(), "RGB"), label


def open_batches(folder, workers):
    loader = DataLoader(
        Images(folder), 256, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: iter(loader)
