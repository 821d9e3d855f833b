"""Datasets whose releases are pictures and a table."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
from support.forms import FormCase, face_box, face_landmarks, face_photo
from support.raw import draw_jpeg, record_pack, write_files

PARTITION = (0, 1, 2, 0)


def sized_box(seed: int) -> tuple[int, int, int, int]:
    """The face of ``face_photo(seed)`` as x, y, width, height."""
    x0, y0, x1, y1 = face_box(seed)
    return x0, y0, x1 - x0, y1 - y0


def manifest(store: Path, dataset: str) -> list[dict]:
    """All rows of a dataset, by source."""
    parts = sorted((store / f"datasets/{dataset}/manifest").glob("*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: row["source"])


def celeba_lists() -> dict[str, str]:
    """Identities, partition, boxes and landmarks of pictures 1 to 4; picture 5 is not there."""
    names = [f"{n:06}.jpg" for n in range(1, 5)]
    marks = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y "
    marks += "rightmouth_x rightmouth_y \n"
    boxes = [f"{n}    {' '.join(f'{v:3}' for v in sized_box(i))}\n" for i, n in enumerate(names)]
    boxes[3] = f"{names[3]}    0   0   0   0\n"
    points = [
        f"{n}  " + "  ".join(f"{round(v):3}" for v in face_landmarks(i)) + "\n"
        for i, n in enumerate(names)
    ]
    return {
        "Anno/identity_CelebA.txt": "".join(f"{n} {i // 2 + 9}\n" for i, n in enumerate(names))
        + "000005.jpg 9\n",
        "Eval/list_eval_partition.txt": "".join(
            f"{n} {p}\n" for n, p in zip(names, PARTITION, strict=True)
        ),
        "Anno/list_bbox_celeba.txt": "4\nimage_id x_1 y_1 width height\n" + "".join(boxes),
        "Anno/list_landmarks_celeba.txt": f"4\n{marks}" + "".join(points),
        "Anno/list_landmarks_align_celeba.txt": f"4\n{marks}" + "".join(points),
    }


def celeba_pictures(folder: str, suffix: str = "jpg") -> dict[str, bytes]:
    return {f"{folder}/{n:06}.{suffix}": face_photo(n - 1) for n in range(1, 5)}


def celeba_wild(root: Path) -> Path:
    files = celeba_lists() | celeba_pictures("Img/img_celeba")
    return write_files(root, files | {"Img/img_celeba/000006.jpg": face_photo(5)})


def celeba_aligned(root: Path) -> Path:
    return write_files(root, celeba_lists() | celeba_pictures("Img/img_align_celeba_png", "png"))


def celeba_kaggle(root: Path) -> Path:
    """Kaggle's form, to which the identities were added."""
    lists = celeba_lists()
    names = [f"{n:06}.jpg" for n in range(1, 5)]
    points = [",".join(f"{round(v)}" for v in face_landmarks(i)) for i in range(4)]
    return write_files(
        root,
        celeba_pictures("img_align_celeba/img_align_celeba")
        | {
            "identity_CelebA.txt": lists["Anno/identity_CelebA.txt"],
            "list_eval_partition.csv": "image_id,partition\n"
            + "".join(f"{n},{p}\n" for n, p in zip(names, PARTITION, strict=True)),
            "list_bbox_celeba.csv": "image_id,x_1,y_1,width,height\n000001.jpg,1,2,3,4\n",
            "list_landmarks_align_celeba.csv": "image_id,lefteye_x,lefteye_y,righteye_x,"
            "righteye_y,nose_x,nose_y,leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y\n"
            + "".join(f"{n},{p}\n" for n, p in zip(names, points, strict=True)),
        },
    )


def the_hints_agree(dataset: str, hinted: int) -> object:
    """A check that so many samples had a hint, and that each is about the face that was taken."""

    def check(store: Path) -> None:
        overlaps = [row["hint_iou"] for row in manifest(store, dataset)]
        assert len([iou for iou in overlaps if iou is not None]) == hinted
        assert all(iou > 0.5 for iou in overlaps if iou is not None)

    return check


