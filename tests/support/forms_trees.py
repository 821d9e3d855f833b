"""The forms of datasets whose pictures lie in identity folders, plain or in archives."""

from collections.abc import Callable, Mapping
from pathlib import Path

from support.archives import write_archive
from support.forms import FormCase, face_box, face_landmarks, face_photo
from support.raw import VGGFACE2_META, draw_jpeg, record_pack, write_files

_CROPS = {"imgs/0/1.jpg": 1, "imgs/0/2.jpg": 2, "imgs/10/3.jpg": 3}
_WEBFACE = {"0/0_0_0000000/0_0.jpg": 0, "0/0_0_0000000/0_1.jpg": 1, "0/0_0_0000001/0_2.jpg": 2}


def photos(root: Path, names: Mapping[str, int]) -> Path:
    """Write photographs of faces: path to the face's seed."""
    return write_files(root, {name: face_photo(seed) for name, seed in names.items()})


def crops(root: Path, names: Mapping[str, int]) -> Path:
    """Write drawn crops of 112x112: path to the drawing's seed."""
    return write_files(root, {name: draw_jpeg(seed) for name, seed in names.items()})


def numbered(*names: str) -> dict[str, int]:
    """Give each path a seed of its own."""
    return {name: seed for seed, name in enumerate(names)}


def pack(*labels: str) -> FormCase:
    """Give the case of an InsightFace pack with two images a label."""
    counts = {int(label): 2 for label in labels}
    return FormCase(lambda root: record_pack(root, counts), 2 * len(labels), labels)


def vggface2(root: Path) -> Path:
    names = numbered("test/n000001/0001_01.jpg", "train/n000002/0001_01.jpg",
                     "train/n000002/0004_02.jpg", "train/n000003/0001_01.jpg")  # fmt: skip
    photos(root, names)
    files = {"meta/identity_meta.csv": VGGFACE2_META}
    for split in ("train", "test"):
        boxes, points = "NAME_ID,X,Y,W,H\n", "NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\n"
        for name, seed in names.items():
            if name.startswith(split):
                x0, y0, x1, y1 = face_box(seed)
                stem = name.removeprefix(f"{split}/").removesuffix(".jpg")
                boxes += f'"{stem}",{x0},{y0},{x1 - x0},{y1 - y0}\n'
                points += f'"{stem}",' + ",".join(map(str, face_landmarks(seed))) + "\n"
        files[f"bb_landmark/loose_bb_{split}.csv"] = boxes
        files[f"bb_landmark/loose_landmark_{split}.csv"] = points
        files[f"{split}_list.txt"] = "".join(
            name.removeprefix(f"{split}/") + "\n" for name in names if name.startswith(split)
        )
    return write_files(root, files)


def casia(root: Path) -> Path:
    names = numbered("CASIA-WebFace/0000045/001.jpg", "CASIA-WebFace/0000045/002.jpg",
                     "CASIA-WebFace/0000099/001.jpg")  # fmt: skip
    rows = [
        "\t".join([name.removeprefix("CASIA-WebFace/"), "0", *map(str, face_landmarks(seed))])
        for name, seed in names.items()
    ]
    lists = {
        "webface_id_name_list.txt": "0000045 Bruce_Lee\n0000099 Steve_Martin\n",
        "casia_landmark.txt": "\n".join(rows) + "\n",
    }
    return write_files(photos(root, names), lists)


def digiface(root: Path) -> Path:
    pictures = {"subjects_0-1999_72_imgs.zip": ("0/0.png", "0/1.png", "12/0.png"),
                "subjects_100000-133332_5_imgs.zip": ("100000/0.png",)}  # fmt: skip
    for number, (archive, names) in enumerate(pictures.items()):
        files = {name: face_photo(10 * number + seed) for seed, name in enumerate(names)}
        write_archive(root / archive, files)
    return root


def own(suffix: str) -> Callable[[Path], Path]:
    """Give a builder of anyone's archive, everything below one folder as tools pack it."""
    names = ("train/anna/1.jpg", "train/ben/2.jpg", "val/anna/3.jpg")
    files = {f"photos/{name}": face_photo(seed) for seed, name in enumerate(names)}
    return lambda root: write_archive(root / f"photos{suffix}", files)


