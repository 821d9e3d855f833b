import pickle
import re
from base64 import b64encode

import pytest
from support.forms_lists import MID_NAMES, MS_CELEB, full_row, ms_celeb_tsv, tsv_row
from support.raw import draw_jpeg, write_files

from fusekit.cards.card import Card, CardForm
from fusekit.errors import ItemError, SourceError
from fusekit.formats import msceleb
from fusekit.readers.registry import open_reader
from fusekit.readers.tsv import TsvReader

PICTURE = draw_jpeg(1)
FACES = "FaceImageCroppedWithAlignment.tsv"


def opened(raw, kind="labeled"):
    return open_reader(Card(name="ms", kind=kind, forms=(CardForm(reader="tsv"),)), raw)


def listed(reader):
    items = list(reader.items())
    for item in items:
        assert item.reject or len(reader.read(item)) == item.size
    return items


def table(root, *rows, name=FACES):
    return write_files(root, {name: b"".join(rows)})


def test_the_seven_columns_give_faces_with_their_address(tmp_path):
    rows = [full_row(face, draw_jpeg(seed)) for seed, face in enumerate(MS_CELEB)]
    reader = opened(table(tmp_path, *rows))
    items = listed(reader)
    assert [item.source for item in items] == [
        f"{FACES}#1/m.0107_f/3-FaceId-0", f"{FACES}#2/m.0107_f/3-FaceId-1",
        f"{FACES}#3/m.0107_f/10-FaceId-0", f"{FACES}#4/m.02x/0-FaceId-0",
    ]  # fmt: skip
    assert [item.identity for item in items] == ["m.0107_f"] * 3 + ["m.02x"]
    assert [reader.read(item) for item in items] == [draw_jpeg(seed) for seed in range(4)]
    assert items[0].url == "http://example.com/m.0107_f/3.jpg"
    assert items[0].bbox is None
    assert items[1].offset > items[0].offset + items[0].size
    assert (reader.names(), reader.ignored()) == ({}, {})


def test_a_line_that_comes_twice_gives_two_sources(tmp_path):
    row = full_row(MS_CELEB[0], PICTURE)
    assert len({item.source for item in listed(opened(table(tmp_path, row, row)))}) == 2


def test_the_dev_set_has_six_columns_and_names(tmp_path):
    row = tsv_row("m.01", "Ann Lee", "http://x/1.jpg", "FaceId-2", image=PICTURE)
    reader = opened(table(tmp_path, row, name="MsCelebV1-Faces-Aligned.DevSet.tsv"))
    [item] = listed(reader)
    assert (item.identity, item.url) == ("m.01", "http://x/1.jpg")
    assert item.source.endswith(".DevSet.tsv#1/m.01/FaceId-2")
    assert reader.names() == {"m.01": "Ann Lee"}


def test_thumbnails_have_six_columns_and_no_rectangle(tmp_path):
    fields = (b"m.01", b"Ann Lee", b"7", b"http://x/1.jpg", b"http://x/", b64encode(PICTURE))
    reader = opened(table(tmp_path, b"\t".join(fields)))
    [item] = listed(reader)
    assert (item.source, item.url) == (f"{FACES}#1/m.01/7", "http://x/1.jpg")
    assert reader.names() == {"m.01": "Ann Lee"}


def test_a_numeric_face_id_is_kept_as_it_stands(tmp_path):
    [item] = listed(opened(table(tmp_path, full_row(("m.01", 4, "0"), PICTURE))))
    assert item.source == f"{FACES}#1/m.01/4-0"


