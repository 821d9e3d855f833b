import zipfile

import pytest
from support.archives import write_zip
from support.forms import face_box, face_landmarks
from support.forms_tables import (
    celeba_aligned,
    celeba_kaggle,
    celeba_lists,
    celeba_pictures,
    celeba_wild,
)
from support.raw import write_files, write_pictures

from fusekit.cards.card import load_card, with_options
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader

IDENTITIES = "Anno/identity_CelebA.txt"


def listed(raw, form=None, **options):
    card = load_card("celeba")
    if options:
        card = with_options(card, form, options)
    reader = open_reader(card, raw, form)
    items = list(reader.items())
    assert all(len(reader.read(i)) == i.size for i in items if not i.reject)
    assert len({item.source for item in items}) == len(items)
    return reader, items


def test_pictures_in_the_wild_have_the_boxes_and_landmarks_of_the_whole_picture(tmp_path):
    reader, items = listed(celeba_wild(tmp_path))
    assert reader.form == "wild"
    first = items[0]
    assert first.source == "Img/img_celeba/000001.jpg"
    assert (first.identity, first.split) == ("9", "train")
    assert first.bbox == face_box(0)
    assert first.landmarks == tuple(round(v) for v in face_landmarks(0))


def test_rows_without_a_picture_are_missing_and_pictures_without_a_row_unlisted(tmp_path):
    _, items = listed(celeba_wild(tmp_path))
    assert [(i.source, i.identity, i.reject) for i in items[4:]] == [
        ("Img/img_celeba/000006.jpg", None, "unlisted"),
        ("Img/img_celeba/000005.jpg", "9", "missing"),
    ]


def test_with_a_part_of_celeba_the_rows_of_the_rest_are_only_counted(tmp_path):
    reader, items = listed(celeba_wild(tmp_path), "wild", missing="count")
    assert len(items) == 5
    assert reader.ignored()["rows whose file is not there"] == 1


def test_a_box_without_an_area_is_no_hint_and_is_told(tmp_path):
    reader, items = listed(celeba_wild(tmp_path))
    assert items[3].bbox is None
    assert items[3].landmarks is not None
    assert reader.remarks() == ["1 boxes of list_bbox_celeba have no area and are no hints"]


def test_aligned_pictures_have_their_own_landmarks_and_no_box(tmp_path):
    lists = celeba_lists()
    lists["Anno/list_landmarks_celeba.txt"] = "junk"
    raw = write_files(celeba_aligned(tmp_path), lists)
    reader, items = listed(raw)
    assert reader.form == "aligned"
    assert items[0].source == "Img/img_align_celeba_png/000001.png"
    assert {item.bbox for item in items} == {None}
    assert items[0].landmarks == tuple(round(v) for v in face_landmarks(0))


def test_torchvision_s_flat_folder_is_read(tmp_path):
    lists = {f"celeba/{name.rpartition('/')[2]}": text for name, text in celeba_lists().items()}
    raw = write_files(tmp_path, lists | celeba_pictures("celeba/img_align_celeba"))
    reader, items = listed(raw)
    assert (reader.form, len(items)) == ("aligned", 5)


def test_pictures_and_lists_in_one_folder_count_as_in_the_wild(tmp_path):
    lists = {name.rpartition("/")[2]: text for name, text in celeba_lists().items()}
    pictures = {name[2:]: data for name, data in celeba_pictures("x").items()}
    reader, items = listed(write_files(tmp_path, lists | pictures))
    assert (reader.form, items[0].source, items[-1].source) == ("wild", "000001.jpg", "000005.jpg")


def test_a_zip_beside_the_lists_is_read_without_unpacking(tmp_path):
    write_files(tmp_path, {n.rpartition("/")[2]: text for n, text in celeba_lists().items()})
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
        for name, data in celeba_pictures("img_align_celeba").items():
            archive.writestr(name, data)
    reader, items = listed(tmp_path)
    assert (reader.form, len(items)) == ("aligned", 5)
    assert items[0].source == "img_align_celeba.zip/img_align_celeba/000001.jpg"


def test_with_both_kinds_of_pictures_those_in_the_wild_are_taken(tmp_path):
    raw = celeba_aligned(celeba_wild(tmp_path))
    reader, _ = listed(raw)
    assert reader.form == "wild"
    assert reader.ignored()["files outside Img/img_celeba"] == 4
    assert len(listed(raw, "aligned")[1]) == 5


def test_kaggle_s_form_says_what_it_lacks(tmp_path):
    raw = celeba_kaggle(tmp_path)
    (raw / "identity_CelebA.txt").unlink()
    message = r"not who they show; expected identity_CelebA.txt, which Kaggle's form lacks; fetch"
    with pytest.raises(SourceError, match=message):
        listed(raw)