UMD_HEAD = (
    "SUBJECT_ID, FILE, UNUSED, UNUSED2, FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT,YAW,PITCH,ROLL,"
    + ",".join(f"P{n}X,P{n}Y,VIS{n}" for n in range(1, 22))
    + ",PR_MALE,PR_FEMALE\n"
)


def umd_row(subject: int, file: str, seed: int) -> str:
    """A row of 76 cells; of the 21 points five are the face's."""
    points = [(0.0, 0.0)] * 21
    pairs = zip(*[iter(face_landmarks(seed))] * 2, strict=True)
    for place, pair in zip((8, 11, 15, 18, 20), pairs, strict=True):
        points[place - 1] = pair
    cells = [subject, f" {file} ", "", "", *sized_box(seed), 0.5, -1.25, 3]
    return ",".join(map(str, [*cells, *(v for p in points for v in (*p, 1)), 0.5, 0.5])) + "\n"


def umd_stills(root: Path) -> Path:
    """Three batches; SUBJECT_ID starts at 1 in each."""
    files: dict[str, bytes | str] = {}
    for batch, person in enumerate(("aamir_khan", "aaron_paul", "zoe_kravitz"), 1):
        folder = f"umdfaces_batch{batch}"
        names = [f"{person}/{person}_{n:04}.jpg" for n in (1, 2)]
        rows = [umd_row(1, name, batch + i) for i, name in enumerate(names)]
        files |= {f"{folder}/{name}": face_photo(batch + i) for i, name in enumerate(names)}
        files[f"{folder}/umdfaces_batch{batch}_ultraface.csv"] = UMD_HEAD + "".join(rows)
    gone = umd_row(2, "abe_vigoda/abe_vigoda_0001.jpg", 0)
    files["umdfaces_batch3/umdfaces_batch3_ultraface.csv"] += gone
    files["umdfaces_batch1/aamir_khan/aamir_khan_0009.jpg"] = face_photo(4)
    return write_files(root, files)


def umd_frames(root: Path) -> Path:
    names = [f"aamir_khan/v{v}/frame_{n:05}.jpg" for v in (1, 2) for n in (30, 60)]
    rows = "".join(umd_row(1, name, i) for i, name in enumerate(names))
    files = {f"umdfaces_frames/{name}": face_photo(i) for i, name in enumerate(names)}
    return write_files(root, {**files, "umdfaces_videos_ultraface.csv": UMD_HEAD + rows})


def frames_are_of_videos(store: Path) -> None:
    rows = manifest(store, "umdfaces")
    assert {(row["media"], row["frame"]) for row in rows} == {("video", 30), ("video", 60)}
    assert {row["video"] for row in rows} == {
        "umdfaces_frames/aamir_khan/v1", "umdfaces_frames/aamir_khan/v2",
    }  # fmt: skip
    the_hints_agree("umdfaces", 4)(store)


def url(seed: int) -> str:
    return f"http://example.org/{seed}.jpg?w=1"


def facescrub_lists() -> dict[str, str]:
    """Rows whose image_id and face_id differ; the last one's picture is not there."""
    head = "name\timage_id\tface_id\turl\tbbox\tsha256\n"
    rows = [
        f"{name}\t{seed + 7}\t{seed + 1}\t{url(seed)}\t{','.join(map(str, face_box(seed)))}\t0\n"
        for seed, name in enumerate(("Aaron Eckhart", "Aaron Eckhart", "Adrien Brody"))
    ]
    other = f"Zoë Bell\t9\t4\t{url(3)}\t{','.join(map(str, face_box(3)))}\t0\n"
    return {
        "facescrub_actors.txt": f"{head}{''.join(rows)}Adrien Brody\t1\t99\t{url(9)}\t1,1,5,5\t0\n",
        "facescrub_actresses.txt": head + other,
    }  # fmt: skip


