import os
import struct
import tarfile
import tempfile
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import add_member, files_of, write_archive, write_tar, write_zip
from support.raw import casia_tree, celebrity_tree, vggface2_tree, write_files, write_pictures

from fusekit.cards.card import load_card
from fusekit.errors import ItemError, SourceError
from fusekit.readers.registry import open_reader
from fusekit.readers.trees import archives
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.walk import MAX_BYTES

SUFFIXES = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
part = st.text("ab .-_é0", min_size=1, max_size=3).filter(lambda name: name.strip(". ") != "")
paths = st.lists(st.lists(part, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8)


def listed(reader):
    items = list(reader.items())
    sources = [item.source for item in items]
    assert sources == sorted(sources, key=str.encode)
    assert all(len(reader.read(item)) == item.size for item in items)
    return items


def without_offset(items):
    return [(i.source, i.size, i.identity, i.split, i.bbox, i.landmarks) for i in items]


@settings(max_examples=40)
@given(paths, st.sampled_from(SUFFIXES))
def test_an_archive_lists_what_its_folder_does(names, suffix):
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder).resolve()
        (raw / "plain").mkdir()
        for name in names:
            path = raw / "plain" / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(name.encode())
            except OSError:
                continue  # a folder stands where the file would, or the other way round
        files = files_of(raw / "plain")
        found = []
        for where in (raw / "plain", write_archive(raw / f"x{suffix}", files)):
            ignored = Counter()
            tree = open_tree(where, ignored)
            listing = [(entry.source, entry.size) for entry in tree.files()]
            for entry in tree.files():
                assert tree.read(entry.source, entry.offset, entry.size) == entry.source.encode()
                assert tree.is_file(entry.source)
            ignored.subtract(ignored)
            found.append(listing)
        assert found[0] == found[1]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("card", "build"),
    [("vggface2", vggface2_tree), ("casia-webface", casia_tree), ("14-celebrity", celebrity_tree)],
)
def test_a_release_in_an_archive_is_the_release(tmp_path, card, build, suffix):
    raw = build(tmp_path / "raw")
    unpacked = open_reader(load_card(card), raw)
    packed = open_reader(load_card(card), write_archive(tmp_path / f"x{suffix}", files_of(raw)))
    assert packed.form == unpacked.form
    assert packed.front_to_back == (suffix not in {".zip", ".tar"})
    assert without_offset(listed(packed)) == without_offset(listed(unpacked))
    assert packed.names() == unpacked.names()
    assert packed.ignored() == unpacked.ignored()


def test_a_crawl_in_an_archive_names_nobody(tmp_path):
    raw = write_tar(tmp_path / "crawl.tar.xz", {"b/1.jpg": "1", "a.jpg": "22", "list.csv": ""})
    reader = open_reader(load_card("unlabeled"), raw, "unlabeled")
    assert [(i.source, i.identity) for i in listed(reader)] == [("a.jpg", None), ("b/1.jpg", None)]
    assert reader.ignored() == {"lists and metadata (by suffix)": 1}


def test_archives_in_a_folder_are_folders_and_files_beside_are_read(tmp_path):
    write_zip(tmp_path / "vggface2_test.zip", {"n000003/1_01.jpg": "333"})
    write_tar(tmp_path / "vggface2_train.tar.gz", {"train/n000002/1_01.jpg": "22",
                                                   "train/n000001/1_01.jpg": "1"})  # fmt: skip
    write_files(tmp_path, {"identity_meta.csv": 'n000003, "C", 1, 0, f\n'})
    reader = open_reader(load_card("vggface2"), tmp_path)
    items = listed(reader)
    assert [(item.source, item.split) for item in items] == [
        ("vggface2_test.zip/n000003/1_01.jpg", "test"),
        ("vggface2_train.tar.gz/train/n000001/1_01.jpg", "train"),
        ("vggface2_train.tar.gz/train/n000002/1_01.jpg", "train"),
    ]  # fmt: skip
    assert reader.front_to_back
    assert items[0].offset < items[2].offset < items[1].offset  # that of the archives
    assert reader.read(items[1]) + reader.read(items[0]) + reader.read(items[2]) == b"133322"
    assert reader.names() == {"n000003": "C"}


