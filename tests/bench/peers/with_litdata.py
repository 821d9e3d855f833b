"""LitData: optimized chunks of 64 MB that are already local, shuffled."""

import simplejpeg
from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming.cache import Cache

PACKAGE = "litdata"


def variants(cpus):
    return [{"workers": n} for n in range(cpus + 2)]


def convert(crops, folder):
    # What optimize() does in each of its processes, without its processes.
    writer = Cache(str(folder), chunk_bytes="64MB")
    for number, (jpeg, label) in enumerate(crops):
        writer[number] = {"image": jpeg, "label": label}
    writer.done()
    writer.merge()


def decode(sample):
    return simplejpeg.decode_jpeg(sample["image"], "RGB"), sample["label"]


def open_batches(folder, workers):
    data = StreamingDataset(str(folder), shuffle=True, transform=decode)
    loader = StreamingDataLoader(
        data, batch_size=256, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: iter(loader)