def facescrub_tree(root: Path) -> Path:
    """Names with underscores; suffixes that come of URLs; one picture named by its URL's sha1."""
    sha1 = hashlib.sha1(url(3).encode()).hexdigest()
    return write_files(
        root,
        {
            **facescrub_lists(),
            "Aaron_Eckhart/Aaron_Eckhart_1.jpg&w=3": face_photo(0),
            "Aaron_Eckhart/Aaron_Eckhart_2.gif": face_photo(1),
            "Adrien Brody/Adrien Brody_3.JPEG": face_photo(2),
            f"Zoë_Bell/{sha1}.jpg": face_photo(3),
            f"Zoë_Bell/face/{sha1}.jpg": draw_jpeg(3),
        },
    )


def the_urls_are_kept(dataset: str, hinted: int) -> object:
    def check(store: Path) -> None:
        assert all(row["url"].startswith("http://") for row in manifest(store, dataset))
        the_hints_agree(dataset, hinted)(store)

    return check


def listed_crops(name: str, *paths: str) -> object:
    """InsightFace's suite: ``<name>_images``, ``<name>_lst`` and its noises."""

    def build(root: Path) -> Path:
        files = {f"{name}_images/{path}": draw_jpeg(i) for i, path in enumerate(paths)}
        rows = "".join(f"{path}\n" for path in paths)
        return write_files(root, {**files, f"{name}_lst": rows, f"{name}_noises.txt": "# 1\n"})

    return build


def vggface_tree(root: Path) -> Path:
    def row(number: int, seed: int) -> str:
        box = " ".join(f"{v:.2f}" for v in face_box(seed))
        return f"{number:08} {url(seed)} {box} 3 4.00 1\n"

    people = {"A.J._Buckley": (0, 1), "Zoë_Bell": (2,)}
    files: dict[str, bytes | str] = {}
    for name, seeds in people.items():
        rows = [row(n, seed) for n, seed in enumerate(seeds, 1)]
        files[f"vgg_face_dataset/files/{name}.txt"] = "".join(rows) + row(1000, 5)
        files |= {f"images/{name}/{n:08}.jpg": face_photo(s) for n, s in enumerate(seeds, 1)}
    return write_files(root, files)


def imdb_face(root: Path) -> Path:
    rows = ["name,index,image,rect,height width,url\n"]
    files: dict[str, bytes | str] = {}
    for seed, (name, index) in enumerate(
        [("Fred_Astaire", "nm0000001"), ("Fred_Astaire", "nm0000001"), ("Zoë_Bell", "nm0068260")]
    ):
        image, rect = f"MV{seed}@._V1_.jpg", " ".join(map(str, face_box(seed)))
        rows.append(f'{name},{index},{image},{rect},220 190,"{url(seed)}"\n')
        files[f"{index}/{image}"] = face_photo(seed)
    rows.append(f"Lauren_Bacall,nm0000002,MV9.jpg,1 2 3 4,9 9,{url(9)}\n")
    return write_files(root, {**files, "IMDb-Face.csv": "".join(rows)})


def megaface_tree(root: Path) -> Path:
    files: dict[str, bytes | str] = {}
    for seed in range(3):
        path = f"FlickrFinal2/{seed}00/1234{seed}@N00/6789_{seed}.jpg"
        x, y, width, height = sized_box(seed)
        box = {"x": x, "y": y, "width": width, "height": height}
        marks = {"0": {"x": 1, "y": 2}, "1": {"x": 3, "y": 4}, "2": {"x": 5, "y": 6}}
        files[path] = face_photo(seed)
        files[f"{path}.json"] = json.dumps({"bounding_box": box, "landmarks": marks})
        files[f"{path}.jpg"] = draw_jpeg(seed)
    return write_files(root, files)


def own_csv(root: Path) -> Path:
    rows = ["Image,Person,split,bbox\n"]
    for seed, who in enumerate(("007", "7", "7")):
        box = "[" + ", ".join(map(str, face_box(seed))) + "]"
        rows.append(f'"pictures, mine/{seed}.jpg",{who},train,"{box}"\n')
    files = {f"pictures, mine/{seed}.jpg": face_photo(seed) for seed in range(3)}
    gone = '"pictures, mine/9.jpg",8,val,\n'
    write_files(root, {**files, "people.csv": "".join(rows) + gone})
    return root / "people.csv"


