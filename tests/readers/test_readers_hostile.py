"""What strangers build on purpose: bombs, pipes, walls of text. Each is refused or passed over."""

import io
import os
import struct
import zlib

import lmdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.containers import hf_table, write_parquet, write_tar
from support.raw import draw_jpeg, write_files, write_pictures
from support.videos import draw_frames, write_video

from fusekit.cards.card import load_card
from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats import arrow_files, video
from fusekit.formats.lmdb import LmdbFile
from fusekit.formats.parquet_pages import read_pages
from fusekit.formats.zip import ZipArchive
from fusekit.readers.registry import open_reader

LOCAL = struct.Struct("<4sHHHHHLLLHH")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")


def opened(card, raw):
    return open_reader(load_card(card), raw)


def write_shared_zip(path, data, names):
    """A zip whose members are all the same bytes of the file."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed, crc = deflate.compress(data) + deflate.flush(), zlib.crc32(data)
    body = LOCAL.pack(b"PK\3\4", 20, 0, 8, 0, 0, crc, len(packed), len(data), 1, 0) + b"x" + packed
    directory = b"".join(
        CENTRAL.pack(
            b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(packed), len(data), len(n), *[0] * 6
        ) + n
        for n in names
    )  # fmt: skip
    count = len(names)
    end = END.pack(b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def test_members_that_share_their_bytes_to_blow_up_are_refused(tmp_path):
    names = [b"a/%d.jpg" % number for number in range(9)]
    write_shared_zip(tmp_path / "x.zip", bytes(1 << 20), names[:1])
    assert len(list(ZipArchive(tmp_path / "x.zip").members())) == 1
    write_shared_zip(tmp_path / "x.zip", bytes(1 << 20), names)
    with pytest.raises(FormatError, match="its members are more than its bytes can hold"):
        list(ZipArchive(tmp_path / "x.zip").members())


def test_a_member_that_is_no_picture_is_not_unpacked_to_its_end(tmp_path):
    write_shared_zip(tmp_path / "x.zip", bytes(4 << 20), [b"a/0.jpg"])
    reader = opened("folders", tmp_path)
    (item,) = reader.items()
    with pytest.raises(ItemError, match="no image type known") as caught:
        reader.read(item)
    assert caught.value.reason == "not_an_image"


def test_a_large_picture_in_an_archive_is_read_whole(tmp_path):
    data = draw_jpeg(1) + os.urandom(3 << 20)
    write_shared_zip(tmp_path / "x.zip", data, [b"a/0.jpg"])
    reader = opened("folders", tmp_path)
    assert [reader.read(item) for item in reader.items()] == [data]


def test_pipes_named_as_archives_are_not_opened(tmp_path):
    write_pictures(tmp_path / "raw", "a/1.jpg", "b/2.jpg")
    for name in ("raw/a.zip", "raw/a/b.tar", "raw/c.zip.001"):
        os.mkfifo(tmp_path / name)
    reader = opened("folders", tmp_path / "raw")
    assert len(list(reader.items())) == 2
    assert reader.ignored()["neither files nor folders"] >= 2


def test_a_pipe_as_raw_data_is_refused(tmp_path):
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(SourceError, match="is neither a file nor a folder"):
        opened("folders", tmp_path / "x.zip")


@pytest.mark.parametrize("card", ["folders", "webdataset"])
def test_names_longer_than_any_system_takes_are_counted(card, tmp_path):
    members = [("a/1.jpg", draw_jpeg(1)), ("a/1.cls", b"7"), (f"b/{'n' * 5000}.jpg", draw_jpeg(2))]
    write_tar(tmp_path / "x-000000.tar", members)
    reader = opened(card, tmp_path)
    assert all(len(item.source) < 100 for item in reader.items())
    assert reader.ignored()["members whose names no file can have"] == 1


def test_a_label_that_is_a_wall_of_digits_is_none(tmp_path):
    members = [
        (f"{n}.{end}", data)
        for n, label in enumerate([b"7", b"7" * 5000])
        for end, data in (("jpg", draw_jpeg(n)), ("cls", label))
    ]
    write_tar(tmp_path / "x-000000.tar", members)
    items = list(opened("webdataset", tmp_path).items())
    assert [(item.identity, item.reject) for item in items] == [("7", None), (None, "unlisted")]


def test_a_person_s_name_of_many_rows_is_none(tmp_path):
    write_pictures(tmp_path, "1.jpg", "2.jpg")
    write_files(tmp_path, {"l.csv": 'path,identity\n1.jpg,a\n2.jpg,"' + "b\n" * 4000 + '"\n'})
    items = list(opened("csv", tmp_path).items())
    assert [(item.identity, item.reject) for item in items] == [("a", None), (None, "unlisted")]


def test_a_key_that_comes_again_in_an_lmdb_is_an_error(tmp_path):
    path = tmp_path / "x.lmdb"
    with lmdb.open(str(path), subdir=False, lock=False) as env, env.begin(write=True) as txn:
        for key in (b"a/1.jpg", b"a/2.jpg"):
            txn.put(key, draw_jpeg(1)[:100])
    path.write_bytes(path.read_bytes().replace(b"a/2.jpg", b"a/1.jpg"))
    with path.open("rb") as file, pytest.raises(FormatError, match=r"b'a/1.jpg' is not behind"):
        list(LmdbFile(file, "x.lmdb").values())


def test_a_parquet_page_larger_than_any_picture_is_not_unpacked(tmp_path, monkeypatch):
    table = hf_table([draw_jpeg(1) + bytes(1 << 20)], label=["a"])
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd")
    assert len(list(opened("parquet", tmp_path).items())) == 1
    monkeypatch.setattr(arrow_files, "_MAX_PAGE", 1 << 20)
    with pytest.raises(SourceError, match=r"'image.bytes': a page of \d+ bytes; expected at most"):
        list(opened("parquet", tmp_path).items())


def test_a_value_that_is_stored_once_is_given_in_few_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_files, "_BOMB_BYTES", 1 << 16)
    table = pa.table({"image": [draw_jpeg(1) + bytes(1 << 14)] * 100, "label": ["a"] * 100})
    pq.write_table(table, tmp_path / "x.parquet")
    file = arrow_files.open_table(tmp_path / "x.parquet")
    assert [len(block) for _, block in file.blocks(["image"])][:3] == [3, 3, 3]


def test_a_parquet_box_of_thousands_of_numbers_is_refused(tmp_path):
    table = hf_table([draw_jpeg(1)], label=["a"], bbox=[[0.0] * 100_000])
    write_parquet(tmp_path / "x.parquet", table)
    with pytest.raises(SourceError, match=r"'bbox.+': 100000 values in 1 rows"):
        list(opened("parquet", tmp_path).items())


def test_the_heads_of_pages_say_what_the_file_holds(tmp_path):
    pq.write_table(pa.table({"a": ["x", "y", "x"]}), tmp_path / "x.parquet")
    column = pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(0)
    with (tmp_path / "x.parquet").open("rb") as file:
        start, size = column.dictionary_page_offset, column.total_compressed_size
        dictionary, data = read_pages(file, start, size, "x")
        with pytest.raises(FormatError, match="no head of a page at byte 0"):
            list(read_pages(file, 0, size, "x"))
    assert (dictionary.is_dictionary, dictionary.unpacked, dictionary.values) == (True, 10, 0)
    assert (data.is_dictionary, data.values) == (False, 3)


@pytest.mark.parametrize(
    "head", [b"", b"\x15\x00", b"\x11\x11\x11\x00", b"\x15\x00\x15\x01\x15\x00\x00"]
)
def test_a_damaged_head_of_a_page_is_an_error(head):
    with pytest.raises(FormatError, match="no head of a page"):
        list(read_pages(io.BytesIO(head), 0, 9, "x"))


def test_a_list_of_videos_is_not_opened_even_behind_a_video_s_first_bytes(tmp_path, monkeypatch):
    write_video(tmp_path / "ok.avi", draw_frames(3))
    (tmp_path / "c.mp4").write_bytes(b"ffconcat version 1.0\nfile ok.avi\n")
    monkeypatch.setattr(video, "_check_head", lambda _: None)
    assert video.frame_size(tmp_path / "ok.avi") == (64, 48)
    with pytest.raises(FormatError, match="can't be opened"):
        video.frame_size(tmp_path / "c.mp4")