@pytest.mark.parametrize("length", [6, 7, 8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_picture_s_size_is_known_with_any_padding_and_line_end(tmp_path, length, end):
    first = full_row(MS_CELEB[0], PICTURE)
    picture = PICTURE[:length] + b"more"[: length % 4]
    for text in (b64encode(picture), b64encode(picture).rstrip(b"=")):
        row = first.rsplit(b"\t", 1)[0] + b"\t" + text + end
        reader = opened(table(tmp_path, first, row))
        assert reader.read(listed(reader)[1]) == picture


def test_empty_lines_are_counted_and_damaged_ones_are_rejects(tmp_path):
    good = full_row(MS_CELEB[0], PICTURE)
    bad = [
        b"m.01\t3\n", good.rstrip() + b"\tmore\n", good.replace(b"m.0107_f", b"", 1),
        good.replace(b"m.0107_f", b"\xff", 1), b"x" * 300 + good, b"no columns\n",
    ]  # fmt: skip
    reader = opened(table(tmp_path, good, b"\n", b"\r\n", *bad))
    items = listed(reader)
    assert reader.ignored() == {"empty lines": 2}
    assert [(i.source, i.reject, i.reject_detail) for i in items[1:]] == [
        (f"{FACES}#4", "unreadable", "2 columns, not 7"),
        (f"{FACES}#5", "unreadable", "8 columns, not 7"),
        (f"{FACES}#6", "unreadable", "no Freebase identity, or too long a one"),
        (f"{FACES}#7", "unreadable", "an identity that is no UTF-8"),
        (f"{FACES}#8", "unreadable", "no Freebase identity, or too long a one"),
        (f"{FACES}#9", "unreadable", "1 columns, not 7"),
    ]


def test_a_line_that_is_far_too_long_is_a_reject_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(msceleb, "MAX_LINE", 8_000)
    rows = [
        full_row(MS_CELEB[0], PICTURE),
        b"a" * 20_000 + b"\n",
        full_row(MS_CELEB[1], b"\xff\xd8"),
    ]
    items = listed(opened(table(tmp_path, *rows)))
    assert [item.reject_detail for item in items] == [None, "a line of 20001 bytes", None]


@pytest.mark.parametrize("hurt", [b"*", b"=", b"\t"])
def test_damaged_base64_is_unreadable(tmp_path, hurt):
    reader = opened(table(tmp_path, full_row(MS_CELEB[0], PICTURE), full_row(MS_CELEB[1], PICTURE)))
    items = list(reader.items())
    with (tmp_path / FACES).open("r+b") as file:
        file.seek(items[0].offset + 10)
        file.write(hurt)
    with pytest.raises(ItemError, match=r"3-FaceId-0: its base64 is damaged") as caught:
        reader.read(items[0])
    assert caught.value.reason == "unreadable"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert reader.read(items[1]) == PICTURE


def test_base64_of_an_impossible_length_is_unreadable(tmp_path):
    good = full_row(MS_CELEB[0], PICTURE)
    reader = opened(table(tmp_path, good, good.rstrip(b"=\n") + b"QUJDR"))
    item = list(reader.items())[1]
    if len(good.rsplit(b"\t", 1)[1].rstrip(b"=\n")) % 4 == 0:
        with pytest.raises(ItemError, match="its base64 is damaged"):
            reader.read(item)


def test_parts_are_one_table_in_the_order_of_their_names(tmp_path):
    reader = opened(ms_celeb_tsv(tmp_path))
    items = listed(reader)
    assert [item.source.split("#")[0][-9:] for item in items] == ["Part1.tsv"] * 2 + [
        "Part2.tsv"
    ] * 2
    assert reader.names() == {"m.0107_f": "Ann", "m.02x": "Bénédicte"}


def test_upright_and_plain_crops_side_by_side_are_refused(tmp_path):
    row = full_row(MS_CELEB[0], PICTURE)
    table(table(tmp_path, row), row, name="FaceImageCroppedWithOutAlignment.tsv")
    message = r"WithAlignment.tsv and FaceImageCroppedWithOutAlignment.tsv, which show the same"
    with pytest.raises(SourceError, match=message):
        next(opened(tmp_path).items())
    assert len(listed(opened(tmp_path / FACES))) == 1


@pytest.mark.parametrize("below", ["", "MS-Celeb-1M/"])
def test_the_table_and_its_names_are_found_in_the_folder_or_one_below(tmp_path, below):
    table(tmp_path, full_row(MS_CELEB[0], PICTURE), name=f"{below}faces.TSV")
    names = f"{below}MS-Celeb-1M_Top1M_MID2Name.tsv"
    write_files(
        tmp_path, {names: MID_NAMES + "no tab\n", "._faces.tsv": b"\0", "more.tsv": "a\tb\n"}
    )
    reader = opened(tmp_path)
    [item] = listed(reader)
    assert item.source == f"{below}faces.TSV#1/m.0107_f/3-FaceId-0"
    assert reader.names() == {"m.0107_f": "Ann"}
    assert reader.ignored() == {
        f"rows of {names.split('/')[-1]} that are no names": 1,
        "tables that hold no faces": 1,
        "desktop files": 1,
    }


def test_a_table_whose_name_is_no_utf_8_is_counted(tmp_path):
    row = full_row(MS_CELEB[0], PICTURE)
    table(tmp_path, row)
    (tmp_path / b"\xff.tsv".decode(errors="surrogateescape")).write_bytes(row)
    reader = opened(tmp_path)
    assert len(listed(reader)) == 1
    assert reader.ignored() == {"names that are no UTF-8": 1}


def test_unlabeled_faces_have_no_identity(tmp_path):
    reader = opened(table(tmp_path, full_row(MS_CELEB[0], PICTURE)), kind="unlabeled")
    assert [item.identity for item in listed(reader)] == [None]


def test_a_folder_without_a_table_says_what_was_looked_for(tmp_path):
    write_files(tmp_path, {"a.tsv": "a\tb\n", "b.txt": "x"})
    form = CardForm(reader="tsv")
    assert not TsvReader.fits(tmp_path, Card(name="m", kind="labeled", forms=(form,)).form("tsv"))
    with pytest.raises(SourceError, match=r"no table of faces was found; expected MS-Celeb-1M's"):
        next(opened(tmp_path).items())


def test_a_table_that_leads_out_of_the_folder_is_not_read(tmp_path):
    table(tmp_path / "other", full_row(MS_CELEB[0], PICTURE))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / FACES).symlink_to(tmp_path / "other" / FACES)
    with pytest.raises(SourceError, match=r"no table of faces was found"):
        next(opened(tmp_path / "raw").items())


def test_a_table_that_is_gone_is_no_fault_of_its_lines(tmp_path):
    reader = opened(table(tmp_path, full_row(MS_CELEB[0], PICTURE)))
    [item] = listed(reader)
    (tmp_path / FACES).unlink()
    for each in (reader, opened(tmp_path)):  # a worker opens it anew
        with pytest.raises(SourceError, match=re.escape(f"{FACES}: is not there any more; see")):
            each.read(item)


def test_spaces_after_the_picture_and_a_byte_order_mark_are_no_part_of_the_face(tmp_path):
    rows = [full_row(face, draw_jpeg(n)) for n, face in enumerate(MS_CELEB)]
    spaced = [row.rstrip(b"\n") + b"  \r\n" for row in rows]
    reader = opened(table(tmp_path, b"\xef\xbb\xbf", *spaced))
    items = listed(reader)
    assert [item.identity for item in items] == ["m.0107_f"] * 3 + ["m.02x"]
    assert [reader.read(item) for item in items] == [draw_jpeg(n) for n in range(4)]


def test_what_lies_beside_the_tables_is_counted(tmp_path):
    table(tmp_path, full_row(MS_CELEB[0], PICTURE))
    beside = {
        "faces.part01.tsv.gz": b"x",
        "a/b/deep.tsv": b"x",
        ".DS_Store": b"",
        "words.tsv": "a\tb\n",
    }
    write_files(tmp_path, {**beside, "Top1M_MidList.Name.tsv": MID_NAMES})
    reader = opened(tmp_path)
    assert len(listed(reader)) == 1
    assert reader.ignored() == {
        "files beside the tables": 1, "desktop files": 1, "tables that hold no faces": 2
    }  # fmt: skip
    assert opened(tmp_path / FACES).ignored() == {}
