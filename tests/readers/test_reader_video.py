"""Videos as raw data: which frames are items, and that each is read as it was listed."""

import shutil
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.raw import draw_jpeg, write_files
from support.videos import (
    draw_frames,
    number_of,
    plain_frames,
    spread_times,
    turn_upright,
    write_video,
)

from fusekit.cards.card import load_card, with_options
from fusekit.errors import CardError, ItemError, SourceError
from fusekit.faces.image import decode_image
from fusekit.readers.registry import open_reader


def labeled(raw, **options):
    return open_reader(with_options(load_card("video"), "video", options), raw)


def unlabeled(raw, **options):
    card = with_options(load_card("unlabeled"), "video", options)
    return open_reader(card, raw, "video")


def sources(reader):
    return [item.source for item in reader.items()]


def picture(reader, item):
    data = reader.read(item)
    assert len(data) == item.size
    return decode_image(data, item.source)


def test_a_frame_a_second_is_taken_of_each_person_s_videos(tmp_path):
    write_video(tmp_path / "ann/a.mp4", draw_frames(60))
    write_video(tmp_path / "bob/deep/b.avi", draw_frames(26))
    reader = labeled(tmp_path)
    items = list(reader.items())
    assert [(i.source, i.identity, i.time_ms, i.frame) for i in items] == [
        ("ann/a.mp4#t=0", "ann", 0, 0), ("ann/a.mp4#t=1000", "ann", 1000, 25),
        ("ann/a.mp4#t=2000", "ann", 2000, 50), ("bob/deep/b.avi#t=0", "bob", 0, 0),
        ("bob/deep/b.avi#t=1000", "bob", 1000, 25),
    ]  # fmt: skip
    assert {(i.media, i.video) for i in items} == {
        ("video", "ann/a.mp4"), ("video", "bob/deep/b.avi"),
    }  # fmt: skip
    offsets = [item.offset for item in items]
    assert offsets == sorted(offsets)
    assert len(set(offsets)) == len(offsets)
    assert [number_of(picture(reader, item)) for item in items] == [0, 25, 50, 0, 25]
    assert reader.front_to_back
    assert reader.names() == reader.ignored() == {}


@pytest.mark.parametrize("suffix", [".mp4", ".AVI", ".mov", ".mkv", ".webm", ".m4v", ".mpg"])
def test_every_kind_of_video_is_read(tmp_path, suffix):
    kind = ".mkv" if suffix == ".webm" else suffix  # one format but for the codecs allowed in it
    made = write_video(tmp_path / f"made/clip{kind.lower()}", draw_frames(30))
    (tmp_path / "raw").mkdir()
    shutil.move(made, tmp_path / f"raw/clip{suffix}")
    reader = unlabeled(tmp_path / "raw", every_ms=400)
    items = list(reader.items())
    assert [item.time_ms for item in items] == [0, 400, 800]
    assert [number_of(picture(reader, item)) for item in items] == [0, 10, 20]


def test_videos_of_nobody_are_found_at_any_depth(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(2))
    write_video(tmp_path / "x/y/b.mp4", draw_frames(2))
    reader = open_reader(load_card("unlabeled"), tmp_path)
    assert reader.form == "video"
    items = list(reader.items())
    assert [item.source for item in items] == ["a.mp4#t=0", "x/y/b.mp4#t=0"]
    assert {item.identity for item in items} == {None}


def test_pictures_beside_a_few_videos_are_still_a_folder_of_pictures(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(2))
    write_files(tmp_path, {f"{n}.jpg": draw_jpeg(n) for n in range(3)})
    assert open_reader(load_card("unlabeled"), tmp_path).form == "unlabeled"


def test_frames_may_be_limited_and_lie_evenly_then(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(50))
    reader = unlabeled(tmp_path, every_ms=200, max_frames=4)
    assert sources(reader) == ["a.mp4#t=0", "a.mp4#t=400", "a.mp4#t=1000", "a.mp4#t=1400"]
    assert len(sources(unlabeled(tmp_path, every_ms=200, max_frames=99))) == 10


def test_a_short_video_gives_at_least_one_frame(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(1))
    assert sources(unlabeled(tmp_path, every_ms=86_400_000)) == ["a.mp4#t=0"]
    assert sources(unlabeled(tmp_path, sample="shots")) == ["a.mp4#t=0"]


