"""Times and frames of videos, where OpenCV answers nonsense too."""

import math

import cv2
import numpy as np
import pytest
from support.videos import draw_frames, number_of, write_video

from fusekit.errors import FormatError
from fusekit.formats.video import FrameCursor, decode_frames, frame_size, frame_times


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "a.avi", draw_frames(6))


class Odd:
    """A capture whose frames have the times that it is given, and may give no pixels."""

    def __init__(self, times, *, size=(8, 6), pixels=True):
        self.times, self.at, self.size, self.pixels = times, -1, size, pixels

    def __call__(self, *_):
        return self

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def grab(self):
        self.at += 1
        return self.at < len(self.times)

    def get(self, what):
        size = {cv2.CAP_PROP_FRAME_WIDTH: self.size[0], cv2.CAP_PROP_FRAME_HEIGHT: self.size[1]}
        return size.get(what, self.times[min(self.at, len(self.times) - 1)])

    def retrieve(self):
        return self.pixels, np.full((6, 8, 3), self.at, np.uint8)

    def set(self, *_):
        return True

    def release(self):
        pass


def test_times_are_those_of_the_frames_in_their_order(video, monkeypatch):
    assert frame_times(video).tolist() == [0, 40, 80, 120, 160, 200]
    monkeypatch.setattr(cv2, "VideoCapture", Odd([0.0, 83.4, 41.7, -9.0, 83.4]))
    assert frame_times(video).tolist() == [0, 42, 83]


def test_times_that_damage_left_are_passed_over(video, monkeypatch):
    odd = [math.nan, 0.0, math.inf, 40.0, -1.8e16, 9.3e18]
    monkeypatch.setattr(cv2, "VideoCapture", Odd(odd))
    assert frame_times(video).tolist() == [0, 40]
    monkeypatch.setattr(cv2, "VideoCapture", Odd(odd))
    assert [time for time, _ in decode_frames(video)] == [0, 40]


@pytest.mark.parametrize(("times", "message"), [
    ([], "holds no frames"),
    ([math.nan] * 3, "holds no frames"),
    ([0.0] * 3, "states one time for 3 frames; expected a time for each frame"),
])  # fmt: skip
def test_a_video_without_times_is_refused(video, monkeypatch, times, message):
    monkeypatch.setattr(cv2, "VideoCapture", Odd(times))
    with pytest.raises(FormatError, match=message):
        frame_times(video)


def test_a_size_of_nothing_is_refused(video, monkeypatch):
    assert frame_size(video) == (64, 48)
    monkeypatch.setattr(cv2, "VideoCapture", Odd([0.0], size=(0, 48)))
    with pytest.raises(FormatError, match="frames of 0x48 pixels"):
        frame_size(video)


def test_frames_that_do_not_decode_end_a_listing_and_are_an_error_when_asked_for(
    video, monkeypatch
):
    monkeypatch.setattr(cv2, "VideoCapture", Odd([0.0, 40.0], pixels=False))
    assert list(decode_frames(video)) == []
    monkeypatch.setattr(cv2, "VideoCapture", Odd([0.0, 40.0], pixels=False))
    with pytest.raises(FormatError, match="the frame at 40 ms does not decode"):
        FrameCursor().frame(video, 40, 0)


def test_times_that_go_back_are_passed_over(video, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Odd([0.0, 40.0, 20.0, 40.0, 60.0]))
    assert [time for time, _ in decode_frames(video)] == [0, 40, 60]


def test_errors_of_opencv_are_ours(video, monkeypatch):
    def fail(*_):
        raise cv2.error

    monkeypatch.setattr(cv2, "VideoCapture", fail)
    with pytest.raises(FormatError, match="can't be opened as a video"):
        frame_times(video)
    odd = Odd([0.0, 40.0])
    odd.retrieve = fail
    monkeypatch.setattr(cv2, "VideoCapture", odd)
    with pytest.raises(FormatError, match="does not decode"):
        FrameCursor().frame(video, 0, 0)
    odd = Odd([0.0])
    odd.grab = fail
    monkeypatch.setattr(cv2, "VideoCapture", odd)
    with pytest.raises(FormatError, match="gives no frame at 0 ms or after it"):
        FrameCursor().frame(video, 0, 0)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FormatError, match=r"can't be read \(No such file or directory\)"):
        frame_times(tmp_path / "none.mp4")


def test_a_cursor_can_be_closed_and_used_again(video):
    cursor = FrameCursor()
    assert number_of(cursor.frame(video, 80, 0)) == 2
    cursor.close()
    cursor.close()
    assert number_of(cursor.frame(video, 120, 0)) == 3
    assert number_of(cursor.frame(video, 0, 0)) == 0