def _webface(card: str) -> dict[tuple[str, str], FormCase]:
    people = ("0_0_0000000", "0_0_0000001")
    return {
        (card, "recordio"): pack("0", "1"),
        (card, "crops"): FormCase(lambda root: crops(root, _WEBFACE), 3, people),
        (card, "pictures"): FormCase(
            lambda root: photos(root, _WEBFACE), 3, people, arguments={"form": "pictures"}
        ),
    }


FORMS: dict[tuple[str, str], FormCase] = {
    ("vggface2", "recordio"): pack("0", "1"),
    ("vggface2", "folders"): FormCase(
        vggface2, 4, ("n000001", "n000002", "n000003"),
        names={"n000002": "Anne,_Princess_Royal"}, splits={"train": 3, "test": 1},
    ),
    ("casia-webface", "recordio"): pack("0", "1"),
    ("casia-webface", "folders"): FormCase(
        casia, 3, ("0000045", "0000099"), names={"0000045": "Bruce_Lee"}
    ),
    ("casia-webface", "crops"): FormCase(lambda root: crops(root, _CROPS), 3, ("0", "10")),
    ("pinsface", "recordio"): FormCase(
        lambda root: write_files(record_pack(root), {"names.txt": "pins_Tom Ellis\npins_A\n"}),
        6, ("0", "1", "2"), names={"0": "Tom Ellis"},
    ),
    ("pinsface", "folders"): FormCase(
        lambda root: photos(root, numbered(
            "105_classes_pins_dataset/pins_Adriana Lima/Adriana Lima31_154.jpg",
            "105_classes_pins_dataset/pins_tom ellis/tom ellis1_2.jpg",
        )), 2, ("Adriana Lima", "tom ellis"),
    ),
    ("14-celebrity", "folders"): FormCase(
        lambda root: photos(root, numbered(
            "data/train/ben_afflek/httpcsvkmeuaeccjpg.jpg", "data/train/madonna/a.jpg",
            "data/val/ben_afflek/b.jpg",
        )), 3, ("ben_afflek", "madonna"), splits={"train": 2, "val": 1},
    ),
    ("200-celeb", "folders"): FormCase(
        lambda root: photos(root, numbered("Anna A/1.jpg", "Ben B/1.jpg")), 2, ("Anna A", "Ben B")
    ),
    ("folders", "folders"): FormCase(
        lambda root: photos(root, numbered("anna/1.jpg", "anna/deep/2.jpg", "ben/1.JPG")),
        3, ("anna", "ben"),
    ),
    ("zip", "zip"): FormCase(own(".zip"), 3, ("anna", "ben"), splits={"train": 2, "val": 1}),
    ("tar", "tar"): FormCase(own(".tar.gz"), 3, ("anna", "ben"), splits={"train": 2, "val": 1}),
    ("glint360k", "recordio"): pack("0", "1"),
    ("glint360k", "crops"): FormCase(
        lambda root: crops(root, numbered("id_0/0_1.jpg", "id_0/0_2.jpg", "id_360231/36_1.jpg")),
        3, ("0", "360231"),
    ),
    ("glint-mini", "recordio"): pack("0", "1"),
    ("bupt-balancedface", "folders"): FormCase(
        lambda root: photos(root, numbered(
            "images/race_per_7000/African/m.0xnkj/000012_00@en.jpg",
            "images/race_per_7000/Asian/m.01_2c/000001_00@zh.jpg",
        )), 2, ("m.0xnkj", "m.01_2c"), splits={"african": 1, "asian": 1},
    ),
    ("digiface-1m", "folders"): FormCase(digiface, 4, ("0", "12", "100000")),
    ("digiface-1m", "crops"): FormCase(
        lambda root: crops(root, numbered("subjects_0-1999_72_imgs/0/0.png", "b/100000/0.png")),
        2, ("0", "100000"), arguments={"form": "crops"},
    ),
    **_webface("webface4m"), **_webface("webface12m"), **_webface("webface42m"),
    **_webface("webface260m"),
}  # fmt: skip
