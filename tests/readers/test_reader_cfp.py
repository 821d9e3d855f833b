from collections import Counter

import pytest
from support.evaluation import listed, pairs
from support.forms_evaluation import cfp_release
from support.raw import write_files, write_pictures

from fusekit.cards.card import load_card
from fusekit.errors import CardError, ItemError, SourceError
from fusekit.faces.image import decode_image
from fusekit.readers.registry import open_reader

BASE = "cfp-dataset/cfp-dataset"


def test_cfp_is_read_in_its_real_layout(tmp_path):
    reader, items = listed("cfp-fp", cfp_release(tmp_path))
    assert reader.form == "originals"
    assert (items[0].source, items[0].identity, items[0].split) == (
        f"{BASE}/Data/Images/001/frontal/01.jpg", "001", "frontal",
    )  # fmt: skip
    assert Counter(item.split for item in items) == {"frontal": 6, "profile": 3}
    assert reader.names() == {"001": "50 Cent", "002": "Aaron Hernandez", "003": "Zoé Saldaña"}
    # six fiducials, the names, two lists and eight splits
    assert reader.ignored() == {"lists and metadata (by suffix)": 17}
    assert reader.remarks() == ["the protocol has 5 pairs, 7000 in the release"]


def test_numbers_count_from_1_and_the_second_one_is_in_the_profile_list(tmp_path):
    reader, _ = listed("cfp-fp", cfp_release(tmp_path))
    images = f"{BASE}/Data/Images"
    assert [tuple(row.values()) for row in pairs(reader)] == [
        ("fp", True, 1, True, f"{images}/001/frontal/01.jpg", f"{images}/001/profile/01.jpg"),
        ("fp", True, 1, False, f"{images}/001/frontal/01.jpg", f"{images}/002/profile/01.jpg"),
        ("fp", True, 2, True, f"{images}/001/frontal/01.jpg", f"{images}/001/profile/01.jpg"),
        ("fp", True, 2, False, f"{images}/001/frontal/01.jpg", f"{images}/002/profile/01.jpg"),
        ("fp", True, 2, False, f"{images}/003/frontal/01.jpg", f"{images}/002/profile/01.jpg"),
    ]


def test_the_frontal_protocol_leaves_profile_pictures_out_and_counts_them(tmp_path):
    reader, items = listed("cfp-ff", cfp_release(tmp_path))
    assert Counter(item.split for item in items) == {"frontal": 6}
    assert reader.ignored()["profile pictures, which the protocol FF leaves out"] == 2
    assert {row["protocol"] for row in pairs(reader)} == {"ff"}
    assert all("/frontal/" in row["source_b"] for row in pairs(reader))


def test_a_listed_picture_that_is_not_there_is_a_missing_item(tmp_path):
    _, items = listed("cfp-fp", cfp_release(tmp_path))
    (missing,) = [item for item in items if item.reject]
    assert missing.source == f"{BASE}/Data/Images/001/profile/01.jpg"
    assert (missing.identity, missing.split, missing.size) == ("001", "profile", 0)


def test_the_folder_protocols_of_some_copies_is_found(tmp_path):
    cfp_release(tmp_path)
    (tmp_path / BASE / "Protocol").rename(tmp_path / BASE / "Protocols")
    reader, _ = listed("cfp-fp", tmp_path)
    assert len(pairs(reader)) == 5


def test_lists_with_tabs_and_suffixes_of_any_case_are_read(tmp_path):
    cfp_release(tmp_path)
    for path in sorted((tmp_path / BASE / "Protocol").rglob("*.txt")):
        if path.name.startswith("Pair_list"):
            path.write_text(path.read_text().replace(" ", "\t"))
        path.rename(path.with_suffix(".TXT"))
    reader, _ = listed("cfp-fp", tmp_path)
    assert len(pairs(reader)) == 5


