"""Folders of frames: one folder a video, of known people or of nobody."""

import zipfile

import pytest
from support.raw import draw_jpeg, write_files, write_pictures

from fusekit.cards.card import load_card, with_options
from fusekit.errors import CardError, SourceError
from fusekit.readers.frames import FramesReader
from fusekit.readers.registry import open_reader
from fusekit.schema import PLAN_TEMPLATES_SCHEMA


def frames(raw, **options):
    return open_reader(with_options(load_card("frames"), "frames", options), raw)


def iqiyi(raw, rows="", pictures=("v1/0.jpg", "v1/1.jpg", "v2/0.jpg")):
    write_pictures(raw, *(f"iQIYI_VID_FACE/{name}" for name in pictures))
    write_files(raw, {"filelist.txt": rows})
    return open_reader(load_card("iqiyi-vid"), raw)


def templates(reader):
    list(reader.items())
    batches = list(reader.tables()["templates"])
    assert all(batch.schema == PLAN_TEMPLATES_SCHEMA for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert {row["score"] for row in rows} <= {None}
    return [(row["template"], row["media"], row["source"]) for row in rows]


def test_frames_know_their_person_video_and_number(tmp_path):
    write_pictures(
        tmp_path,
        "Ann Lee/0/0.107.jpg",
        "Ann Lee/0/0.99.jpg",
        "Ann Lee/1/f.jpg",
        "007/a/x12_0345.PNG",
    )
    reader = frames(tmp_path)
    items = list(reader.items())
    assert [(i.source, i.identity, i.video, i.frame) for i in items] == [
        ("007/a/x12_0345.PNG", "007", "007/a", 345),
        ("Ann Lee/0/0.107.jpg", "Ann Lee", "Ann Lee/0", 107),
        ("Ann Lee/0/0.99.jpg", "Ann Lee", "Ann Lee/0", 99),
        ("Ann Lee/1/f.jpg", "Ann Lee", "Ann Lee/1", None),
    ]  # fmt: skip
    assert {(i.media, i.time_ms) for i in items} == {("video", None)}
    assert all(len(reader.read(item)) == item.size for item in items)
    assert reader.names() == reader.tables() == {}


@pytest.mark.parametrize(("name", "frame"), [
    ("frame_000123.jpg", 123), ("12.jpg", 12), ("a1b2c.jpg", 2), ("none.jpg", None),
    ("2147483647.jpg", 2147483647), ("2147483648.jpg", None), ("1" * 30 + ".jpg", None),
    ("٣.jpg", None),
])  # fmt: skip
def test_a_frame_s_number_is_its_name_s_last_digits(tmp_path, name, frame):
    write_pictures(tmp_path, f"ann/v/{name}")
    assert [item.frame for item in frames(tmp_path).items()] == [frame]


def test_a_wrapping_folder_is_entered_and_what_stands_beside_it_is_counted(tmp_path):
    write_pictures(tmp_path, "frame_images_DB/ann/0/1.jpg", "headpose_DB/x.jpg")
    write_files(tmp_path, {"readme.doc": "x", "frame_images_DB/ann.labeled_faces.txt": "x"})
    reader = frames(tmp_path)
    assert [item.source for item in reader.items()] == ["frame_images_DB/ann/0/1.jpg"]
    assert reader.ignored() == {"files outside video folders": 2, "folders that are no video's": 1}


def test_pictures_beside_a_person_s_videos_are_counted(tmp_path):
    write_pictures(tmp_path, "ann/0/1.jpg", "ann/still.jpg", "ann/0/deep/2.jpg")
    reader = frames(tmp_path)
    assert [(i.source, i.video) for i in reader.items()] == [
        ("ann/0/1.jpg", "ann/0"), ("ann/0/deep/2.jpg", "ann/0"),
    ]  # fmt: skip
    assert reader.ignored() == {"files outside video folders": 1}


def test_videos_of_nobody_have_no_identity(tmp_path):
    write_pictures(tmp_path, "v1/1.jpg", "v2/1.jpg")
    items = list(frames(tmp_path, folders="video").items())
    assert [(i.identity, i.video) for i in items] == [(None, "v1"), (None, "v2")]


def test_a_folder_without_frames_is_an_error(tmp_path):
    write_pictures(tmp_path, "ann/1.jpg")
    with pytest.raises(SourceError, match="holds no frames; expected identity/video/frames"):
        list(frames(tmp_path).items())
    with pytest.raises(CardError, match="folders"):
        frames(tmp_path, folders="deep")


def test_row_n_of_the_list_is_template_n_of_its_video_s_frames(tmp_path):
    reader = iqiyi(tmp_path, "v2 17 x\n\nv1\nv2\n")
    assert [(i.source, i.identity) for i in reader.items()] == [
        ("iQIYI_VID_FACE/v1/0.jpg", None), ("iQIYI_VID_FACE/v1/1.jpg", None),
        ("iQIYI_VID_FACE/v2/0.jpg", None),
    ]  # fmt: skip
    v1, v2 = "iQIYI_VID_FACE/v1", "iQIYI_VID_FACE/v2"
    assert templates(reader) == [
        (0, v2, f"{v2}/0.jpg"), (1, v1, f"{v1}/0.jpg"), (1, v1, f"{v1}/1.jpg"),
        (2, v2, f"{v2}/0.jpg"),
    ]  # fmt: skip
    assert reader.ignored() == {"files outside video folders": 1}


def test_a_listed_video_that_is_missing_is_a_reject_in_its_place(tmp_path):
    reader = iqiyi(tmp_path, "v2\nv15\nv3\nv15\n")
    items = list(reader.items())
    names = [item.source.removeprefix("iQIYI_VID_FACE/") for item in items]
    assert names == ["v1/0.jpg", "v1/1.jpg", "v15", "v2/0.jpg", "v3"]
    assert [(i.size, i.reject, i.reject_detail) for i in items if i.reject] == [
        (0, "missing", "the list names this video, but it has no folder")
    ] * 2
    assert [row[2] for row in templates(reader)[1:]] == [
        "iQIYI_VID_FACE/v15", "iQIYI_VID_FACE/v3", "iQIYI_VID_FACE/v15",
    ]  # fmt: skip


def test_an_unlisted_video_is_in_no_template(tmp_path):
    reader = iqiyi(tmp_path, "v2\n")
    assert len(list(reader.items())) == 3
    assert len(templates(reader)) == 1


def test_without_a_list_there_are_no_templates(tmp_path):
    reader = iqiyi(tmp_path)
    (tmp_path / "filelist.txt").unlink()
    assert len(list(reader.items())) == 3
    assert reader.tables() == {}


def test_the_list_may_stand_beside_the_videos_under_its_other_name(tmp_path):
    reader = iqiyi(tmp_path)
    (tmp_path / "filelist.txt").rename(tmp_path / "iQIYI_VID_FACE/video_filelist.txt")
    (tmp_path / "iQIYI_VID_FACE/video_filelist.txt").write_text("v1\n")
    assert [row[0] for row in templates(reader)] == [0, 0]


@pytest.mark.parametrize("row", ["../../etc", "/etc", "a\\b", "..", "v" * 256])
def test_a_row_that_is_no_folder_s_name_is_refused(tmp_path, row):
    reader = iqiyi(tmp_path, f"v1\n{row} 3\n")
    with pytest.raises(
        SourceError, match=r"filelist.txt:2: .*; expected the name of a video's folder"
    ):
        list(reader.items())


def test_a_missing_frame_is_never_read_from_outside(tmp_path):
    write_files(tmp_path, {"secret.jpg": draw_jpeg(0)})
    write_pictures(tmp_path / "raw", "ann/v/1.jpg")
    (tmp_path / "raw/ann/v/2.jpg").symlink_to(tmp_path / "secret.jpg")
    reader = frames(tmp_path / "raw")
    assert [item.source for item in reader.items()] == ["ann/v/1.jpg"]
    assert reader.ignored() == {"links that leave the raw folder": 1}


def test_frames_are_told_from_pictures_of_people(tmp_path):
    form = load_card("frames").form("frames")
    write_pictures(tmp_path / "stills", "ann/1.jpg", "bob/1.jpg")
    write_pictures(tmp_path / "frames", "ann/0/1.jpg")
    (tmp_path / "empty/ann/0").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    fits = {p.name: FramesReader.fits(p, form) for p in tmp_path.iterdir()}
    assert fits == {"stills": False, "frames": True, "empty": False, "file": False}


def test_frames_are_read_out_of_an_archive(tmp_path):
    reader = iqiyi(tmp_path / "raw", "v2\nv7\nv1\n")
    plain = [(item.source, item.video, item.frame, item.reject) for item in reader.items()]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted((tmp_path / "raw").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "raw"))
    packed = open_reader(load_card("iqiyi-vid"), tmp_path / "all.zip")
    items = list(packed.items())
    assert [(item.source, item.video, item.frame, item.reject) for item in items] == plain
    assert templates(packed) == templates(reader)
    for item in items:
        if item.reject is None:
            assert packed.read(item) == (tmp_path / "raw" / item.source).read_bytes()