def test_archives_one_folder_down_are_folders_too(tmp_path):
    write_zip(tmp_path / "data/vggface2_test.zip", {"test/n000003/1_01.jpg": "333"})
    write_files(tmp_path, {"meta/identity_meta.csv": 'n000003, "C", 1, 0, f\n'})
    reader = open_reader(load_card("vggface2"), tmp_path)
    assert [i.source for i in listed(reader)] == ["data/vggface2_test.zip/test/n000003/1_01.jpg"]
    assert reader.names() == {"n000003": "C"}


def test_an_archive_beside_what_was_unpacked_of_it_is_a_file(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg")
    write_zip(tmp_path / "all.zip", {"anna/1.jpg": "1"})
    write_zip(tmp_path / "anna/copy.zip", {"1.jpg": "1"})
    reader = open_reader(load_card("folders"), tmp_path)
    assert [item.source for item in listed(reader)] == ["anna/1.jpg", "anna/copy.zip"]
    assert reader.ignored() == {"files outside identity folders": 1}


def test_subjects_spread_over_zips_are_one_dataset(tmp_path):
    write_zip(tmp_path / "subjects_0-1999_72_imgs.zip", {"0/0.png": "1", "12/3.png": "22"})
    write_zip(tmp_path / "subjects_2000-3999_72_imgs.zip", {"2000/0.png": "333"})
    items = listed(open_reader(load_card("digiface-1m"), tmp_path))
    assert [item.source for item in items] == [
        "subjects_0-1999_72_imgs.zip/0/0.png", "subjects_0-1999_72_imgs.zip/12/3.png",
        "subjects_2000-3999_72_imgs.zip/2000/0.png",
    ]  # fmt: skip
    assert [item.identity for item in items] == ["0", "12", "2000"]


@pytest.mark.parametrize("card", ["digiface-1m", "webface4m", "zip"])
def test_the_same_people_in_two_archives_are_not_read_twice(tmp_path, card):
    for name in ("a.zip", "b.zip"):
        write_zip(tmp_path / name, {"0_0_0000001/0.png": "1", "1/0.png": "1"})
    with pytest.raises(SourceError, match=r"both 'a.zip' and 'b.zip' hold identity folders"):
        listed(open_reader(load_card(card), tmp_path))


def test_a_folder_that_holds_all_of_an_archive_is_no_person(tmp_path):
    raw = write_zip(tmp_path / "x.zip", {"photos/anna/1.jpg": "1", "photos/ben/1.jpg": "1"})
    for card in ("zip", "folders", "200-celeb"):
        assert [i.identity for i in listed(open_reader(load_card(card), raw))] == ["anna", "ben"]
    raw = write_zip(tmp_path / "y.zip", {"anna/1.jpg": "1"})
    assert [i.identity for i in listed(open_reader(load_card("zip"), raw))] == ["anna"]


def hostile_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "/etc/passwd",
            "../out.jpg",
            "a/../../out.jpg",
            "C:/x.jpg",
            "a\\..\\..\\x.jpg",
            "anna/1.jpg",
            "__MACOSX/anna/1.jpg",
            "anna/._1.jpg",
            "anna/.git/1.jpg",
        ):
            archive.writestr(name, "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("anna/1.jpg", "22")
        link = zipfile.ZipInfo("anna/2.jpg")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("anna/bad.jpg", "1")
    path.write_bytes(path.read_bytes().replace(b"anna/bad.jpg", b"anna/b\xff\xfe.jpg"))
    return path


def hostile_tar(path):
    with tarfile.open(path, "w") as archive:
        for name in (
            "/etc/passwd",
            "../out.jpg",
            "a/../../out.jpg",
            "C:/x.jpg",
            "a\\..\\..\\x.jpg",
            "anna/1.jpg",
            "__MACOSX/anna/1.jpg",
            "anna/._1.jpg",
            "anna/.git/1.jpg",
        ):
            add_member(archive, name, b"1")
        add_member(archive, "anna/1.jpg", b"22")
        add_member(archive, "anna/2.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add_member(archive, os.fsdecode(b"anna/b\xff\xfe.jpg"), b"1")
    return path


@pytest.mark.parametrize("build", [hostile_zip, hostile_tar])
def test_members_that_are_no_files_inside_are_counted_and_never_followed(tmp_path, build):
    raw = build(tmp_path / ("x.zip" if build is hostile_zip else "x.tar"))
    reader = open_reader(load_card("folders"), raw)
    assert [(item.source, reader.read(item)) for item in listed(reader)] == [("anna/1.jpg", b"1")]
    assert reader.ignored() == {
        "members that lead out of the archive": 5, "members whose name came before": 1,
        "links": 1, "names that are no UTF-8": 1, "desktop files": 2, "hidden folders": 1,
    }  # fmt: skip
    listed(reader)
    assert sum(reader.ignored().values()) == 11  # listing twice does not count twice


def test_zips_of_windows_with_backslashes_are_read(tmp_path):
    raw = write_zip(tmp_path / "x.zip", {"anna\\1.jpg": "1", "./ben//2.jpg": "2"})
    items = listed(open_reader(load_card("folders"), raw))
    assert [item.source for item in items] == ["anna/1.jpg", "ben/2.jpg"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "x.zip",
            b"<!DOCTYPE html>",
            "it has no directory at its end: it is cut off or damaged; ex",
        ),
        ("x.zip", b"", "it has no directory at its end"),
        (
            "x.tar",
            b"<!DOCTYPE html>",
            "is no archive: it begins with b'<!DOCTYPE html>'; expected a",
        ),
        ("x.tgz", b"\x1f\x8b\x08\0", "the gzip stream is damaged or cut off (it ends early)"),
        ("x.tar.xz", b"\xfd7zXZ\0" + bytes(20), "the xz stream is damaged or cut off"),
    ],
)
def test_what_is_no_whole_archive_is_one_line(tmp_path, name, data, message):
    write_files(tmp_path, {name: data})
    for raw in (tmp_path, tmp_path / name):
        with pytest.raises(SourceError) as caught:
            listed(open_reader(load_card("vggface2"), raw))
        assert f"{name}: {message}" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_encrypted_zip_is_to_be_unpacked_first(tmp_path):
    raw = write_zip(tmp_path / "0_0.zip", {"0_0_0000000/0_0.jpg": "1"})
    data = bytearray(raw.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    raw.write_bytes(data)
    with pytest.raises(SourceError, match=r"is encrypted .*unpack it with the password first"):
        open_reader(load_card("webface4m"), tmp_path)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("glint360k_00", r"cat glint360k\[._\]\[0-9\]\* > whole.tar.gz"),
        ("set.zip.001", r"cat set.zip\[._\]\[0-9\]\* > whole.zip"),
        ("set.tar.gz.00", r"cat set.tar.gz\[._\]\[0-9\]\* > whole.tar.gz"),
        ("set.z01", "zip -s 0 set.zip --out whole.zip"),
    ],
)
def test_the_parts_of_an_archive_are_to_be_joined_first(tmp_path, name, command):
    begin = b"PK\7\x08" if ".z" in name else b"\x1f\x8b\x08"
    write_files(tmp_path, {name: begin + bytes(99)})
    message = f"{name}: is one part of an archive; join the parts first: {command}"
    for raw in (tmp_path, tmp_path / name):
        with pytest.raises(SourceError, match=message):
            open_reader(load_card("glint360k"), raw)
    write_pictures(tmp_path, "id_0/0_1.jpg")  # unpacked: the part is but a file beside
    assert len(listed(open_reader(load_card("glint360k"), tmp_path))) == 1


