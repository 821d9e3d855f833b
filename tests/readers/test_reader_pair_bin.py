import pickle
import struct
from pathlib import Path

import pytest
from support.forms_packages import write_pair_bin
from support.raw import draw_jpeg

from fusekit.cards.card import Form
from fusekit.errors import CardError, ItemError, SourceError
from fusekit.readers.pair_bin import PairBinReader
from fusekit.schema import PLAN_PAIRS_SCHEMA


def a_form(file=None):
    options = {"file": file} if file else {}
    return Form("bin", "pair-bin", True, "arcface-112", (112, 112), "best", options)


def opened(raw, file=None):
    return PairBinReader(raw.resolve(), "evaluation", a_form(file))


def pairs_of(reader):
    return [row for batch in reader.tables()["pairs"] for row in batch.to_pylist()]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_items_are_the_images_in_order_and_their_sizes_what_is_read(tmp_path, protocol):
    reader = opened(write_pair_bin(tmp_path / "lfw.bin", 3, protocol))
    items = list(reader.items())
    assert [item.source for item in items] == [f"lfw.bin#{i}" for i in range(6)]
    assert [reader.read(item) for item in items] == [draw_jpeg(seed) for seed in range(6)]
    assert [item.size for item in items] == [len(draw_jpeg(seed)) for seed in range(6)]
    assert {item.identity for item in items} == {None}
    assert reader.ignored() == reader.names() == {}


def test_pairs_are_in_ten_folds_of_consecutive_slices(tmp_path):
    reader = opened(write_pair_bin(tmp_path / "lfw.bin", 12))
    rows = pairs_of(reader)
    assert [row["fold"] for row in rows] == [1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert rows[1] == {
        "protocol": "pack", "main": True, "fold": 1, "same": False,
        "source_a": "lfw.bin#2", "source_b": "lfw.bin#3",
    }  # fmt: skip
    assert next(reader.tables()["pairs"]).schema == PLAN_PAIRS_SCHEMA


def test_a_reader_that_only_reads_finds_its_images(tmp_path):
    path = write_pair_bin(tmp_path / "lfw.bin", 2, protocol=2)
    item = list(opened(path).items())[3]
    assert opened(path).read(item) == draw_jpeg(3)


def test_of_many_packs_the_one_that_the_card_names_is_taken(tmp_path):
    for name in ("agedb_30.bin", "LFW.bin", "cfp_fp.bin"):
        write_pair_bin(tmp_path / "faces_emore" / name, 1)
    (tmp_path / "faces_emore/train.rec").write_bytes(b"")
    assert PairBinReader.fits(tmp_path, a_form("lfw.bin"))
    assert next(opened(tmp_path, "lfw.bin").items()).source == "LFW.bin#0"


def test_without_a_name_the_only_pack_is_taken(tmp_path):
    write_pair_bin(tmp_path / "mine.bin", 1)
    (tmp_path / "features.bin").write_bytes(struct.pack("<4i", 512, 1, 4, 5) + bytes(2048))
    (tmp_path / "._mine.bin").write_bytes(b"\x80\x04")
    assert next(opened(tmp_path).items()).source == "mine.bin#0"


def test_several_packs_and_no_pack_are_one_line(tmp_path):
    assert not PairBinReader.fits(tmp_path, a_form())
    with pytest.raises(SourceError, match=r"no \*\.bin was found; expected a folder that holds"):
        opened(tmp_path)
    for name in ("a.bin", "b.bin"):
        write_pair_bin(tmp_path / name, 1)
    with pytest.raises(SourceError, match=r"2 packs, such as a\.bin and b\.bin; .*give its path"):
        opened(tmp_path)
    with pytest.raises(SourceError, match=r"no lfw\.bin was found, only a\.bin, b\.bin;"):
        opened(tmp_path, "lfw.bin")
    assert not PairBinReader.fits(tmp_path, a_form("lfw.bin"))


def test_the_path_of_a_pack_itself_may_have_any_name(tmp_path):
    path = write_pair_bin(tmp_path / "lfw_small.bin", 1)
    assert PairBinReader.fits(path, a_form("lfw.bin"))
    assert len(list(opened(path, "lfw.bin").items())) == 2


def test_a_folder_that_only_holds_other_bins_does_not_fit(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    assert not PairBinReader.fits(tmp_path, a_form())
    assert not PairBinReader.fits(tmp_path / "model.bin", a_form())


def test_a_pack_that_leads_out_of_the_raw_folder_is_refused(tmp_path):
    outside = write_pair_bin(tmp_path / "outside.bin", 1)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "lfw.bin").symlink_to(outside)
    with pytest.raises(SourceError, match=r"leads out of the raw folder"):
        opened(raw)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (([b"a", b"b", b"c"], [True]), r"lfw\.bin: holds 3 images and 1 labels; expected two"),
        (([b"a", b"b"], [True, False]), r"holds 2 images and 2 labels"),
        (([], []), r"holds no pairs"),
        ({"bins": []}, r"holds a dictionary"),
        ((Path, [True]), r"asks for pathlib\.Path"),
    ],
)
def test_what_is_no_pack_stops_the_listing(tmp_path, value, match):
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(SourceError, match=match):
        list(opened(path).items())


def test_a_feature_matrix_is_told_for_what_it_is(tmp_path):
    path = tmp_path / "photo_R50.bin"
    path.write_bytes(struct.pack("<4i", 512, 1, 4, 5) + bytes(2048))
    with pytest.raises(SourceError, match=r"holds 512 x 1 features, no images"):
        list(opened(path).items())


def test_what_follows_the_pack_is_counted(tmp_path):
    path = write_pair_bin(tmp_path / "lfw.bin", 1)
    path.write_bytes(path.read_bytes() + b"1234")
    reader = opened(path)
    list(reader.items())
    assert reader.ignored() == {"bytes after the pack's end": 4}


def test_a_pack_that_is_gone_stops_the_run_and_one_that_is_cut_rejects_its_images(tmp_path):
    path = write_pair_bin(tmp_path / "lfw.bin", 1, protocol=2)
    reader = opened(path)
    items = list(reader.items())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ItemError, match=r"lfw\.bin#1: .*bytes") as error:
        reader.read(items[1])
    assert error.value.reason == "unreadable"
    path.unlink()
    with pytest.raises(SourceError, match=r"is not there any more"):
        reader.read(items[1])


def test_an_unknown_option_is_an_error_of_the_card(tmp_path):
    form = Form("bin", "pair-bin", True, "arcface-112", (112, 112), "best", {"stem": "lfw"})
    with pytest.raises(CardError, match=r"stem"):
        PairBinReader(tmp_path, "evaluation", form)


@pytest.mark.shared
def test_the_shared_pack_is_what_pickle_reads(shared):
    path = shared / "faces/lfw/lfw_small.bin"
    images, same = pickle.loads(path.read_bytes(), encoding="bytes")
    reader = opened(path)
    items = list(reader.items())
    assert [reader.read(item) for item in items] == [bytes(image) for image in images]
    rows = pairs_of(reader)
    assert [row["same"] for row in rows] == [bool(each) for each in same]
    assert len(rows) == 300
    assert [row["fold"] for row in rows] == [i // 30 + 1 for i in range(300)]


def test_files_beside_the_pack_are_counted(tmp_path):
    write_pair_bin(tmp_path / "packs/lfw.bin")
    for name in ("agedb_30.bin", "packs/train.rec", "packs/.DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    reader = opened(tmp_path, "lfw.bin")
    list(reader.items())
    assert reader.ignored() == {"files beside the pack": 2, "desktop files": 1}
