import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import add_member, write_tar

from fusekit.errors import FormatError
from fusekit.formats.tar_stream import TarArchive, is_tar_head, read_heads

FILES = {"a/1.jpg": b"x" * 5000, "a/2.jpg": b"", "b.jpg": bytes(range(256))}
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def packed(files, form=tarfile.GNU_FORMAT, **fields):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files.items():
            add_member(archive, name, data, **fields)
    return out.getvalue()


def listed(data):
    return list(read_heads(io.BytesIO(data), "x.tar"))


@given(
    st.dictionaries(
        st.text("abé/", min_size=1, max_size=4).map(lambda name: f"{name}x"),
        st.binary(max_size=1500), max_size=5,
    ),
    st.sampled_from(FORMATS),
    st.sampled_from([1, 10, 90]),
)  # fmt: skip
def test_members_are_those_that_the_standard_library_wrote(files, form, repeat):
    files = {name * repeat: data for name, data in files.items()}
    if form == tarfile.USTAR_FORMAT:  # which has 100 bytes for a name
        files = {name: data for name, data in files.items() if len(name.encode()) <= 100}
    data = packed(files, form)
    members = listed(data)
    assert {m.name.decode(): data[m.offset : m.offset + m.size] for m in members} == files
    assert all(member.kind == "file" for member in members)


def test_a_long_ustar_name_is_put_together_of_its_two_fields():
    name = "f" * 90 + "/" + "n" * 90
    assert [m.name.decode() for m in listed(packed({name: b"1"}, tarfile.USTAR_FORMAT))] == [name]


def test_kinds_are_told_apart_and_links_have_no_data():
    out = io.BytesIO()
    kinds = {
        "folder": tarfile.DIRTYPE, "soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE,
        "pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE, "old": tarfile.AREGTYPE,
    }  # fmt: skip
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in kinds.items():
            add_member(archive, name, type=kind, linkname="elsewhere")
        add_member(archive, "oldfolder/", type=tarfile.AREGTYPE)
        add_member(archive, "last", b"1")
    found = {m.name.decode().rstrip("/"): m.kind for m in listed(out.getvalue())}
    assert found == {
        "folder": "folder", "soft": "link", "hard": "link", "pipe": "other", "device": "other",
        "old": "file", "oldfolder": "folder", "last": "file",
    }  # fmt: skip


def test_archives_behind_one_another_are_one():
    assert [m.name for m in listed(packed({"a": b"1"}) + packed({"b": b"2"}))] == [b"a", b"b"]


def test_a_sparse_file_is_no_picture():
    data = packed({"a": b"1"}, tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.major": "1"})
    assert [m.kind for m in listed(data)] == ["other"]


def test_a_size_of_over_8_gib_is_read_in_both_spellings():
    gnu = bytearray(packed({"a": b""}))
    gnu[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    _seal(gnu)
    pax = packed({"a": b""}, tarfile.PAX_FORMAT, pax_headers={"size": str(1 << 40)})
    for data in (bytes(gnu), pax):
        heads = read_heads(io.BytesIO(data), "x.tar")
        assert next(heads).size == 1 << 40
        with pytest.raises(FormatError, match=r"x.tar: ends early, near byte"):
            next(heads)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d[:512], "x.tar: ends early, near byte 5632; expected a whole tar; fetch it ag"),
        (lambda d: d[:5000], "x.tar: ends early, near byte 5632"),
        (lambda d: d[: 512 * 14], "x.tar: ends early"),  # everything but the end mark
        (lambda d: d[:300], "x.tar: ends early, near byte 0"),
        (lambda d: b"", "x.tar: ends early, near byte 0"),
        (lambda d: d[:3] + b"?" + d[4:], "x.tar: no tar head at byte 0"),
        (lambda d: d + b"?" * 512, "x.tar: no tar head at byte 10240"),
    ],
)
def test_a_damaged_tar_says_where(damage, message):
    data = packed({"a/1.jpg": b"x" * 5000, "b": b"x" * 1024})[:10_240]
    with pytest.raises(FormatError, match=message):
        listed(damage(data))


@pytest.mark.parametrize("size", [b"-0000000001\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"1x\0"])
def test_a_size_that_can_not_be_is_refused(size):
    data = bytearray(packed({"a": b"1"}))
    data[124 : 124 + len(size)] = size
    _seal(data)
    with pytest.raises(
        FormatError, match=r"x.tar: a size that can't be, at byte 0; fetch it again"
    ):
        listed(bytes(data))


@pytest.mark.parametrize(
    ("records", "message"),
    [(b"10 path=x", "a damaged pax record"), (b"0 =\n", "a damaged pax record"),
     (b"13 size=1e99\n", "a size that can't be")],
)  # fmt: skip
def test_damaged_pax_records_are_refused(records, message):
    data = packed({"@": records, "a": b"1"}, type=b"0")
    data = bytearray(data)
    data[156:157] = b"x"
    _seal(data)
    with pytest.raises(FormatError, match=message):
        listed(bytes(data))


def test_a_name_of_megabytes_is_not_read():
    data = bytearray(packed({"a": b"1"}))
    data[156:157] = b"L"
    data[124:136] = b"00100000000\0"
    _seal(data)
    with pytest.raises(FormatError, match="a name of 16777216 bytes at byte 512; expected at most"):
        listed(bytes(data))


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_member_is_read_by_its_place_in_any_order(tmp_path, suffix):
    compression = {".tar": None, ".tar.gz": "gzip", ".tar.bz2": "bzip2", ".tar.xz": "xz"}[suffix]
    archive = TarArchive(write_tar(tmp_path / f"x{suffix}", FILES), compression)
    assert archive.front_to_back == (compression is not None)
    members = list(archive.members())
    for member in members + members[::-1]:
        data = b"".join(archive.chunks(member.offset, member.size))
        assert data == FILES[member.name.decode()]
    archive.close()
    assert b"".join(archive.chunks(members[0].offset, 3)) == b"xxx"
    for offset in (members[0].offset + 1, 0, 10**9):
        with pytest.raises(
            FormatError, match=f"x{suffix} at byte {offset}: no member starts there"
        ):
            list(archive.chunks(offset, 1))
    with pytest.raises(FormatError, match="the archive ends 9996416 bytes before the member does"):
        list(archive.chunks(members[-1].offset, 10_000_000))
    archive.close()


def test_an_empty_tar_is_a_tar():
    assert is_tar_head(packed({})[:512])
    assert listed(packed({})) == []
    assert not is_tar_head(b"<!DOCTYPE html>" + bytes(497))


@given(st.data())
def test_any_damage_is_an_error_of_ours_or_other_members(data):
    raw = bytearray(packed(FILES | {"n" * 120: b"1"}, data.draw(st.sampled_from(FORMATS[1:]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 3000))
        value = data.draw(st.sampled_from([b"\0", b"\xff" * 8, b"L", b"x", b"777777777777"]))
        raw[at : at + len(value)] = value
        if data.draw(st.booleans()):
            _seal(raw, at // 512 * 512)
    cut = data.draw(st.integers(0, len(raw)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.tar")
        path.write_bytes(raw[:cut])
        archive = TarArchive(path, None)
        try:
            for member in archive.members():
                list(archive.chunks(member.offset, min(member.size, 1 << 20)))
        except FormatError:
            pass


def _seal(data, at=0):
    """Put the checksum of a head right."""
    head = data[at : at + 512]
    total = sum(head) - sum(head[148:156]) + 8 * 32
    data[at + 148 : at + 156] = b"%06o\0 " % (total & 0o777777)
