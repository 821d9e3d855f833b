"""Small raw datasets in their real layouts, made of drawn pictures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import simplejpeg

from fusekit.formats.recordio_writer import write_pack


def draw_jpeg(seed: int, size: int = 112) -> bytes:
    """A JPEG that differs for each seed: a smooth random pattern, ``size`` pixels square."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    side = -(-size // 7)
    picture = np.kron(coarse, np.ones((side, side, 1), np.uint8))[:size, :size]
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=95)


def write_files(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files by their paths from ``root``; folders are made."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def write_pictures(root: Path, *names: str) -> Path:
    """Write a drawn picture, each another one, under each of these paths."""
    return write_files(root, {name: draw_jpeg(seed) for seed, name in enumerate(names)})


VGGFACE2_META = (
    "Class_ID, Name, Sample_Num, Flag, Gender\n"
    'n000001, "14th_Dalai_Lama", 424, 0, m\n'
    'n000002, "Anne,_Princess_Royal", 315, 1, f,\n'
    'n000003,"Óscar_de_la_Hoya",99,1,m\n'
)


def vggface2_tree(root: Path, images: int = 2) -> Path:
    """VGGFace2 as released: train with two people, test with one, names, boxes and landmarks.

    Args:
        root: Where it goes.
        images: Pictures a person, ``0001_01.jpg`` and so on.
    """
    people = {"test/n000001": 1, "train/n000002": 2, "train/n000003": 3}
    names = [f"{person}/{i:04}_01.jpg" for person in people for i in range(1, images + 1)]
    write_pictures(root, *names)
    boxes, points = "NAME_ID,X,Y,W,H\n", "NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\n"
    marks = "38.3,51.7,73.5,51.5,56.0,71.7,41.5,92.4,70.7,92.2"
    lists = {}
    for split in ("train", "test"):
        ids = [n.removeprefix(f"{split}/")[:-4] for n in names if n.startswith(split)]
        rows = [f'"{name}",-4,{len(name)},79,{100 + i}\n' for i, name in enumerate(ids)]
        lists[f"bb_landmark/loose_bb_{split}.csv"] = boxes + "".join(rows)
        rows = [f'"{name}",{marks}\n' for name in ids]
        lists[f"bb_landmark/loose_landmark_{split}.csv"] = points + "".join(rows)
        lists[f"{split}_list.txt"] = "".join(f"{name}.jpg\n" for name in ids)
    return write_files(root, {"meta/identity_meta.csv": VGGFACE2_META, **lists})


def casia_tree(root: Path, people: int = 3, images: int = 2) -> Path:
    """CASIA-WebFace: 7-digit folders and ``webface_id_name_list.txt``."""
    ids = [f"{45 + 7 * n:07}" for n in range(people)]
    write_pictures(root, *(f"{p}/{i:03}.jpg" for p in ids for i in range(1, images + 1)))
    table = "".join(f"{p} Person_{n}\n" for n, p in enumerate(ids))
    return write_files(root, {"webface_id_name_list.txt": table})


def pins_tree(root: Path) -> Path:
    """PinsFace: ``pins_<name>`` folders one level down, spaces and a dot in names."""
    people = ("Adriana Lima", "Brian J. Smith", "tom ellis")
    names = [
        f"105_classes_pins_dataset/pins_{p}/{p}{i}_{i + 9}.jpg" for p in people for i in (1, 2)
    ]
    return write_pictures(root, *names)


def celebrity_tree(root: Path) -> Path:
    """14-Celebrity: the same people in ``data/train`` and ``data/val``."""
    people = ("ben_afflek", "elton_john")
    names = [
        f"data/{split}/{p}/http{split}{p}jpg.jpg" for split in ("train", "val") for p in people
    ]
    return write_pictures(root, *names)


def record_pack(root: Path, images: Mapping[int, int] | None = None, size: int = 112) -> Path:
    """An InsightFace pack of drawn crops.

    Args:
        root: Where ``train.rec``, ``train.idx`` and ``property`` go.
        images: Label to its number of images; None: three people with 3, 2 and 1.
        size: Of the crops, pixels.
    """
    images = images or {0: 3, 1: 2, 2: 1}
    labels = [label for label, count in images.items() for _ in range(count)]
    crops = ((label, draw_jpeg(seed, size)) for seed, label in enumerate(labels))
    write_pack(root, crops, max(images) + 1, size=(size, size))
    return root


def unlabeled_folder(root: Path, count: int = 4) -> Path:
    """A crawl: pictures in a folder and one below, and a list beside them."""
    names = [f"img{n}.jpg" for n in range(count - 1)] + ["more/img0.jpg"]
    return write_files(write_pictures(root, *names), {"master.csv": "file_x,file_y\n"})
