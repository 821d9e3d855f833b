"""webdataset: tar shards with jpg and cls members; shards and a buffer of samples shuffled."""

import simplejpeg
import webdataset as wds
from torch.utils.data import default_collate

PACKAGE = "webdataset"


def variants(cpus):
    return [{"workers": n} for n in range(cpus + 2)]


def convert(crops, folder):
    with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=1000, verbose=0) as writer:
        for number, (jpeg, label) in enumerate(crops):
            writer.write({"__key__": f"{number:08d}", "jpg": jpeg, "cls": label})


def decode(sample):
    return simplejpeg.decode_jpeg(sample["jpg"], "RGB"), int(sample["cls"])


def open_batches(folder, workers):
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    data = wds.WebDataset(shards, shardshuffle=len(shards))
    data = data.shuffle(1000).map(decode).batched(256, collation_fn=default_collate)
    loader = wds.WebLoader(
        data, batch_size=None, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: iter(loader)