def test_a_member_too_large_for_a_picture_is_not_read(tmp_path):
    raw = tmp_path / "x.tar"
    with raw.open("wb") as file:
        info = tarfile.TarInfo("anna/1.jpg")
        info.size = MAX_BYTES + 1
        file.write(info.tobuf())
        file.truncate(512 + MAX_BYTES + 512 + 10_240)
    reader = open_reader(load_card("folders"), raw)
    with pytest.raises(ItemError, match="536870913 bytes, more than 536870912") as caught:
        reader.read(next(reader.items()))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_damaged_member_is_unreadable_and_the_others_are_not(tmp_path, suffix):
    raw = write_archive(tmp_path / f"x{suffix}", {"a/1.jpg": os.urandom(900), "a/2.jpg": "2"})
    reader = open_reader(load_card("folders"), raw)
    first, second = listed(reader)
    wrong = type(first)(first.source, first.size, "a", offset=first.offset + 3)
    with pytest.raises(ItemError, match=r"a/1.jpg: .*no member starts") as caught:
        reader.read(wrong)
    assert caught.value.reason == "unreadable"
    assert reader.read(second) == b"2"
    raw.unlink()
    if suffix != ".tar.gz":  # it is kept open
        with pytest.raises(SourceError, match="is not there any more; see that the drive is there"):
            reader.read(first)