def test_kaggle_s_folder_is_there_twice_and_its_lists_are_csvs(tmp_path):
    reader, items = listed(celeba_kaggle(tmp_path))
    assert reader.form == "kaggle"
    assert items[2].source == "img_align_celeba/img_align_celeba/000003.jpg"
    assert [item.split for item in items] == ["train", "val", "test", "train", None]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (IDENTITIES, "000001.jpg 1\n000001.jpg 2\n", r":2: 000001 is 2 here and 1 above"),
        (IDENTITIES, "000001.jpg\n", r":1: has 1 fields; expected a name and an identity"),
        (IDENTITIES, "000001.jpg 1\na b\nnoise\n", r":3: 'noise'; expected a picture's name"),
        ("Eval/list_eval_partition.txt", "000001.jpg 3\n", r":1: 3; expected 0, 1 or 2"),
        ("Anno/list_bbox_celeba.txt", "1\nh\n000001.jpg 1 2 3\n", r":3: 1 2 3; .* 4 numbers"),
    ],
)
def test_a_damaged_list_is_named_by_its_line(tmp_path, name, text, message):
    raw = write_files(celeba_wild(tmp_path), {name: text})
    with pytest.raises(SourceError, match=message):
        listed(raw)


def test_a_folder_without_celeba_s_pictures_says_what_was_looked_for(tmp_path):
    write_pictures(tmp_path, "a/b.jpg")
    with pytest.raises(SourceError, match=r"holds no form of celeba; .*img_celeba or"):
        listed(tmp_path)
    with pytest.raises(SourceError, match=r"pictures were not found; expected img_celeba$"):
        listed(tmp_path, "wild")


@pytest.mark.shared
def test_a_real_part_of_celeba_keeps_its_own_numbers(shared):
    reader, items = listed(shared / "faces/celeba")
    assert (reader.form, len(items)) == ("wild", 308)
    assert len({item.identity for item in items}) == 28
    assert not any(item.reject for item in items)
    assert items[0].identity == "7413"


@pytest.mark.parametrize(
    "name",
    ["img_align_celeba.zip", "Img/img_align_celeba.zip", "a/CelebA/Img/IMG_ALIGN_CELEBA.ZIP"],
)
def test_a_zip_beside_folders_is_read_without_unpacking(tmp_path, name):
    base = tmp_path / "a/CelebA" if name.startswith("a/") else tmp_path
    write_files(base, celeba_lists() | {"Img/other/readme.txt": "x"})
    write_zip(tmp_path / name, celeba_pictures("img_align_celeba"))
    reader, items = listed(tmp_path)
    assert (reader.form, len(items)) == ("aligned", 5)
    assert items[0].source == f"{name}/img_align_celeba/000001.jpg"
    assert (items[0].identity, items[0].split) == ("9", "train")


def test_pictures_in_the_wild_in_a_zip_are_taken_before_aligned_ones(tmp_path):
    write_files(tmp_path, celeba_lists() | celeba_pictures("Img/img_align_celeba"))
    write_zip(tmp_path / "Img/img_celeba.zip", celeba_pictures("img_celeba"))
    reader, items = listed(tmp_path)
    assert (reader.form, items[0].source) == ("wild", "Img/img_celeba.zip/img_celeba/000001.jpg")


def test_a_zip_of_what_is_unpacked_is_not_read_again(tmp_path):
    celeba_aligned(tmp_path)
    write_zip(tmp_path / "Img/img_align_celeba.zip", celeba_pictures("img_align_celeba"))
    reader, items = listed(tmp_path)
    assert {item.source.rpartition("/")[0] for item in items} == {"Img/img_align_celeba_png"}
    assert reader.ignored()["files outside Img/img_align_celeba_png"] == 1


@pytest.mark.parametrize(
    ("name", "command"),
    [("img_align_celeba_png.7z", "7z x img_align_celeba_png.7z"),
     ("img_celeba.7z.001", "7z x img_celeba.7z.001")],
)  # fmt: skip
def test_a_7z_archive_is_to_be_unpacked_first(tmp_path, name, command):
    write_files(tmp_path, celeba_lists() | {f"Img/{name}": "7z", "Img/img_celeba.7z.002": "7z"})
    message = rf"Img/{name}: is a 7z archive, which is not read; .*unpack it first: {command}$"
    with pytest.raises(SourceError, match=message):
        listed(tmp_path)


def test_a_7z_archive_beside_pictures_is_counted(tmp_path):
    write_files(celeba_aligned(tmp_path), {"Img/img_celeba.7z.001": "7z"})
    assert listed(tmp_path)[0].form == "aligned"
