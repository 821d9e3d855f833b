"""MS-Celeb-1M, DeepGlint, Asian-Celeb and Trillion Pairs in every form."""

import base64
import struct
from pathlib import Path

import pyarrow.parquet as pq
from support.forms import FormCase, face_landmarks, face_photo
from support.raw import draw_jpeg, record_pack, write_files, write_pictures

Faces = list[tuple[str, int, str]]

#: Freebase identity, rank, FaceID; rank 3 comes twice, as in the release.
MS_CELEB: Faces = [
    ("m.0107_f", 3, "FaceId-0"), ("m.0107_f", 3, "FaceId-1"), ("m.0107_f", 10, "FaceId-0"),
    ("m.02x", 0, "FaceId-0"),
]  # fmt: skip
MID_NAMES = (
    'm.02x\t"Bénédicte"@fr\nm.0107_f\t"Ana la Una"@es\nm.0107_f\t"Ann"@en\nm.0107_f\t"Anny"@en\n'
)


def tsv_row(*fields: str, image: bytes) -> bytes:
    """A line of the table: the fields, the face's rectangle, the picture."""
    rectangle = base64.b64encode(struct.pack("<4f", 0.1, 0.2, 0.5, 0.6))
    return b"\t".join([*(f.encode() for f in fields), rectangle, base64.b64encode(image)]) + b"\n"


def full_row(face: tuple[str, int, str], image: bytes) -> bytes:
    """A line of 7 columns."""
    mid, rank, face_id = face
    address = f"http://example.com/{mid}/{rank}.jpg"
    return tsv_row(mid, str(rank), address, "http://example.com/", face_id, image=image)


def ms_celeb_tsv(root: Path, faces: Faces = MS_CELEB) -> Path:
    """The table in two parts, with the names of the identities."""
    rows = [full_row(face, face_photo(seed)) for seed, face in enumerate(faces)]
    return write_files(
        root,
        {
            "MsCelebV1-Faces-Aligned.Part1.tsv": b"".join(rows[:2]),
            "MsCelebV1-Faces-Aligned.Part2.tsv": b"".join(rows[2:]),
            "Top1M_MidList.Name.tsv": MID_NAMES,
        },
    )


def ms_celeb_folders(root: Path, faces: Faces = MS_CELEB) -> Path:
    """The table unpacked to one folder an identity."""
    files: dict[str, bytes | str] = {
        f"{mid}/{rank}-{face}.jpg": face_photo(seed) for seed, (mid, rank, face) in enumerate(faces)
    }
    return write_files(root, files | {"Top1M_MidList.Name.tsv": MID_NAMES})


def lmk_row(path: str, label: int | None, seed: int) -> str:
    """A row of a Trillion Pairs list: path, label, x and y in turn."""
    words = [path, *([] if label is None else [str(label)]), *map(str, face_landmarks(seed))]
    return " ".join(words) + "\n"


def trillion_pairs_part(root: Path, part: str, people: dict[str, int], suffix: str = "") -> Path:
    """One archive, unpacked, with its list: two pictures a person, one more that is not there."""
    names = [f"{part}/{person}/{n}-FaceId-0_align.jpg" for person in people for n in (1, 2)]
    rows = [lmk_row(name, people[name.split("/")[1]], seed) for seed, name in enumerate(names)]
    person, label = list(people.items())[-1]
    rows.append(lmk_row(f"{part}/{person}/99-FaceId-0_align.jpg", label, 0))
    files: dict[str, bytes | str] = {name: face_photo(seed) for seed, name in enumerate(names)}
    return write_files(root, files | {f"{part}_lmk{suffix}": "".join(rows)})


def v1c(root: Path) -> Path:
    return trillion_pairs_part(root, "msra", {"m.0107_f": 0, "m.02x": 1})


def asian_celeb(root: Path) -> Path:
    return trillion_pairs_part(root, "celebrity", {"5": 86876, "77": 86901}, ".txt")


def deepglint(root: Path) -> Path:
    return asian_celeb(v1c(root))


def deepglint_bare(root: Path) -> Path:
    deepglint(root)
    for each in ("msra_lmk", "celebrity_lmk.txt"):
        (root / each).unlink()
    return root


def asian_celeb_bare(root: Path) -> Path:
    (asian_celeb(root) / "celebrity_lmk.txt").unlink()
    return root


def trillion_pairs_test(root: Path) -> Path:
    """The test set: eleven fields in a row, one picture that the list does not name."""
    names = [f"testdata/{n:02}/{n}.jpg" for n in range(3)]
    files: dict[str, bytes | str] = {name: face_photo(seed) for seed, name in enumerate(names)}
    rows = [lmk_row(name, None, seed) for seed, name in enumerate(names[:2])]
    return write_files(root, files | {"testdata_lmk.txt": "".join(rows)})