def test_the_middle_frame_of_each_shot_is_taken(tmp_path):
    write_video(tmp_path / "a.avi", plain_frames(10, 200, 90))
    reader = unlabeled(tmp_path, sample="shots")
    items = list(reader.items())
    assert [(item.frame, item.time_ms) for item in items] == [(4, 160), (14, 560), (24, 960)]
    assert [round(picture(reader, item).mean(), -1) for item in items] == [10, 200, 90]


def test_a_slow_fade_is_one_shot(tmp_path):
    grey = [np.full((48, 64, 3), 2 * n, np.uint8) for n in range(40)]
    noise = np.random.default_rng(0).integers(0, 20, (48, 64, 3), np.uint8)
    write_video(tmp_path / "a.avi", [frame + noise for frame in grey])
    assert sources(unlabeled(tmp_path, sample="shots")) == ["a.avi#t=760"]


def test_a_variable_frame_rate_is_followed_by_its_times(tmp_path):
    video = write_video(tmp_path / "a.mp4", draw_frames(20), fps=10)
    first = list(unlabeled(tmp_path, every_ms=100).items())
    assert [item.time_ms for item in first] == list(range(0, 2000, 100))
    tick = 1024  # a tenth of a second as OpenCV writes it
    spread_times(video, [10, 10], [tick, 5 * tick])
    reader = unlabeled(tmp_path, every_ms=1000)
    items = list(reader.items())
    assert [(i.time_ms, i.frame) for i in items] == [
        (0, 0), (1000, 10), (2000, 12), (3000, 14), (4000, 16), (5000, 18),
    ]  # fmt: skip
    assert [number_of(picture(reader, item)) for item in items] == [0, 10, 12, 14, 16, 18]


def test_a_turned_video_is_read_upright(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24] = 250  # the upper half is the right half after a turn clockwise
    turn_upright(write_video(tmp_path / "a.mp4", [frame] * 3))
    reader = unlabeled(tmp_path)
    image = picture(reader, next(reader.items()))
    assert image.shape == (64, 48, 3)
    assert image[:, 30:].mean() > 200 > 50 > image[:, :18].mean()


@pytest.mark.parametrize("width", [61, 62, 63, 64])
def test_a_frame_s_file_has_the_size_that_was_listed_for_it(tmp_path, width):
    write_video(tmp_path / "a.avi", draw_frames(1, (width, 33)))
    reader = unlabeled(tmp_path)
    assert picture(reader, next(reader.items())).shape[0] in {32, 33}


def test_the_order_of_asking_changes_no_frame(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(60))
    write_video(tmp_path / "b.avi", draw_frames(60, first=3))
    reader = unlabeled(tmp_path, every_ms=120)
    items = list(reader.items())
    in_order = {item.source: reader.read(item) for item in items}
    for number in np.random.default_rng(0).permutation(len(items)):
        item = items[number]
        assert reader.read(item) == in_order[item.source]
        assert unlabeled(tmp_path, every_ms=120).read(item) == in_order[item.source]


def test_reading_forward_never_opens_a_video_twice(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", draw_frames(60))
    reader = unlabeled(tmp_path, every_ms=40)
    items = list(reader.items())
    opened = []
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *args: opened.append(args) or capture(*args))
    for item in items:
        reader.read(item)
    assert len(opened) == 1


