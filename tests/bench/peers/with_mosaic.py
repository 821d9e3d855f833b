"""MosaicML Streaming: MDS shards that are already local, its default shuffle (py1e)."""

import sys
from types import ModuleType

import simplejpeg

PACKAGE = "mosaicml-streaming"


def stand_in(name, *classes):
    """Put an empty module in the place of one that is imported and never used here."""
    for end in range(1, name.count(".") + 2):
        sys.modules.setdefault(".".join(name.split(".")[:end]), ModuleType(name))
    for each in classes:
        setattr(sys.modules[name], each, type(each, (), {}))


# ``import streaming`` loads its text and vision examples, which want transformers < 5 and
# torchvision: their own requirements can't stand beside the other peers'. Of these names only the
# classes in isinstance() are met below.
stand_in("transformers.models.auto.tokenization_auto", "AutoTokenizer")
stand_in("transformers.feature_extraction_utils", "BatchFeature")
stand_in("transformers.tokenization_utils_base", "BatchEncoding")
stand_in("torchvision.datasets", "VisionDataset", "CIFAR10")
stand_in("torchvision.transforms.functional", "to_tensor")

from streaming import MDSWriter, StreamingDataLoader, StreamingDataset  # noqa: E402


def variants(cpus):
    return [{"workers": n} for n in range(cpus + 2)]


def convert(crops, folder):
    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(folder), columns=columns) as writer:
        for jpeg, label in crops:
            writer.write({"image": jpeg, "label": label})


class Decoded(StreamingDataset):
    def __getitem__(self, at):
        sample = super().__getitem__(at)
        return simplejpeg.decode_jpeg(sample["image"], "RGB"), sample["label"]


def open_batches(folder, workers):
    data = Decoded(local=str(folder), shuffle=True, batch_size=256)
    loader = StreamingDataLoader(
        data, batch_size=256, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: iter(loader)