def own_jsonl(root: Path) -> Path:
    objects = [
        {"file": f"{seed}.jpg", "label": seed, "url": url(seed), "name": f"Person {seed}",
         "landmarks": list(face_landmarks(seed))}
        for seed in range(2)
    ]  # fmt: skip
    files = {f"images/{seed}.jpg": face_photo(seed) for seed in range(2)}
    return write_files(root, {**files, "all.jsonl": "\n".join(map(json.dumps, objects))})


FORMS = {
    ("celeba", "recordio"): FormCase(record_pack, 6, ("0", "1", "2")),
    ("celeba", "wild"): FormCase(
        celeba_wild, 6, ("9", "10"), rejects={"unlisted": 1, "missing": 1},
        splits={"train": 2, "val": 1, "test": 1}, check=the_hints_agree("celeba", 4),
    ),
    ("celeba", "aligned"): FormCase(
        celeba_aligned, 5, ("9", "10"), rejects={"missing": 1},
        splits={"train": 2, "val": 1, "test": 1}, check=the_hints_agree("celeba", 4),
    ),
    ("celeba", "kaggle"): FormCase(
        celeba_kaggle, 5, ("9", "10"), rejects={"missing": 1},
        splits={"train": 2, "val": 1, "test": 1}, check=the_hints_agree("celeba", 4),
    ),
    ("umdfaces", "recordio"): FormCase(record_pack, 6, ("0", "1", "2")),
    ("umdfaces", "stills"): FormCase(
        umd_stills, 8, ("aamir_khan", "aaron_paul", "zoe_kravitz"),
        rejects={"missing": 1, "unlisted": 1}, check=the_hints_agree("umdfaces", 6),
    ),
    ("umdfaces", "frames"): FormCase(umd_frames, 4, ("aamir_khan",), check=frames_are_of_videos),
    ("facescrub", "facescrub"): FormCase(
        facescrub_tree, 5, ("Aaron_Eckhart", "Adrien Brody", "Zoë_Bell"), rejects={"missing": 1},
        names={"Aaron_Eckhart": "Aaron Eckhart", "Zoë_Bell": "Zoë Bell"},
        check=the_urls_are_kept("facescrub", 4),
    ),
    ("facescrub", "insightface"): FormCase(
        listed_crops("facescrub", "Adam_Brody/Adam_Brody_277.png", "Al_Pacino/Al_Pacino_1.png"),
        2, ("Adam_Brody", "Al_Pacino"),
    ),
    ("vggface", "vggface"): FormCase(
        vggface_tree, 5, ("A.J._Buckley", "Zoë_Bell"), rejects={"missing": 2},
        names={"A.J._Buckley": "A.J. Buckley"}, check=the_urls_are_kept("vggface", 3),
    ),
    ("imdb-face", "imdb-face"): FormCase(
        imdb_face, 4, ("nm0000001", "nm0068260"), rejects={"missing": 1},
        names={"nm0068260": "Zoë Bell"}, check=the_urls_are_kept("imdb-face", 3),
    ),
    ("megaface", "megaface"): FormCase(
        megaface_tree, 3, (), check=the_hints_agree("megaface", 3)
    ),
    ("megaface", "insightface"): FormCase(
        listed_crops("megaface", "100/1@N00/6_0.jpg", "100/1@N00/7_0.jpg"), 2, ()
    ),
    ("csv", "csv"): FormCase(
        own_csv, 4, ("007", "7"), rejects={"missing": 1}, splits={"train": 3},
        check=the_hints_agree("csv", 3),
    ),
    ("jsonl", "jsonl"): FormCase(
        own_jsonl, 2, ("0", "1"), names={"1": "Person 1"}, check=the_urls_are_kept("jsonl", 2)
    ),
}  # fmt: skip