def broken(tmp_path):
    write_video(tmp_path / "ok.mp4", draw_frames(3))
    whole = (tmp_path / "ok.mp4").read_bytes()
    return write_files(tmp_path, {
        "a-empty.mp4": b"",
        "b-cut.mp4": whole[: len(whole) // 2],
        "c-junk.avi": bytes(range(256)) * 9,
        "d-text.mkv": "no video",
    })  # fmt: skip


def test_a_video_that_can_t_be_listed_is_one_reject_of_its_own_name(tmp_path):
    items = list(unlabeled(broken(tmp_path)).items())
    assert [(item.source, item.size, item.reject, item.reject_detail) for item in items[:-1]] == [
        ("a-empty.mp4", 0, "empty", "has no bytes"),
        ("b-cut.mp4", 0, "undecodable", "can't be opened as a video"),
        ("c-junk.avi", 0, "undecodable", r"starts with b'\x00\x01\x02\x03\x04\x05\x06\x07'; "
         "expected mp4, mov, avi, mkv, webm or mpg"),
        ("d-text.mkv", 0, "undecodable", "starts with b'no video'; expected mp4, mov, avi, mkv, "
         "webm or mpg"),
    ]  # fmt: skip
    assert {(item.media, item.video == item.source) for item in items[:-1]} == {("video", True)}
    assert items[-1].source == "ok.mp4#t=0"


def test_shots_of_a_broken_video_are_one_reject_too(tmp_path):
    items = list(unlabeled(broken(tmp_path), sample="shots").items())
    assert [item.reject for item in items[:4]] == ["empty", *["undecodable"] * 3]


def test_a_video_without_frames_is_a_reject(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", draw_frames(3))
    monkeypatch.setattr("fusekit.formats.video.MAX_FRAMES", 2)
    (item,) = unlabeled(tmp_path).items()
    assert (item.reject, item.reject_detail) == (
        "undecodable",
        "more than 2 frames; expected fewer",
    )
    data = (tmp_path / "a.mp4").read_bytes()
    cut = write_files(tmp_path / "cut", {"a.mp4": data.replace(b"stsz", b"free")})
    (item,) = unlabeled(cut).items()
    assert item.reject == "undecodable"


def test_frames_too_large_for_a_picture_are_a_reject(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", draw_frames(1))
    monkeypatch.setattr("fusekit.readers.video.MAX_BYTES", 9_000)
    (item,) = unlabeled(tmp_path).items()
    assert (item.reject, item.reject_detail) == ("too_large", "frames of 64x48 pixels")


@pytest.mark.parametrize("name", ["cut.avi", "cut.mkv"])
def test_a_video_that_ends_early_gives_the_frames_that_are_there(tmp_path, name):
    whole = write_video(tmp_path / name, draw_frames(60))
    reader = unlabeled(tmp_path, every_ms=400)
    listed = list(reader.items())
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    reader, read, reasons = unlabeled(tmp_path, every_ms=400), 0, set()
    for item in listed:
        try:
            image = picture(reader, item)
        except ItemError as error:
            reasons.add((error.reason, error.found.partition(" at ")[0]))
        else:
            assert number_of(image) == item.frame
            read += 1
    assert reasons == {("undecodable", "gives no frame")}
    assert 1 <= read < len(listed)


def test_frames_behind_the_end_do_not_each_decode_the_video_again(tmp_path, monkeypatch):
    video = write_video(tmp_path / "a.avi", draw_frames(40))
    reader = unlabeled(tmp_path, every_ms=40)
    items = list(reader.items())
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    opened = []
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *args: opened.append(args) or capture(*args))
    for item in items[-5:]:
        with pytest.raises(ItemError, match="gives no frame at"):
            reader.read(item)
    assert len(opened) == 1


def test_a_hidden_frame_is_stood_for_by_the_next_one_and_no_later_one(tmp_path):
    write_video(tmp_path / "a.avi", draw_frames(30), fps=5)
    reader = unlabeled(tmp_path)
    item = next(reader.items())
    assert number_of(picture(reader, replace(item, time_ms=150))) == 1
    with pytest.raises(ItemError, match="gives no frame at 50 ms; the next is at 200"):
        reader.read(replace(item, time_ms=50))


def test_a_video_of_another_size_than_listed_is_a_reject(tmp_path):
    write_video(tmp_path / "a.avi", draw_frames(2))
    reader = unlabeled(tmp_path)
    item = next(reader.items())
    write_video(tmp_path / "a.avi", draw_frames(2, (32, 32)))
    with pytest.raises(ItemError, match="32x32, unlike its video") as error:
        reader.read(item)
    assert error.value.reason == "unreadable"


def test_a_video_that_is_gone_is_a_reject_and_a_drive_that_is_gone_stops_the_run(tmp_path):
    write_video(tmp_path / "raw/a.avi", draw_frames(2))
    write_video(tmp_path / "raw/b.avi", draw_frames(2))
    reader = unlabeled(tmp_path / "raw")
    item = next(reader.items())
    (tmp_path / "raw/a.avi").unlink()
    with pytest.raises(ItemError) as error:
        reader.read(item)
    assert error.value.reason == "unreadable"
    shutil.rmtree(tmp_path / "raw")
    with pytest.raises(SourceError, match="can't be read any more"):
        reader.read(item)


def test_a_playlist_named_as_a_video_opens_nothing(tmp_path):
    """FFmpeg would follow it: a concat list, an HLS playlist, a still picture."""
    write_video(tmp_path / "secret.mp4", draw_frames(3))
    write_files(tmp_path, {
        "list.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "playlist.mp4": "#EXTM3U\n#EXTINF:10,\nsecret.mp4\n",
        "still.avi": draw_jpeg(1),
    })  # fmt: skip
    items = {item.video: item for item in unlabeled(tmp_path).items()}
    assert [items[n].reject for n in ("list.mp4", "playlist.mp4", "still.avi")] == [
        "undecodable"
    ] * 3


def test_what_is_no_video_is_counted(tmp_path):
    write_video(tmp_path / "ann/a.mp4", draw_frames(2))
    write_files(tmp_path, {
        "ann/thumb.jpg": draw_jpeg(0), "ann/more.zip": b"PK", "ann/a.srt.txt": "x",
        "readme.md": "x", "ann/.DS_Store": "x",
    })  # fmt: skip
    reader = labeled(tmp_path)
    assert sources(reader) == ["ann/a.mp4#t=0"]
    assert reader.ignored() == {
        "files that are no videos": 1, "archives (not looked into for videos)": 1,
        "lists and metadata (by suffix)": 1, "files outside identity folders": 1,
        "desktop files": 1,
    }  # fmt: skip


def test_archives_of_videos_are_to_be_unpacked(tmp_path):
    write_files(tmp_path, {"ann/a.zip": b"PK", "ann/b.tar.gz": b"x"})
    with pytest.raises(SourceError, match=r"holds no videos but 2 archives; .*; unpack them first"):
        list(labeled(tmp_path).items())
    with pytest.raises(SourceError, match=r"is no folder; expected a folder of videos .*; unpack"):
        labeled(tmp_path / "ann/a.zip")


def test_a_folder_without_videos_is_an_error(tmp_path):
    write_files(tmp_path, {"ann/a.jpg": draw_jpeg(0)})
    with pytest.raises(SourceError, match="holds no videos; expected a folder of videos for each"):
        list(labeled(tmp_path).items())


def test_videos_without_folders_are_pointed_to_the_unlabeled_card(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(2))
    message = r"holds no folders of videos but 1 files; expected .*; .* unlabeled --form video"
    with pytest.raises(SourceError, match=message):
        list(labeled(tmp_path).items())


def test_unknown_and_impossible_options_are_refused(tmp_path):
    write_video(tmp_path / "ann/a.mp4", draw_frames(2))
    with pytest.raises(CardError, match=r"unknown key 'every'.*did you mean 'every_ms'"):
        labeled(tmp_path, every=3)
    with pytest.raises(CardError, match="every_ms"):
        labeled(tmp_path, every_ms=0)
    with pytest.raises(CardError, match="sample"):
        labeled(tmp_path, sample="scenes")


def test_broken_videos_write_nothing_to_stderr(tmp_path, capfd):
    list(unlabeled(broken(tmp_path)).items())
    assert capfd.readouterr().err == ""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([".mp4", ".avi", ".mkv", ".mpg"]),
    changes=st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=24))),
    length=st.integers(0, 20_000),
)
def test_a_damaged_video_gives_items_or_rejects_and_nothing_else(tmp_path, kind, changes, length):
    whole = tmp_path / f"whole/clip{kind}"
    if not whole.exists():
        write_video(whole, draw_frames(12))
    data = bytearray(whole.read_bytes()[: max(length, 1)])
    for at, new in changes:
        at %= len(data)
        data[at : at + len(new)] = new
    raw = tmp_path / "raw"
    write_files(raw, {f"clip{kind}": bytes(data)})
    try:
        reader = unlabeled(raw, every_ms=40)
        items = list(reader.items())
        assert items
        for item in items[:40]:
            if item.reject is None and item.size < 1 << 24:
                with suppress(ItemError):
                    assert len(reader.read(item)) == item.size
    finally:
        (raw / f"clip{kind}").unlink()


@pytest.mark.shared
@pytest.mark.parametrize(("options", "counts"), [
    ({}, {"friends_in_video.mp4": 27, "short_hamilton_clip.mp4": 10}),
    ({"every_ms": 500}, {"friends_in_video.mp4": 53, "short_hamilton_clip.mp4": 19}),
    ({"sample": "shots"}, {"friends_in_video.mp4": 6, "short_hamilton_clip.mp4": 4}),
])  # fmt: skip
def test_the_real_clips_give_their_frames(shared, options, counts):
    reader = unlabeled(shared / "faces/video", **options)
    found = {}
    for item in reader.items():
        found[item.video] = found.get(item.video, 0) + 1
    assert found == counts
    assert reader.ignored() == {"files that are no videos": 6}