def test_a_list_in_an_archive_can_be_sought_and_has_a_limit(tmp_path, monkeypatch):
    tree = open_tree(write_zip(tmp_path / "x.zip", {"a/list.txt": "abc" * 99}), Counter())
    with tree.open("a/list.txt") as file:
        file.seek(3)
        assert file.read(4) == b"abca"
    assert not tree.is_file("a")
    assert not tree.is_file("../x.zip")
    with pytest.raises(SourceError, match=r"a/none.txt: is not in the archive"):
        tree.open("a/none.txt")
    monkeypatch.setattr(archives, "MAX_LIST", 9)
    with pytest.raises(
        SourceError, match=r"has 297 bytes; expected at most 9 in an archive; unpac"
    ):
        tree.open("a/list.txt")


def test_a_damaged_list_in_an_archive_is_an_error(tmp_path):
    raw = write_zip(tmp_path / "x.zip", {"list.txt": os.urandom(99)}, zipfile.ZIP_STORED)
    data = bytearray(raw.read_bytes())
    data[60] ^= 1
    raw.write_bytes(data)
    with pytest.raises(
        SourceError, match=r"list.txt: can't be read \(list.txt: is damaged: its chec"
    ):
        open_tree(raw, Counter()).open("list.txt")


def test_a_listing_is_renewed_when_the_archive_changes(tmp_path):
    raw = write_zip(tmp_path / "x.zip", {"anna/1.jpg": "1"})
    reader = open_reader(load_card("folders"), raw)
    assert len(listed(reader)) == 1
    write_zip(raw, {"anna/1.jpg": "1", "anna/2.jpg": "2"})
    assert len(listed(reader)) == 2


def test_only_archives_and_folders_are_trees(tmp_path):
    write_files(tmp_path, {"a.rec": "", "b.ZIP": "", "c.tar.gz": "", "d.gz": "", "e": ""})
    assert [p.name for p in sorted(tmp_path.iterdir()) if is_tree(p)] == ["b.ZIP", "c.tar.gz"]
    assert is_tree(tmp_path)
    with pytest.raises(
        SourceError, match=r"d.gz: is no folder; expected a folder of pictures, or a"
    ):
        open_tree(tmp_path / "d.gz", Counter())


def test_a_link_to_an_archive_outside_is_not_followed(tmp_path):
    write_zip(tmp_path / "out.zip", {"anna/1.jpg": "1"})
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/x.zip").symlink_to(tmp_path / "out.zip")
    ignored = Counter()
    assert list(open_tree(tmp_path / "raw", ignored).files()) == []
    assert ignored == {"links that leave the raw folder": 1}


@given(st.data())
def test_any_damage_is_an_error_of_ours_or_other_items(data):
    suffix = data.draw(st.sampled_from([".zip", ".tar", ".tar.gz"]))
    files = {"anna/1.jpg": "1" * 700, "ben/2.jpg": "2", "names.txt": "x"}
    with tempfile.TemporaryDirectory() as folder:
        raw = write_archive(Path(folder, f"x{suffix}"), files)
        whole = bytearray(raw.read_bytes())
        at = data.draw(st.integers(0, min(len(whole), 4000) - 1))
        value = data.draw(st.sampled_from([b"\0", b"\xff" * 4, b"PK", struct.pack("<Q", 1 << 62)]))
        whole[at : at + len(value)] = value
        raw.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
        with suppress(SourceError):
            reader = open_reader(load_card("folders"), raw)
            for item in reader.items():
                with suppress(ItemError):
                    assert len(reader.read(item)) == item.size
