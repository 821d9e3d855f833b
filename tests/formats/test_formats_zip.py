import io
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import write_zip

from fusekit.errors import FormatError
from fusekit.formats.archive import Member
from fusekit.formats.zip import ZipArchive

FILES = {"a/1.jpg": b"x" * 5000, "a/2.jpg": b"", "b.jpg": bytes(range(256))}


def read_all(path):
    archive = ZipArchive(path)
    members = [member for member in archive.members() if member.kind == "file"]
    return {
        member.name.decode(): b"".join(archive.chunks(member.offset, member.size))
        for member in members
    }


class Unseekable(io.RawIOBase):
    """A pipe: what zip tools write to it has its sizes after the data."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


@given(
    st.dictionaries(st.text("abc/é", min_size=1, max_size=4), st.binary(max_size=300), max_size=5),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=20),
)
def test_members_are_those_that_the_standard_library_wrote(files, method, before):
    files = {name: data for name, data in files.items() if not name.endswith("/")}
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder, "x.zip"), files, method)
        assert read_all(path) == files
        path.write_bytes(before + path.read_bytes())  # a program that unpacks itself
        assert read_all(path) == files


def test_sizes_may_follow_the_data(tmp_path):
    pipe = Unseekable()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    (tmp_path / "x.zip").write_bytes(pipe.data)
    assert read_all(tmp_path / "x.zip") == FILES


def test_zip64_is_read_in_heads_and_in_the_directory(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)  # as if an archive had over 4 GiB
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    data = path.read_bytes()
    assert b"PK\6\6" in data
    assert b"PK\6\7" in data
    assert read_all(path) == FILES


def test_folders_links_and_devices_are_told_apart(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, mode in (("f", 0o100644), ("l", 0o120777), ("d", 0o060600), ("n", 0)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, b"1")
        archive.mkdir("folder")
    kinds = {m.name: (m.kind, m.size) for m in ZipArchive(tmp_path / "x.zip").members()}
    assert kinds == {
        b"f": ("file", 1), b"l": ("link", 0), b"d": ("other", 0), b"n": ("file", 1),
        b"folder/": ("folder", 0),
    }  # fmt: skip


def test_an_encrypted_zip_says_to_unpack_it_with_its_password(tmp_path):
    path = write_zip(tmp_path / "x.zip", FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    message = r"x.zip: is encrypted \('a/1.jpg'\); unpack it with the password first"
    with pytest.raises(FormatError, match=message):
        list(ZipArchive(path).members())


def test_the_last_of_several_parts_says_how_to_join_them(tmp_path):
    path = write_zip(tmp_path / "x.zip", FILES)
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.index(b"PK\5\6") + 4, 2)
    path.write_bytes(data)
    message = "is one part of a zip in several parts; join them first: zip -s 0 x.zip --out x-whole"
    with pytest.raises(FormatError, match=message):
        list(ZipArchive(path).members())


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda data: data[:-30], "it has no directory at its end: it is cut off or damaged"),
        (lambda data: b"", "it has no directory at its end"),
        (lambda data: data[: data.index(b"PK\1\2")] + data[data.index(b"PK\5\6") :],
         "its directory should be longer than it is"),
        (lambda data: data.replace(b"PK\1\2", b"PK\1\1"),
         "its directory breaks off 157 bytes before its end"),
    ],
)  # fmt: skip
def test_a_damaged_zip_says_how_to_repair_it(tmp_path, cut, message):
    path = write_zip(tmp_path / "x.zip", FILES)
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(FormatError, match=message) as caught:
        list(ZipArchive(path).members())
    assert caught.value.fix.endswith("zip -FF x.zip --out fixed-x.zip")


def test_a_member_of_another_method_is_named(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"x" * 99}, zipfile.ZIP_LZMA)
    with pytest.raises(FormatError, match=r"a.jpg: is compressed by method 14; expected stored or"):
        read_all(path)


def test_a_bomb_is_not_inflated_past_the_size_that_was_listed(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": bytes(10_000_000)})
    archive = ZipArchive(path)
    (member,) = archive.members()
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, 22, 100)  # its own head lies, as the directory does
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"a.jpg: is more than the 100 bytes it should be"):
        list(archive.chunks(member.offset, 100))


@pytest.mark.parametrize(
    ("offset", "size", "message"),
    [(0, 4999, "a/1.jpg: has 5000 bytes in place of 4999"), (7, 5000, "no member starts at byte 7"),
     (10**9, 1, "no member starts at byte 1000000000")],
)  # fmt: skip
def test_a_place_where_no_such_member_is_gives_nothing(tmp_path, offset, size, message):
    archive = ZipArchive(write_zip(tmp_path / "x.zip", FILES))
    with pytest.raises(FormatError, match=message):
        list(archive.chunks(offset, size))


@pytest.mark.parametrize(
    ("method", "message"),
    [(zipfile.ZIP_STORED, "its checksum differs"), (zipfile.ZIP_DEFLATED, "is damaged")],
)
def test_damaged_bytes_are_noticed(tmp_path, method, message):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": bytes(range(256)) * 9}, method)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        read_all(path)


@given(st.data())
def test_any_damage_is_an_error_of_ours_or_other_members(data):
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder, "x.zip"), FILES)
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(raw) - 1))
            value = data.draw(st.sampled_from([b"\0", b"\xff" * 4, b"\xff" * 8, b"PK\5\6"]))
            raw[at : at + len(value)] = value
        path.write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))])
        archive = ZipArchive(path)
        try:
            members = list(archive.members())
        except FormatError:
            members = []
        assert all(isinstance(member, Member) for member in members)
        for member in members:
            try:
                pieces = archive.chunks(member.offset, min(member.size, 1 << 20))
                assert sum(map(len, pieces)) == min(member.size, 1 << 20)
            except FormatError:
                continue
