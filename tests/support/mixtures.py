"""The narrow view of a mixture that the loader reads, laid out by hand from bytes."""

import hashlib
import io
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg
from support.stores import draw_crop


@dataclass
class HandMadeMixture:
    """Images of labeled, then unlabeled sources, in shards of plain concatenated bytes.

    Attributes:
        folder: Where the shards go.
        labeled: Images of each labeled source; the class of image i is ``i % 3`` of its source.
        unlabeled: Images of each unlabeled source.
        code: Format code of every image.
    """

    folder: Path
    labeled: list[list[bytes]]
    unlabeled: list[list[bytes]] = field(default_factory=list)
    code: int = 0
    per_shard: int = 8
    batch_size: int = 8
    unlabeled_fraction: Fraction = Fraction(1, 4)
    seed: int = 3
    fingerprint: str = "f" * 64
    name: str = "hand-made"
    crop_size: tuple[int, int] = (112, 112)
    template: str = "arcface-112"
    url: str | None = None

    def __post_init__(self):
        lists = [("labeled", x) for x in self.labeled] + [("unlabeled", x) for x in self.unlabeled]
        self.sources, rows, first = [], [], 0
        for k, (kind, images) in enumerate(lists):
            self.sources.append(
                SimpleNamespace(
                    name=f"s{k}",
                    kind=kind,
                    index=k,
                    rows=len(images),
                    first_row=first,
                    template=self.template,
                )
            )
            first += len(images)
            rows += [
                (image, k, 3 * k + i % 3 if kind == "labeled" else -1)
                for i, image in enumerate(images)
            ]
        self.images = [image for image, _, _ in rows]
        self.shard_paths, shard, offset = [], [], []
        for start in range(0, len(rows), self.per_shard):
            path = self.folder / f"shard-{start:06d}.tar"
            data = b""
            for image, _, _ in rows[start : start + self.per_shard]:
                shard.append(len(self.shard_paths))
                offset.append(len(data))
                data += image
            path.write_bytes(data)
            self.shard_paths.append(path)
        data = [path.read_bytes() for path in self.shard_paths]
        self.shards = pa.table(
            {"sha256": [hashlib.sha256(d).hexdigest() for d in data], "size": list(map(len, data))}
        )
        self.class_ranges = np.array([[3 * k, 3 * k + 3] for k in range(len(self.labeled))])
        self.recipe = SimpleNamespace(
            batch=SimpleNamespace(by=None, grouping="mixed"), sampler=None, epochs="cycle"
        )
        digests = b"".join(hashlib.sha256(i).digest()[:8] for i in self.images)
        self.index = SimpleNamespace(
            shard=np.array(shard, np.int32),
            offset=np.array(offset, np.int64),
            length=np.array([len(i) for i in self.images], np.int32),
            label=np.array([label for _, _, label in rows], np.int32),
            source=np.array([k for _, k, _ in rows], np.int16),
            format=np.full(len(rows), self.code, np.int8),
            digest=np.frombuffer(digests, np.uint8).reshape(-1, 8),
        )

    def dataset_classes(self, source):
        return np.arange(*self.class_ranges[source])

    def key(self, row):
        return f"key{row:05d}_00"

    def pixels(self, row):
        """The pixels of a row as they were stored, RGB, ``(H, W, 3)``."""
        if self.code == 0:
            return simplejpeg.decode_jpeg(self.images[row])
        if self.code == 2:
            return np.load(io.BytesIO(self.images[row]))
        return cv2.imdecode(np.frombuffer(self.images[row], np.uint8), cv2.IMREAD_COLOR_RGB)

    def spoil(self, row, data=b"\0"):
        """Overwrite the first bytes of a row's image on disk."""
        path = self.shard_paths[self.index.shard[row]]
        with path.open("r+b") as file:
            file.seek(int(self.index.offset[row]))
            file.write(data * (int(self.index.length[row]) // len(data)))


def draw_jpegs(count, seed=0):
    return [
        simplejpeg.encode_jpeg(draw_crop(seed * 10_007 + i), quality=95, colorsubsampling="444")
        for i in range(count)
    ]


def draw_pngs(count, seed=0):
    crops = (draw_crop(seed * 10_007 + i)[..., ::-1] for i in range(count))
    return [cv2.imencode(".png", np.ascontiguousarray(crop))[1].tobytes() for crop in crops]


def draw_raws(count, seed=0):
    found = []
    for i in range(count):
        file = io.BytesIO()
        np.save(file, draw_crop(seed * 10_007 + i))
        found.append(file.getvalue())
    return found


DRAW = (draw_jpegs, draw_pngs, draw_raws)  # by format code


def hand_made(folder, labeled=(20, 13), unlabeled=(9,), **more):
    """A mixture of drawn crops with this many images in each source."""
    counts = [*labeled, *unlabeled]
    drawn = [DRAW[more.get("code", 0)](n, k) for k, n in enumerate(counts)]
    return HandMadeMixture(folder, drawn[: len(labeled)], drawn[len(labeled) :], **more)
