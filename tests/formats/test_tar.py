import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import FormatError
from fusekit.formats.tar import Member, TarWriter, erase_member, members_from, read_members

NAMES = st.from_regex(r"[a-z0-9_]{1,40}\.(jpg|json)", fullmatch=True)
MEMBERS = st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8)


def written(members):
    file = io.BytesIO()
    writer = TarWriter(file)
    offsets = [writer.add(name, data) for name, data in members.items()]
    digest = writer.finish()
    return file, offsets, digest


@given(MEMBERS)
def test_what_is_written_is_read_back_at_its_offsets(members):
    file, offsets, digest = written(members)
    found = list(read_members(file, "x.tar"))
    assert found == [
        Member(name, at, len(data))
        for (name, data), at in zip(members.items(), offsets, strict=True)
    ]
    raw = file.getvalue()
    assert [raw[m.offset : m.offset + m.length] for m in found] == list(members.values())
    assert digest == hashlib.sha256(raw).hexdigest()


@given(MEMBERS)
def test_a_shard_is_byte_for_byte_what_pythons_ustar_writer_gives(members):
    theirs = io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    assert written(members)[0].getvalue() == theirs.getvalue()


def test_a_shards_bytes_never_change_between_releases():
    digest = written({"a_00.jpg": b"\xff\xd8", "a_00.json": b"{}"})[2]
    assert digest == "46d7095cdc8ceeab41474b8e18954ca2109e203827e1bb65103a0a2d913aec8f"


@pytest.mark.parametrize("name", ["", "a" * 101, "é.jpg"])
def test_a_name_that_ustar_cannot_hold_is_refused(name):
    with pytest.raises(FormatError, match="can't name a member"):
        TarWriter(io.BytesIO()).add(name, b"")


def made(**changes):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in changes.pop("names", ["a.jpg"]):
            info = tarfile.TarInfo(name)
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return file


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (made(names=["/etc/passwd"]), "'/etc/passwd' leads out of the archive"),
        (made(names=["a/../../b.jpg"]), "leads out of the archive"),
        (made(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link or a device"),
        (made(type=tarfile.LNKTYPE, linkname="b"), "is a link or a device"),
        (made(type=tarfile.CHRTYPE), "is a link or a device"),
        (made(names=["a.jpg", "a.jpg"]), "'a.jpg' is there twice"),
    ],
)
def test_a_tar_that_plays_games_is_refused(tar, message):
    with pytest.raises(FormatError, match=message):
        list(read_members(tar, "x.tar"))


def test_a_short_tar_is_refused():
    raw = written({"a.jpg": bytes(5000)})[0].getvalue()
    with pytest.raises(FormatError, match=r"'a\.jpg' runs past the end at byte 3000"):
        list(read_members(io.BytesIO(raw[:3000]), "x.tar"))
    with pytest.raises(FormatError, match="ends at byte 5632 without an end mark"):
        list(read_members(io.BytesIO(raw[:5632]), "x.tar"))


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_changed_header_byte_is_noticed(at, change):
    raw = bytearray(written({"a.jpg": b"x"})[0].getvalue())
    raw[at] ^= change
    with pytest.raises(FormatError, match=r"checksum differs|damaged header"):
        list(read_members(io.BytesIO(bytes(raw)), "x.tar"))


def test_an_erased_member_is_passed_over():
    raw = bytearray(written({"a.jpg": b"x", "b.jpg": b"y"})[0].getvalue())
    head = raw[:512]
    head[156:157] = b"V"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    raw[:512] = head
    assert [m.name for m in read_members(io.BytesIO(bytes(raw)), "x")] == ["b.jpg"]


def test_an_erased_member_is_zeros_that_readers_skip_and_nothing_moves():
    file = io.BytesIO()
    tar = TarWriter(file)
    for name, data in (("a.jpg", b"1" * 700), ("a.json", b"{}"), ("b.jpg", b"2" * 512)):
        tar.add(name, data)
    tar.finish()
    before = file.getvalue()
    first, second = members_from(file, 512, 2, "x.tar")
    assert [(first.name, first.length), (second.name, second.length)] == [
        ("a.jpg", 700), ("a.json", 2),
    ]  # fmt: skip
    for _ in range(2):  # done again it changes nothing
        erase_member(file, first, "x.tar")
        erase_member(file, second, "x.tar")
        assert [member.name for member in read_members(file, "x.tar")] == ["b.jpg"]
        now = file.getvalue()
        assert len(now) == len(before)
        assert now[512:1212] == bytes(700)
        assert now[2560:] == before[2560:]
    assert members_from(file, 512, 2, "x.tar") == [first, second]


def test_a_member_that_is_not_where_it_should_be_is_refused():
    file = io.BytesIO()
    tar = TarWriter(file)
    tar.add("a.jpg", b"1" * 700)
    tar.finish()
    with pytest.raises(FormatError, match=r"'a.jpg' stands at byte 512; expected 'b.jpg'"):
        erase_member(file, Member("b.jpg", 512, 700), "x.tar")
    with pytest.raises(FormatError, match="no member at byte 99328; expected a whole tar"):
        members_from(file, 99328, 1, "x.tar")
