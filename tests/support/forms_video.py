"""Cases of the cards that hold videos and their frames, and of FFHQ."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from support.forms import FormCase, face_photo
from support.raw import draw_jpeg, write_files
from support.videos import write_video

from fusekit.faces.image import decode_image


def _faces(*seeds: int) -> list[np.ndarray]:
    """Two seconds of video: each face stands for half as many frames as there are faces."""
    photos = [decode_image(face_photo(seed), "face") for seed in seeds]
    return [photo for photo in photos for _ in range(50 // len(photos))]


def _columns(store: Path, dataset: str, *names: str) -> list[tuple[object, ...]]:
    (file,) = (store / f"datasets/{dataset}").glob("samples-*.parquet")
    rows = pq.read_table(file).to_pylist()
    return sorted(tuple(row[name] for name in names) for row in rows)


def _videos(root: Path) -> Path:
    write_video(root / "Ann Lee/one.mp4", _faces(0, 1))
    write_video(root / "bob/two.avi", _faces(2))
    return write_files(root, {"bob/broken.mkv": b"no video", "bob/notes.txt": "x"})


def _check_videos(store: Path) -> None:
    found = _columns(store, "video", "video", "time_ms", "frame", "media", "identity")
    assert found == [
        ("Ann Lee/one.mp4", 0, 0, "video", "Ann Lee"),
        ("Ann Lee/one.mp4", 1000, 25, "video", "Ann Lee"),
        ("bob/two.avi", 0, 0, "video", "bob"), ("bob/two.avi", 1000, 25, "video", "bob"),
    ]  # fmt: skip


def _crawled_videos(root: Path) -> Path:
    write_video(root / "a.mp4", _faces(3))
    write_video(root / "more/b.mkv", _faces(4, 0))
    return root


def _check_crawled(store: Path) -> None:
    assert _columns(store, "unlabeled", "source", "identity") == [
        ("a.mp4#t=0", None), ("a.mp4#t=1000", None),
        ("more/b.mkv#t=0", None), ("more/b.mkv#t=1000", None),
    ]  # fmt: skip


def _pictures(*names: str, crops: bool = False) -> dict[str, bytes]:
    draw = draw_jpeg if crops else face_photo
    return {name: draw(seed) for seed, name in enumerate(names)}


def _youtube_faces(root: Path) -> Path:
    names = ("Aaron_Eckhart/0/0.555.jpg", "Aaron_Eckhart/0/0.556.jpg", "Zoe_Ball/2/2.1.jpg")
    write_files(root / "frame_images_DB", _pictures(*names))
    return write_files(root, {"frame_images_DB/Zoe_Ball.labeled_faces.txt": "x"})


def _check_frames(store: Path) -> None:
    assert _columns(store, "frames", "video", "frame", "time_ms") == [
        ("frame_images_DB/Aaron_Eckhart/0", 555, None),
        ("frame_images_DB/Aaron_Eckhart/0", 556, None),
        ("frame_images_DB/Zoe_Ball/2", 1, None),
    ]  # fmt: skip


def _iqiyi(root: Path) -> Path:
    names = [f"iQIYI_VID_FACE/{video}/{n}.jpg" for video in ("000001", "000002") for n in (1, 2)]
    write_files(root, _pictures(*names, crops=True))
    return write_files(root, {"filelist.txt": "000002 2\n000009 5\n000001 2\n"})


def _check_iqiyi(store: Path) -> None:
    rows = pq.read_table(store / "datasets/iqiyi-vid/templates.parquet").to_pylist()
    assert [(row["template"], row["media"][-6:], row["key"] is None) for row in rows] == [
        (0, "000002", False), (0, "000002", False), (1, "000009", True),
        (2, "000001", False), (2, "000001", False),
    ]  # fmt: skip


def _ffhq(root: Path) -> Path:
    images = _pictures("00000/00000.png", "00000/00001.png", "01000/01000.png")
    return write_files(root / "images1024x1024", {n: _as_png(d) for n, d in images.items()})


def _as_png(data: bytes) -> bytes:
    return bytes(cv2.imencode(".png", decode_image(data, "photo")[..., ::-1])[1].tobytes())


def _case(build, items: int, identities: Sequence[str] = (), **more) -> FormCase:
    return FormCase(build, items, tuple(identities), **more)


FORMS = {
    ("video", "video"): _case(
        _videos, 5, ("Ann Lee", "bob"), rejects={"undecodable": 1}, check=_check_videos
    ),
    ("unlabeled", "video"): _case(_crawled_videos, 4, check=_check_crawled),
    ("frames", "frames"): _case(
        _youtube_faces, 3, ("Aaron_Eckhart", "Zoe_Ball"), check=_check_frames
    ),
    ("iqiyi-vid", "frames"): _case(
        _iqiyi, 5, rejects={"missing": 1}, tables={"templates": 5}, check=_check_iqiyi
    ),
    ("ffhq", "unlabeled"): _case(_ffhq, 3),
}
