"""Releases that lie a folder or two deeper than expected, as ``unzip`` and Kaggle leave them."""

import pytest
from support.forms_lists import ms_celeb_tsv
from support.forms_tables import (
    celeba_aligned,
    celeba_kaggle,
    celeba_wild,
    facescrub_tree,
    imdb_face,
    listed_crops,
    own_csv,
    own_jsonl,
    umd_frames,
    umd_stills,
    vggface_tree,
)
from support.raw import write_files, write_pictures

from fusekit.cards.card import load_card
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader


def facescrub_suite(root):
    paths = ("Aaron_Eckhart/Aaron_Eckhart_1.png", "Adrien_Brody/Adrien_Brody_3.png")
    return listed_crops("facescrub", *paths)(root)


def csv_folder(root):
    own_csv(root)
    return root


def jsonl_folder(root):
    own_jsonl(root)
    return root


RELEASES = {
    "celeba-wild": ("celeba", celeba_wild),
    "celeba-aligned": ("celeba", celeba_aligned),
    "celeba-kaggle": ("celeba", celeba_kaggle),
    "umdfaces-stills": ("umdfaces", umd_stills),
    "umdfaces-videos": ("umdfaces", umd_frames),
    "vggface": ("vggface", vggface_tree),
    "imdb-face": ("imdb-face", imdb_face),
    "csv": ("csv", csv_folder),
    "jsonl": ("jsonl", jsonl_folder),
    "ms1m-tsv": ("ms1m", ms_celeb_tsv),
    "facescrub": ("facescrub", facescrub_tree),
    "facescrub-insightface": ("facescrub", facescrub_suite),
}


def listed(card, raw):
    reader = open_reader(load_card(card), raw)
    items = list(reader.items())
    assert all(len(reader.read(item)) == item.size for item in items if not item.reject)
    return reader, items


def told(items, prefix=""):
    return [
        (i.source.removeprefix(prefix), i.identity, i.size, i.bbox, i.landmarks, i.reject)
        for i in items
    ]


@pytest.mark.parametrize("folders", ["release", "release/release"])
@pytest.mark.parametrize("name", RELEASES)
def test_a_release_that_lies_deeper_is_the_same_release(tmp_path, name, folders):
    card, build = RELEASES[name]
    build(tmp_path / "plain")
    build(tmp_path / "deep" / folders)
    plain, plain_items = listed(card, tmp_path / "plain")
    deep, deep_items = listed(card, tmp_path / "deep")
    assert deep.form == plain.form
    assert told(deep_items, f"{folders}/") == told(plain_items)
    assert sum(deep.ignored().values()) == sum(plain.ignored().values())
    assert deep.remarks() == plain.remarks() if name != "ms1m-tsv" else True
    assert deep.names() == plain.names()


@pytest.mark.parametrize("name", sorted(RELEASES.keys() - {"facescrub"}))
def test_of_two_copies_none_is_taken_and_one_line_says_so(tmp_path, name):
    card, build = RELEASES[name]
    build(tmp_path / "old")
    build(tmp_path / "new")
    with pytest.raises(SourceError, match=r"both '?new\b.* and '?old\b.*one of them.*--from"):
        listed(card, tmp_path)


def test_lists_of_other_names_in_one_folder_are_one_too_many(tmp_path):
    write_pictures(tmp_path, "in/a/1.jpg")
    write_files(tmp_path, {f"in/{n}.csv": "file,identity\na/1.jpg,a\n" for n in ("x", "y")})
    with pytest.raises(SourceError, match=r"holds 2 lists, in/x\.csv, in/y\.csv"):
        listed("csv", tmp_path)


def test_a_list_beside_its_folder_of_pictures_is_found_in_another_folder(tmp_path):
    write_pictures(tmp_path, "data/images/a/1.jpg")
    write_files(tmp_path, {"data/meta/people.csv": "file,identity\na/1.jpg,a\n"})
    _, items = listed("csv", tmp_path)
    assert [(i.source, i.identity) for i in items] == [("data/images/a/1.jpg", "a")]


def test_pictures_of_umdfaces_in_a_folder_of_the_same_name_are_found(tmp_path):
    umd_stills(tmp_path / "plain")
    batch = tmp_path / "plain/umdfaces_batch2"
    inner = batch / "umdfaces_batch2/umdfaces_batch2"
    inner.mkdir(parents=True)
    (batch / "aaron_paul").rename(inner / "aaron_paul")
    _, items = listed("umdfaces", tmp_path / "plain")
    assert sum(i.reject is None for i in items) == 6