def paddle(root: Path) -> Path:
    """``images/00000001.jpg`` and ``label.txt``."""
    names = [f"images/{n:08}.jpg" for n in (1, 2, 3)]
    rows = "".join(f"{name}\t{label}\n" for name, label in zip(names, (0, 0, 1), strict=True))
    return write_files(write_pictures(root, *names), {"label.txt": rows})


def pack_of(classes: int, root: Path) -> Path:
    (record_pack(root) / "property").write_text(f"{classes},112,112\n")
    return write_files(root, {"lfw.bin": b"\x80\x02.", "._train.rec": b""})


def has_urls_and_hints(store: Path) -> None:
    """Addresses of a table are kept; ranks that come twice stay apart."""
    rows = pq.read_table(store / "datasets/ms1m/samples-000000.parquet").to_pylist()
    assert len({row["source"] for row in rows}) == len(rows) == len(MS_CELEB)
    assert {row["url"] for row in rows} >= {"http://example.com/m.02x/0.jpg"}


def landmarks_fit(card: str, identities: int) -> FormCase:
    def check(store: Path) -> None:
        rows = pq.read_table(store / f"datasets/{card}/samples-000000.parquet").to_pylist()
        hints = [row["hint_iou"] for row in rows if row["hint_iou"] is not None]
        assert len(hints) == len(rows)
        assert min(hints) > 0.5

    builders = {"ms1m": v1c, "asian-celeb": asian_celeb, "deepglint": deepglint}
    labels = ("0", "1", "86876", "86901")
    which = {"ms1m": labels[:2], "asian-celeb": labels[2:], "deepglint": labels}[card]
    parts = len(which) // 2
    return FormCase(builders[card], 5 * parts, which[:identities], {"missing": parts}, check=check)


PACK = ("0", "1", "2")
FORMS = {
    ("ms1m", "ms1mv1"): FormCase(lambda root: pack_of(85164, root), 6, PACK),
    ("ms1m", "ms1mv2"): FormCase(lambda root: pack_of(85742, root / "faces_emore"), 6, PACK),
    ("ms1m", "ms1mv3"): FormCase(lambda root: pack_of(93431, root), 6, PACK),
    ("ms1m", "recordio"): FormCase(record_pack, 6, PACK),
    ("ms1m", "tsv"): FormCase(
        ms_celeb_tsv, 4, ("m.0107_f", "m.02x"), names={"m.0107_f": "Ann", "m.02x": "Bénédicte"},
        check=has_urls_and_hints,
    ),
    ("ms1m", "ms1m-v1c"): landmarks_fit("ms1m", 2),
    ("ms1m", "paddle"): FormCase(paddle, 3, ("0", "1")),
    ("ms1m", "folders"): FormCase(
        ms_celeb_folders, 4, ("m.0107_f", "m.02x"), names={"m.0107_f": "Ann", "m.02x": "Bénédicte"}
    ),
    ("ms1m", "unpacked"): FormCase(
        lambda root: write_pictures(root, "imgs/0/1.jpg", "imgs/0/2.jpg", "imgs/10/3.jpg"),
        3, ("0", "10"),
    ),
    ("ms1m", "rec2image"): FormCase(
        lambda root: write_pictures(root, "faces_emore_7/0.jpg", "faces_emore_8/0.jpg"),
        2, ("faces_emore_7", "faces_emore_8"),
    ),
    ("asian-celeb", "recordio"): FormCase(record_pack, 6, PACK),
    ("asian-celeb", "trillion-pairs"): landmarks_fit("asian-celeb", 2),
    ("asian-celeb", "folders"): FormCase(asian_celeb_bare, 4, ("5", "77")),
    ("deepglint", "recordio"): FormCase(record_pack, 6, PACK),
    ("deepglint", "trillion-pairs"): landmarks_fit("deepglint", 4),
    ("deepglint", "folders"): FormCase(
        deepglint_bare, 8, ("m.0107_f", "m.02x", "5", "77"), splits={"msra": 4, "celebrity": 4}
    ),
    ("trillion-pairs", "trillion-pairs"): FormCase(
        trillion_pairs_test, 3, (), {"unlisted": 1}
    ),
    ("trillion-pairs", "unlabeled"): FormCase(
        lambda root: write_files(root, {"test/a.jpg": face_photo(0), "test/b.jpg": draw_jpeg(1)}),
        2, (), {"no_face": 1},
    ),
}  # fmt: skip
