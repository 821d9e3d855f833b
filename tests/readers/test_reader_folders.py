import os
import shutil
import unicodedata

import pytest
from support.archives import write_archive
from support.raw import (
    VGGFACE2_META,
    casia_tree,
    celebrity_tree,
    draw_jpeg,
    pins_tree,
    vggface2_tree,
    write_files,
    write_pictures,
)

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import CardError, ItemError, SourceError
from fusekit.readers.item import Item
from fusekit.readers.registry import open_reader
from fusekit.readers.trees.layout import Layout
from fusekit.readers.trees.walk import MAX_BYTES


def folders(raw, kind="labeled", **options):
    card = Card(name="mine", kind=kind, forms=(CardForm(reader="folders", options=options),))
    return open_reader(card, raw)


def listed(reader):
    items = list(reader.items())
    sources = [item.source for item in items]
    assert sources == sorted(sources, key=str.encode)
    assert all(len(reader.read(item)) == item.size for item in items)
    return items


def by_identity(items):
    counts = {}
    for item in items:
        counts[item.identity] = counts.get(item.identity, 0) + 1
    return counts


def test_vggface2_is_read_in_its_real_layout(tmp_path):
    reader = open_reader(load_card("vggface2"), vggface2_tree(tmp_path))
    items = listed(reader)
    assert reader.form == "folders"
    assert not reader.numeric_identities
    assert by_identity(items) == {"n000001": 2, "n000002": 2, "n000003": 2}
    assert {(item.split, item.identity) for item in items} == {
        ("test", "n000001"), ("train", "n000002"), ("train", "n000003"),
    }  # fmt: skip
    assert items[0].source == "test/n000001/0001_01.jpg"
    assert reader.read(items[0]) == (tmp_path / items[0].source).read_bytes()
    assert reader.ignored() == {
        "files outside identity folders": 2, "folders of lists": 2,
    }  # fmt: skip


def test_vggface2_s_names_are_read_with_their_quotes_and_commas(tmp_path):
    reader = open_reader(load_card("vggface2"), vggface2_tree(tmp_path))
    assert reader.names() == {
        "n000001": "14th_Dalai_Lama",
        "n000002": "Anne,_Princess_Royal",
        "n000003": "Óscar_de_la_Hoya",
    }


def test_vggface2_s_own_boxes_and_landmarks_become_hints(tmp_path):
    items = listed(open_reader(load_card("vggface2"), vggface2_tree(tmp_path)))
    boxes = [item.bbox for item in items]
    assert boxes[0] == (-4.0, 15.0, 75.0, 115.0)
    assert boxes[1] == (-4.0, 15.0, 75.0, 116.0)
    assert all(item.landmarks[:4] == (38.3, 51.7, 73.5, 51.5) for item in items)
    assert all(len(item.landmarks) == 10 for item in items)


def test_hints_may_come_in_any_order_unquoted_or_not_at_all(tmp_path):
    write_pictures(tmp_path, "n000001/0001_01.jpg", "n000001/0002_01.jpg", "n000002/0001_01.jpg")
    rows = "n000002/0001_01,1,2,3,4\nn000001/0001_01.jpg,5,6,7,8\n\nn000009/1,0,0,0,0\n"
    write_files(tmp_path, {"bb_landmark/loose_bb_all.csv": "NAME_ID,X,Y,W,H\n" + rows})
    items = listed(open_reader(load_card("vggface2"), tmp_path))
    assert [item.bbox for item in items] == [(5, 6, 12, 14), None, (1, 2, 4, 6)]
    assert [item.landmarks for item in items] == [None] * 3


def test_the_rows_of_one_identity_may_stand_apart(tmp_path):
    write_pictures(tmp_path, "n000001/1_01.jpg", "n000001/2_01.jpg")
    rows = '"n000001/1_01",1,1,1,1\n"n000002/1_01",0,0,0,0\n"n000001/2_01",2,2,2,2'
    write_files(tmp_path, {"bb_landmark/loose_bb_train.csv": rows})
    items = listed(open_reader(load_card("vggface2"), tmp_path))
    assert [item.bbox for item in items] == [(1, 1, 2, 2), (2, 2, 4, 4)]