def test_without_the_protocol_the_pictures_are_samples_and_it_is_said(tmp_path):
    cfp_release(tmp_path)
    reader, items = listed("cfp-fp", tmp_path / BASE / "Data")
    assert (len(items), reader.tables()) == (8, {})
    assert "no folder Split/FP was found" in reader.remarks()[0]
    (tmp_path / BASE / "Protocol/Pair_list_P.txt").unlink()
    reader, _ = listed("cfp-fp", tmp_path)
    assert "no list pair_list_p.txt was found" in reader.remarks()[0]


def test_what_is_no_picture_of_a_pose_is_counted(tmp_path):
    cfp_release(tmp_path)
    write_pictures(
        tmp_path, f"{BASE}/Data/Images/001/other/01.jpg", f"{BASE}/Data/Images/x.jpg", "logo.png"
    )
    reader, _ = listed("cfp-fp", tmp_path)
    assert reader.ignored()["files that are no pictures of a person in a pose"] == 3


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Pair_list_F.txt", "one ../Data/Images/001/frontal/01.jpg\n", "a number from 1"),
        ("Pair_list_F.txt", "1\n", "a number and the path of a picture"),
        ("Pair_list_F.txt", "1 ../../../etc/passwd\n", "a number and the path of a picture"),
        ("Pair_list_F.txt", "1 001/frontal/01.jpg\n1 001/frontal/02.jpg\n", "no row before has"),
        ("Split/FP/01/same.txt", "1;1\n", "two numbers of pictures, a comma between"),
        ("Split/FP/01/same.txt", "0,1\n", "numbers from 1 to 6"),
        ("Split/FP/01/same.txt", "1,4\n", "numbers from 1 to 3"),
    ],
)
def test_a_damaged_list_is_an_error_with_its_line(tmp_path, name, text, found):
    write_files(cfp_release(tmp_path), {f"{BASE}/Protocol/{name}": text})
    with pytest.raises(SourceError, match=rf"{name}:\d+: ") as caught:
        listed("cfp-fp", tmp_path)
    assert found in str(caught.value)


def test_a_fold_without_one_of_its_lists_is_an_error(tmp_path):
    cfp_release(tmp_path)
    (tmp_path / BASE / "Protocol/Split/FP/02/same.txt").unlink()
    with pytest.raises(SourceError, match=r"FP/02/same\.txt: can't be opened"):
        listed("cfp-fp", tmp_path)


def test_other_folders_and_protocols_are_refused(tmp_path):
    write_pictures(tmp_path, "a/b.jpg")
    with pytest.raises(SourceError, match="no persons were found; expected three-digit person fol"):
        listed("cfp-fp", tmp_path, "originals")
    with pytest.raises(CardError, match="protocol"):
        listed("cfp-fp", tmp_path, "originals", protocol="PP")
    for copy in ("one", "two"):
        cfp_release(tmp_path / copy)
    with pytest.raises(SourceError, match=r"both 'one/.*Images' and 'two/.*Images' hold persons"):
        listed("cfp-fp", tmp_path, "originals")


@pytest.mark.shared
@pytest.mark.parametrize(("card", "pictures"), [("cfp-fp", 7_000), ("cfp-ff", 5_000)])
def test_the_real_protocol_is_read_whole(shared, card, pictures):
    # Its one picture is a small text file, all the others are not there.
    reader = open_reader(load_card(card), shared / "faces/cfp_protocol")
    items = list(reader.items())
    assert (len(items), reader.remarks()) == (pictures, [])
    assert len(reader.names()) == 500
    assert {item.identity for item in items} == set(reader.names())
    (there,) = [item for item in items if item.reject != "missing"]
    with pytest.raises(ItemError) as caught:
        decode_image(reader.read(there), there.source)
    assert caught.value.reason == "not_an_image"
    rows = pairs(reader)
    assert Counter((row["fold"], row["same"]) for row in rows) == {
        (fold, same): 350 for fold in range(1, 11) for same in (True, False)
    }
    who = {item.source: item.identity for item in items}
    assert all(row["same"] == (who[row["source_a"]] == who[row["source_b"]]) for row in rows)
