"""What users say of an ingest beyond its defaults: landmarks, order, options, published figures."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.forms import face_landmarks, face_photo
from support.raw import record_pack, write_files, write_pictures
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.errors import CardError, FingerprintError, UsageError
from fusekit.faces.align import align_face
from fusekit.faces.image import decode_image, encode_crop
from fusekit.ingest.dataset import ingest_dataset
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store


def vggface2_with_points(root, points=None):
    """Three pictures of one person, two of them with landmarks in the release's table."""
    names = ["0001_01", "0002_01", "0003_01"]
    write_files(root, {f"train/n000001/{n}.jpg": face_photo(0) for n in names})
    marks = ",".join(map(str, points or face_landmarks(0)))
    rows = "".join(f'"n000001/{n}",{marks}\n' for n in names[:2])
    head = "NAME_ID," + ",".join(f"P{i}{a}" for i in range(1, 6) for a in "XY") + "\n"
    return write_files(root, {"bb_landmark/loose_landmark_train.csv": head + rows})


def rows_of(store, name):
    info = open_dataset(open_store(store), name)
    return [row for file in info.files for row in pq.read_table(store / file).to_pylist()]


def test_given_landmarks_place_the_face_and_nothing_is_detected(tmp_path):
    raw = vggface2_with_points(tmp_path / "raw")
    store = tmp_path / "s"
    result = ingest_dataset("vggface2", raw=raw, store=store, workers=0, landmarks="given")
    assert (result.kept, result.rejects) == (2, {"no_landmarks": 1})
    row = rows_of(store, "vggface2")[0]
    assert row["landmarks"] == pytest.approx(face_landmarks(0), abs=1e-3)
    assert (row["det_score"], row["bbox"], row["face_count"]) == (None, None, -1)
    shard = (store / "datasets/vggface2/shards" / row["shard"]).read_bytes()
    crop = align_face(decode_image(face_photo(0), "a"), np.array(face_landmarks(0)).reshape(5, 2))
    stored = shard[row["offset"] : row["offset"] + row["length"]]
    assert stored == encode_crop(crop, "jpg", 95)


@pytest.mark.parametrize("dry_run", [True, False])
def test_landmarks_that_nothing_gives_are_refused_and_leave_nothing(tmp_path, dry_run):
    write_pictures(tmp_path / "raw", "anna/1.jpg", "bert/1.jpg")
    store = tmp_path / "s"
    with pytest.raises(UsageError, match=r"^--landmarks: no item of the form 'folders' comes"):
        ingest_dataset(
            "folders", raw=tmp_path / "raw", store=store, landmarks="given", dry_run=dry_run
        )
    assert not (store / "datasets/folders").exists()


def test_given_landmarks_that_are_no_face_are_rejected(tmp_path):
    raw = vggface2_with_points(tmp_path / "raw", points=[5.0] * 10)
    result = ingest_dataset("vggface2", raw=raw, store=tmp_path / "s", workers=0, landmarks="given")
    assert result.rejects == {"face_too_small": 2, "no_landmarks": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "retinaface-mnet025"}, "--detector: nothing is detected with --landmarks gi"),
        ({"min_score": 0.5}, "--min-score: nothing is detected with --landmarks given"),
        ({"faces": "all"}, "--faces: nothing is detected with --landmarks given"),
        ({"order": "any"}, "--order: 'any'; expected random or source"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(tmp_path, options, message):
    raw = vggface2_with_points(tmp_path / "raw")
    with pytest.raises(UsageError, match=f"^{message}"):
        ingest_dataset("vggface2", raw=raw, store=tmp_path / "s", landmarks="given", **options)


def test_landmarks_can_be_given_for_pictures_only(tmp_path):
    with pytest.raises(UsageError, match=r"^--landmarks: the form 'recordio' holds aligned crops"):
        ingest_dataset(
            "recordio", raw=record_pack(tmp_path / "raw"), store=tmp_path / "s", landmarks="given"
        )


def test_other_landmarks_and_orders_are_other_settings(tmp_path):
    raw = record_pack(tmp_path / "raw")
    ingest_dataset("recordio", raw=raw, store=tmp_path / "s", workers=0)
    with pytest.raises(FingerprintError, match="order: 'source', was 'random'"):
        ingest_dataset("recordio", raw=raw, store=tmp_path / "s", workers=0, order="source")


def test_an_option_of_the_reader_goes_over_the_card_s(tmp_path):
    write_pictures(tmp_path / "raw", "p_anna/1.jpg", "p_bert/1.jpg")
    plain = ingest_dataset("folders", raw=tmp_path / "raw", store=tmp_path / "s", dry_run=True)
    assert plain.identities == 2
    options = {"strip_prefix": "p_"}
    result = ingest_dataset(
        "folders", raw=tmp_path / "raw", store=tmp_path / "s", workers=0, options=options
    )
    assert result.items == 2
    people = pq.read_table(tmp_path / "s/datasets/folders/plan/identities.parquet").to_pylist()
    assert [row["identity"] for row in people] == ["anna", "bert"]
    with pytest.raises(CardError, match="unknown key 'strip_prefixx'; did you mean 'strip_prefix'"):
        ingest_dataset("folders", raw=tmp_path / "raw", options={"strip_prefixx": "p_"})


def test_finished_crops_in_plain_folders_pass_through_when_told(tmp_path):
    write_pictures(tmp_path / "raw", "anna/1.jpg", "anna/2.jpg", "bert/1.jpg")
    store = tmp_path / "s"
    result = ingest_dataset("folders", raw=tmp_path / "raw", store=store, workers=0, aligned=True)
    assert (result.kept, result.colours["images"]) == (3, 3)
    for row in rows_of(store, "folders"):
        shard = (store / "datasets/folders/shards" / row["shard"]).read_bytes()
        stored = shard[row["offset"] : row["offset"] + row["length"]]
        assert stored == (tmp_path / "raw" / row["source"]).read_bytes()
    with pytest.raises(FingerprintError, match="folders: was begun with other inputs or settings"):
        ingest_dataset("folders", raw=tmp_path / "raw", store=store, workers=0)


def test_what_is_here_is_compared_with_what_was_published(tmp_path):
    result = ingest_dataset(
        "pinsface", raw=record_pack(tmp_path / "raw"), store=tmp_path / "s", workers=0
    )
    assert result.figures == {
        "identities": {"here": 3, "published": 105, "difference": -102},
        "images": {"here": 6, "published": 17_534, "difference": -17_528},
    }
    rehearsed = ingest_dataset("pinsface", raw=tmp_path / "raw", dry_run=True)
    assert rehearsed.figures == result.figures


def test_the_command_shows_form_figures_and_takes_every_option(tmp_path):
    raw = str(record_pack(tmp_path / "raw"))
    words = ["ingest", "pinsface", "--from", raw, "--store", str(tmp_path / "s"), "--workers", "0"]
    shown = CliRunner().invoke(app, [*words, "--order", "source"])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0][:3] == ["dataset", "form", "items"]
    assert lines[2][:3] == ["pinsface", "recordio", "6"]
    assert ["here", "published", "difference"] in lines
    assert ["identities", "3", "105", "-102"] in lines
    about = json.loads(CliRunner().invoke(app, [*words, "--order", "source", "--json"]).stdout)
    assert about["form"] == "recordio"
    refused = CliRunner().invoke(app, [*words, "--option", "x"])
    assert str(refused.exception).startswith("--option: 'x'; expected NAME=VALUE")