@pytest.mark.parametrize("row", ['"n000001/1_01",1,2,3', '"n000001/1_01",1,2,x,4'])
def test_a_broken_hint_is_named_by_its_line(tmp_path, row):
    write_pictures(tmp_path, "n000001/1_01.jpg")
    write_files(tmp_path, {"bb_landmark/loose_bb_train.csv": f"NAME_ID,X,Y,W,H\n{row}\n"})
    with pytest.raises(SourceError, match=r"loose_bb_train.csv:2: .*; expected a name, 4 numbers"):
        listed(open_reader(load_card("vggface2"), tmp_path))


@pytest.mark.parametrize(
    ("below", "sources"),
    [
        ("", ["n000001/1_01.jpg"]),
        ("vggface2_train", ["vggface2_train/n000001/1_01.jpg"]),
        ("data/train", ["data/train/n000001/1_01.jpg"]),
        ("VGGFace2/vggface2_train/train", ["VGGFace2/vggface2_train/train/n000001/1_01.jpg"]),
    ],
)
def test_vggface2_is_found_however_it_was_unpacked(tmp_path, below, sources):
    write_pictures(tmp_path / below, "n000001/1_01.jpg")
    write_files(tmp_path, {"meta/identity_meta.csv": "n000001, A, 1, 1, m\n"})
    reader = open_reader(load_card("vggface2"), tmp_path)
    items = listed(reader)
    assert [item.source for item in items] == sources
    assert [item.split for item in items] == ["train" if below else None]
    assert reader.names() == {"n000001": "A"}


def test_casia_s_leading_zeros_are_part_of_the_identity(tmp_path):
    reader = open_reader(load_card("casia-webface"), casia_tree(tmp_path))
    assert by_identity(listed(reader)) == {"0000045": 2, "0000052": 2, "0000059": 2}
    assert reader.names()["0000045"] == "Person_0"


def test_rows_that_are_no_names_are_counted(tmp_path):
    write_files(casia_tree(tmp_path), {"webface_id_name_list.txt": "0000045 Bruce_Lee\n0000052\n"})
    reader = open_reader(load_card("casia-webface"), tmp_path)
    assert reader.names() == {"0000045": "Bruce_Lee"}
    assert reader.ignored() == {"rows of webface_id_name_list.txt that are no names": 1}


@pytest.mark.parametrize("below", ["", "105_classes_pins_dataset"])
def test_pins_are_found_one_level_down_too_and_lose_their_prefix(tmp_path, below):
    reader = open_reader(load_card("pinsface"), pins_tree(tmp_path) / below)
    assert by_identity(listed(reader)) == {"Adriana Lima": 2, "Brian J. Smith": 2, "tom ellis": 2}


@pytest.mark.parametrize("below", ["", "data"])
def test_a_celebrity_in_two_splits_is_one_person_and_keeps_the_split(tmp_path, below):
    items = listed(open_reader(load_card("14-celebrity"), celebrity_tree(tmp_path) / below))
    assert by_identity(items) == {"ben_afflek": 2, "elton_john": 2}
    assert [item.split for item in items] == ["train", "train", "val", "val"]


def test_a_dataset_that_is_there_twice_is_not_read_twice(tmp_path):
    celebrity_tree(tmp_path)
    celebrity_tree(tmp_path / "14-celebrity-faces-dataset")
    with pytest.raises(
        SourceError,
        match=r"both '14-celebrity-faces-dataset/data/train' and 'data/val' hold identity folders",
    ):
        listed(open_reader(load_card("14-celebrity"), tmp_path))


