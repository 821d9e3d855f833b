"""fusekit's loader, over the store that the benchmark built."""

import inspect
import os

from fusekit import MixtureLoader

PACKAGE = "fusekit"


def variants(cpus):
    """The rows of the table: all are measured, none is chosen."""
    plain = {"augment": "none", "layout": "hwc"}
    jpeg = [plain, {"augment": "none"}, {}, {"process": True}]
    slow = [row | {"compiled": False} for row in (plain, {})]
    raw = [row | {"mixture": "raw"} for row in (plain, {})]
    decoded = [row | {"cache": "decoded"} for row in (plain, {})]
    known = {*inspect.signature(MixtureLoader).parameters, "mixture", "compiled"}
    rows = [row for row in jpeg + slow + raw + decoded if row.keys() <= known]
    return [row | {"threads": cpus} for row in rows]


def convert(crops, folder):
    """Nothing is converted: the store was built before."""


def open_batches(folder, mixture="jpeg", *, compiled=True, **settings):
    os.environ["FUSEKIT_NATIVE"] = str(int(compiled))
    store = folder.parent / "store"
    loader = MixtureLoader(store / "mixtures" / mixture, 256, **settings)
    passes = 5 if settings.get("cache") or mixture == "raw" else 1
    epoch = 0

    def batches():
        nonlocal epoch
        # A jump throws away what was made ahead, so that every run starts with nothing ready.
        epoch += passes + 1
        loader.set_epoch(epoch)
        for _ in range(passes):
            for batch in loader:
                yield batch.images, batch.labels

    return batches
