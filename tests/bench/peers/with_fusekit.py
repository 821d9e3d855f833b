"""fusekit's loader, over the store that the benchmark built."""

import inspect

from fusekit import MixtureLoader

PACKAGE = "fusekit"


def variants(cpus):
    """The rows of the table: all are measured, none is chosen."""
    jpeg = [{"augment": "none", "layout": "hwc"}, {"augment": "none"}, {}, {"process": True}]
    raw = [{"augment": "none", "layout": "hwc", "mixture": "raw"}]
    decoded = [{"augment": "none", "layout": "hwc", "cache": "decoded"}]
    known = {*inspect.signature(MixtureLoader).parameters, "mixture"}
    rows = [row for row in jpeg + raw + decoded if row.keys() <= known]
    return [row | {"threads": cpus} for row in rows]


def convert(crops, folder):
    """Nothing is converted: the store was built before."""


def open_batches(folder, mixture="jpeg", **settings):
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