def test_own_data_needs_no_splits_and_may_be_nested(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg", "anna/holiday/2.jpg", "anna b/3.png", "ben/x/y/4.jpg")
    items = listed(open_reader(load_card("folders"), tmp_path))
    assert [item.source for item in items] == [
        "anna b/3.png", "anna/1.jpg", "anna/holiday/2.jpg", "ben/x/y/4.jpg",
    ]  # fmt: skip
    assert by_identity(items) == {"anna b": 1, "anna": 2, "ben": 1}


def test_one_folder_is_one_person_unless_splits_stand_below(tmp_path):
    write_pictures(tmp_path, "one/anna/1.jpg")
    assert by_identity(listed(open_reader(load_card("folders"), tmp_path / "one"))) == {"anna": 1}
    assert by_identity(listed(open_reader(load_card("folders"), tmp_path))) == {"one": 1}
    write_pictures(tmp_path, "two/set/train/anna/1.jpg", "two/set/Validation/anna/1.jpg")
    items = listed(open_reader(load_card("folders"), tmp_path / "two"))
    assert [(item.split, item.identity) for item in items] == [("val", "anna"), ("train", "anna")]


def test_split_folders_beside_people_are_refused(tmp_path):
    write_pictures(tmp_path, "train/anna/1.jpg", "ben/1.jpg")
    with pytest.raises(SourceError, match=r"'train' stands beside 'ben'; expected only split"):
        listed(open_reader(load_card("folders"), tmp_path))


def test_two_spellings_of_one_text_are_one_person(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    write_pictures(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg")
    items = listed(folders(tmp_path))
    assert len(items) == 2
    assert {item.identity for item in items} == {composed}
    assert {item.source for item in items} == {f"{composed}/1.jpg", f"{decomposed}/2.jpg"}


def test_every_file_is_an_item_but_lists_and_desktop_files_which_are_counted(tmp_path):
    write_pictures(tmp_path, "anna/1.JPG", "anna/2", "anna/deep/3.gif")
    write_files(tmp_path, {
        "anna/note.jpg": "no picture", "anna/empty.png": "", "anna/page.HTML": "x",
        "anna/a.csv": "",
        "anna/.DS_Store": "", "anna/Thumbs.db": "", "anna/._1.JPG": "", "__MACOSX/anna/1.jpg": "",
        "anna/.ipynb_checkpoints/1.jpg": "", "readme.txt": "", "loose.jpg": "",
    })  # fmt: skip
    os.mkfifo(tmp_path / "anna/pipe.jpg")
    reader = folders(tmp_path)
    items = listed(reader)
    assert [item.source for item in items] == [
        "anna/1.JPG", "anna/2", "anna/deep/3.gif", "anna/empty.png", "anna/note.jpg",
    ]  # fmt: skip
    assert reader.ignored() == {
        "lists and metadata (by suffix)": 2, "desktop files": 4, "hidden folders": 1,
        "files outside identity folders": 2, "neither files nor folders": 1,
    }  # fmt: skip
    listed(reader)
    assert sum(reader.ignored().values()) == 10  # listing twice does not count twice


def test_names_that_are_no_utf_8_are_counted(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg")
    (tmp_path / "anna" / os.fsdecode(b"\xff.jpg")).write_bytes(draw_jpeg(0))
    reader = folders(tmp_path)
    assert [item.source for item in listed(reader)] == ["anna/1.jpg"]
    assert reader.ignored() == {"names that are no UTF-8": 1}


def test_links_lead_nowhere_outside(tmp_path):
    secret = write_pictures(tmp_path / "outside", "anna/secret.jpg")
    raw = write_pictures(tmp_path / "raw", "anna/1.jpg")
    (raw / "anna/2.jpg").symlink_to("1.jpg")
    (raw / "anna/3.jpg").symlink_to(secret / "anna/secret.jpg")
    (raw / "anna/4").symlink_to(secret / "anna")
    (raw / "anna/up").symlink_to(raw)
    (raw / "ben").symlink_to(raw / "anna")
    reader = folders(raw)
    assert [item.source for item in listed(reader)] == ["anna/1.jpg", "anna/2.jpg"]
    assert reader.ignored() == {
        "links that leave the raw folder": 2, "links to folders": 2,
    }  # fmt: skip
    for source in ("../outside/anna/secret.jpg", "anna/3.jpg", str(secret / "anna/secret.jpg")):
        with pytest.raises(ItemError, match="leads out of the raw folder") as caught:
            reader.read(Item(source, 1, "anna"))
        assert caught.value.reason == "unreadable"


def test_a_raw_folder_may_itself_be_a_link(tmp_path):
    write_pictures(tmp_path / "real", "anna/1.jpg")
    (tmp_path / "link").symlink_to("real")
    assert len(listed(folders(tmp_path / "link"))) == 1


def test_a_picture_that_is_gone_is_unreadable(tmp_path):
    reader = folders(write_pictures(tmp_path, "anna/1.jpg"))
    with pytest.raises(ItemError, match=r"anna/2.jpg: No such file") as caught:
        reader.read(Item("anna/2.jpg", 1, "anna"))
    assert caught.value.reason == "unreadable"


def test_a_raw_folder_that_is_gone_is_no_fault_of_its_pictures(tmp_path):
    reader = folders(write_pictures(tmp_path / "raw", "anna/1.jpg"))
    item = listed(reader)[0]
    shutil.rmtree(tmp_path / "raw")
    message = r"raw: can't be read any more \(No such file or directory\); see that the drive"
    with pytest.raises(SourceError, match=message):
        reader.read(item)
    (tmp_path / "raw").mkdir()  # where a drive was mounted
    with pytest.raises(SourceError, match=message):
        reader.read(item)


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg")
    os.truncate(tmp_path / "anna/1.jpg", MAX_BYTES + 1)
    reader = folders(tmp_path)
    with pytest.raises(ItemError, match="536870913 bytes, more than 536870912") as caught:
        reader.read(next(reader.items()))
    assert caught.value.reason == "too_large"


def test_links_that_lead_nowhere_or_to_themselves_are_counted(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg")
    (tmp_path / "anna/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "anna/gone.jpg").symlink_to("2.jpg")
    reader = folders(tmp_path)
    assert [item.source for item in listed(reader)] == ["anna/1.jpg"]
    assert reader.ignored() == {"links that lead nowhere": 2}


def test_folders_of_unlabeled_data_name_nobody(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg")
    assert by_identity(listed(folders(tmp_path, kind="unlabeled"))) == {None: 1}


@pytest.mark.parametrize(
    ("card", "files", "message"),
    [
        ("folders", {}, "no identity folders were found; expected a folder for each identity"),
        ("folders", {"a.jpg": ""}, "no identity folders were found"),
        ("folders", {"anna/list.txt": ""}, "the identity folders hold no pictures"),
        ("14-celebrity", {"x.jpg": ""}, "no identity folders were found"),
    ],
)
def test_a_folder_without_pictures_says_what_was_looked_for(tmp_path, card, files, message):
    with pytest.raises(SourceError, match=message):
        listed(open_reader(load_card(card), write_files(tmp_path, files)))


def test_a_pattern_that_no_folder_matches_is_named(tmp_path):
    write_pictures(tmp_path, "45/1.jpg")
    with pytest.raises(SourceError, match=r"expected folders named ####### \('#' is a digit\)"):
        listed(folders(tmp_path, identity="#######"))


def test_raw_data_that_is_a_file_is_no_folder(tmp_path):
    write_files(tmp_path, {"a.jpg": "x"})
    message = r"a.jpg: is no folder; expected a folder of identity folders, or a zip or tar of it"
    with pytest.raises(SourceError, match=message):
        folders(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idenity": "*"}, "unknown key 'idenity'; did you mean 'identity'?"),
        ({"identity": "a*b"}, "options of the form 'folders': identity: 'a\\*b': string should ma"),
        ({"boxes": ["../b.csv"]}, "boxes.0.: '../b.csv' may lead out of the raw folder"),
        ({"boxes": ["/etc/passwd"]}, "boxes.0.: '/etc/passwd' may lead out of the raw folder"),
        ({"names": {"files": [], "format": "xml"}}, "names.format: 'xml'; expected 'vggface2'"),
        ({"strip_prefix": 3}, "strip_prefix: 3; expected a valid string"),
    ],
)
def test_options_that_can_not_be_are_refused(tmp_path, options, message):
    with pytest.raises(CardError, match=message):
        folders(tmp_path, **options)


def test_a_folder_that_can_not_be_listed_is_an_error(tmp_path, monkeypatch):
    write_pictures(tmp_path, "anna/1.jpg")
    reader = folders(tmp_path)
    listing = os.scandir

    def refuse(path):
        if str(path).endswith("anna"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"anna: can't be listed \(Permission denied\)"):
        list(reader.items())


def test_people_spread_over_top_folders_are_one_dataset_if_the_card_says_so(tmp_path):
    write_pictures(
        tmp_path, "0/0_0_0000000/0_0.jpg", "0/0_0_0000001/0_1.jpg", "3/3_0_0000000/1.jpg"
    )
    items = listed(open_reader(load_card("webface42m"), tmp_path, "crops"))
    assert [item.identity for item in items] == ["0_0_0000000", "0_0_0000001", "3_0_0000000"]
    write_pictures(tmp_path, "copy/0/0_0_0000000/0_0.jpg")
    with pytest.raises(SourceError, match="both '0' and 'copy/0' hold identity folders"):
        listed(open_reader(load_card("webface42m"), tmp_path, "crops"))
    with pytest.raises(SourceError, match="both '0' and 'copy/0' hold identity folders"):
        listed(folders(tmp_path, identity="#_#_#######"))


def test_people_of_several_races_have_the_race_as_their_split(tmp_path):
    names = [
        f"images/race_per_7000/{r}/m.0{n}/1_00@en.jpg" for n, r in enumerate(("African", "Indian"))
    ]
    items = listed(open_reader(load_card("bupt-balancedface"), write_pictures(tmp_path, *names)))
    assert [(item.split, item.identity) for item in items] == [
        ("african", "m.00"), ("indian", "m.01"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (("imgs/0/1.jpg", "imgs/10571/2.jpg"), ["0", "10571"]),
        (("id_0/0_1.jpg", "id_12/12_1.jpg"), ["0", "12"]),
        (("0_490624/1.jpg", "0_490625/1.jpg"), ["0_490624", "0_490625"]),
    ],
)
def test_packs_unpacked_into_folders_are_finished_crops(tmp_path, names, people):
    reader = open_reader(load_card("casia-webface"), write_pictures(tmp_path, *names))
    assert (reader.form, reader.form_spec.aligned) == ("crops", True)
    assert [item.identity for item in listed(reader)] == people


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("#+", "0", True), ("#+", "0123", True), ("#+", "", False), ("#+", "1a", False),
        ("#+", "\N{ARABIC-INDIC DIGIT ONE}", False), ("id_#+", "id_7", True), ("a+", "a+", True),
        ("n#|m.*", "m.0x", True), ("n#|m.*", "m.", False), ("n#|m.*", "n12", False),
        ("a.b", "axb", False),
    ],
)  # fmt: skip
def test_a_pattern_says_which_folders_are_people(pattern, name, fits):
    assert Layout(pattern, {}, frozenset()).is_identity(name) == fits


def test_a_hostile_pattern_and_name_take_no_time():
    assert not Layout("#+" * 32, {}, frozenset()).is_identity("1" * 255)


def test_a_lone_folder_of_folders_holds_people_if_the_card_says_so(tmp_path):
    write_pictures(tmp_path, "set/anna/1.jpg", "set/ben/1.jpg")
    assert by_identity(listed(folders(tmp_path, unwrap=True))) == {"anna": 1, "ben": 1}
    assert by_identity(listed(folders(tmp_path))) == {"set": 2}
    write_pictures(tmp_path, "set/1.jpg")  # a person's own picture: the folder is a person
    assert by_identity(listed(folders(tmp_path, unwrap=True))) == {"set": 3}


@pytest.mark.parametrize("slash", ["/", "\\"])
@pytest.mark.parametrize("above", ["", "CASIA-WebFace"])
def test_a_list_of_landmarks_gives_hints(tmp_path, above, slash):
    write_pictures(tmp_path, "CASIA-WebFace/0000045/001.jpg", "CASIA-WebFace/0000045/002.jpg")
    path = f"{above}/0000045/001.jpg".lstrip("/").replace("/", slash)
    numbers = "\t".join(str(n / 2) for n in range(10))
    rows = f"{path}\t0\t{numbers}\r\n0000045/002.jpg\t0\t1\t2\n0000099/001.jpg\tx\n"
    write_files(tmp_path, {"casia_landmark.txt": rows})
    reader = open_reader(load_card("casia-webface"), tmp_path)
    items = listed(reader)
    assert [item.landmarks for item in items] == [tuple(n / 2 for n in range(10)), None]
    assert reader.ignored()["rows of casia_landmark.txt that are no hints"] == 1


def test_spaces_may_stand_between_a_path_and_its_numbers(tmp_path):
    write_pictures(tmp_path, "0000045/001.jpg")
    write_files(tmp_path, {"casia_landmark.txt": "0000045/001.jpg 1 2 3 4 5 6 7 8 9 10\n"})
    (item,) = listed(open_reader(load_card("casia-webface"), tmp_path))
    assert item.landmarks == tuple(range(1, 11))


def test_a_line_without_end_is_not_read_whole(tmp_path):
    write_pictures(tmp_path, "0000045/001.jpg")
    write_files(tmp_path, {"casia_landmark.txt": "1 " * 40_000})
    with pytest.raises(SourceError, match=r"casia_landmark.txt:1: a line of 64 KiB or more"):
        listed(open_reader(load_card("casia-webface"), tmp_path))


@pytest.mark.parametrize(
    "row",
    [
        'n000002, "Óscar, Jr.", 9, 1',
        'n000002, "Óscar, Jr.", 9, m,',
        ' n000002,"Óscar, Jr." ,9,1,f',
    ],
)
def test_vggface2_s_translated_names_are_read_where_its_own_are_not_there(tmp_path, row):
    write_pictures(tmp_path, "train/n000002/0001_01.jpg")
    write_files(tmp_path, {"vggface2_identity_trans.csv": f'{row}\r\nn000002, "O", 9, 1\r\n'})
    reader = open_reader(load_card("vggface2"), tmp_path)
    assert reader.names() == {"n000002": "Óscar, Jr."}
    write_files(tmp_path, {"meta/identity_meta.csv": 'n000002, "Oscar", 9, 1, m\n'})
    assert reader.names() == {"n000002": "Oscar"}


def test_a_table_of_names_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.readers.folders._MAX_NAMES", 9)
    reader = open_reader(load_card("casia-webface"), casia_tree(tmp_path))
    with pytest.raises(
        SourceError, match=r"webface_id_name_list.txt: more than 9 bytes; expected a"
    ):
        reader.names()


@pytest.mark.parametrize(
    ("card", "archives"),
    [("vggface2", {"data/vggface2_train.tar.gz": "train/n000002/1.jpg"}),
     ("vggface2", {"vggface2_train.tar.gz": "train/n000002/1.jpg",
                   "vggface2_test.tar.gz": "test/n000001/1.jpg"}),
     ("casia-webface", {"CASIA-WebFace.zip": "CASIA-WebFace/0000045/001.jpg"})],
)  # fmt: skip
def test_archives_beside_folders_of_lists_are_read_without_unpacking(tmp_path, card, archives):
    lists = {"meta/identity_meta.csv": VGGFACE2_META, "bb_landmark/x/y.csv": "x"}
    write_files(tmp_path, lists)
    for name, picture in archives.items():
        write_archive(tmp_path / name, {picture: draw_jpeg(1)})
    reader = open_reader(load_card(card), tmp_path)
    assert {item.source for item in reader.items()} == {f"{a}/{p}" for a, p in archives.items()}


@pytest.mark.parametrize("card", ["ms1m", "casia-webface"])
def test_numbered_folders_of_lists_are_no_identities(tmp_path, card):
    write_files(
        tmp_path, {f"Split/{kind}/{n:02}/same.txt": "1,2" for kind in ("FF", "FP") for n in (1, 2)}
    )
    with pytest.raises(SourceError, match=f"holds no form of {card}"):
        open_reader(load_card(card), tmp_path)


def test_of_numbered_folders_those_with_pictures_are_taken(tmp_path):
    write_files(tmp_path, {"lists/01/same.txt": "1", "imgs/0/1.jpg": draw_jpeg(1)})
    write_files(tmp_path, {"cfp/001/frontal/01.jpg": draw_jpeg(2)})
    reader = open_reader(load_card("ms1m"), tmp_path)
    assert [item.source for item in reader.items()] == ["imgs/0/1.jpg"]
    assert reader.ignored() == {"folders that are no identity": 2}
