"""Real public sets, or parts of them, ingested end to end with their counts asserted."""

import shutil

import pyarrow.parquet as pq
import pytest

import fusekit
from fusekit.ingest.dataset import ingest_dataset
from fusekit.report.verify import verify_store

pytestmark = [pytest.mark.shared, pytest.mark.network]


def ingest(card, raw, tmp_path, **arguments):
    store = tmp_path / "store"
    result = ingest_dataset(card, raw=raw, store=store, workers=0, **arguments)
    assert result.items == result.kept + result.rejected
    assert not verify_store(store).problems
    return result, store


def query(store, sql):
    return [tuple(row.values()) for row in fusekit.query(sql, store=store).to_pylist()]


# Every face of these sets is found: each picture is kept.
@pytest.mark.parametrize(
    ("card", "folder", "form", "images", "people"),
    [
        ("pinsface", "pins", "folders", 768, 24),
        ("vggface2", "vggface2", "folders", 32, 3),
        ("14-celebrity", "five_celebs", "folders", 118, 5),
        ("deepglint", "glint_rec", "recordio", 560, 14),
        ("pinsface", "lab/faces_pins_112x112", "recordio", 10_479, 105),
        ("celeba", "lab/faces_celeba299_112x112", "recordio", 6_299, 299),
    ],
)
def test_a_training_set_keeps_every_picture(shared, tmp_path, card, folder, form, images, people):
    result, _ = ingest(card, shared / "faces" / folder, tmp_path)
    assert (result.form, result.items, result.kept) == (form, images, images)
    assert (result.identities, result.samples) == (people, images)
    assert result.colours is None or not result.colours["swapped"]


def test_celeba_keeps_every_picture_of_the_people_of_its_identity_file(shared, tmp_path):
    result, store = ingest("celeba", shared / "faces/celeba", tmp_path)
    assert (result.form, result.items, result.kept, result.identities) == ("wild", 308, 308, 28)
    rows = (shared / "faces/celeba/Anno/identity_CelebA.txt").read_text().split()
    named = dict(zip(rows[::2], rows[1::2], strict=True))
    stored = query(store, "SELECT source, identity FROM samples")
    assert {source.rpartition("/")[2]: identity for source, identity in stored} == named


def test_lfw_as_originals_keeps_its_300_pairs(shared, tmp_path):
    result, store = ingest("lfw", shared / "faces/lfw", tmp_path)
    assert result.kept == result.items
    assert result.protocol == {"pairs": 300}
    assert query(store, "SELECT count(*), count(key_a), count(key_b) FROM pairs") == [(300,) * 3]
    people = query(
        store,
        "SELECT p.same, count(*) FROM pairs p JOIN samples a ON a.key = p.key_a "
        "JOIN samples b ON b.key = p.key_b WHERE p.same = (a.identity = b.identity) "
        "GROUP BY p.same ORDER BY p.same",
    )
    assert sum(count for _, count in people) == 300


def test_lfw_s_6000_aligned_pairs_are_stored_in_ten_folds(shared, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(shared / "faces/lab/lfw_112x112", raw / "lfw")
    (raw / "pairs.txt").write_bytes((shared / "faces/lab/lfw_pairs.txt").read_bytes())
    result, store = ingest("lfw", raw, tmp_path)
    assert (result.form, result.kept, result.identities) == ("aligned", 7_701, 4_281)
    folds = query(store, "SELECT fold, same, count(*) FROM pairs GROUP BY ALL ORDER BY ALL")
    assert folds == [(fold, same, 300) for fold in range(1, 11) for same in (False, True)]


def test_the_verification_pickle_of_lfw_is_300_pairs(shared, tmp_path):
    raw = shared / "faces/lfw/lfw_small.bin"
    result, store = ingest("lfw", raw, tmp_path)
    assert (result.form, result.items) == ("bin", 600)
    assert result.protocol == {"pairs": 300}
    assert query(store, "SELECT count(*), count(DISTINCT fold) FROM pairs") == [(300, 10)]


@pytest.mark.parametrize("protocol", ["fp", "ff"])
def test_cfp_s_real_protocol_stays_whole_where_every_image_is_a_text_file(
    shared, tmp_path, protocol
):
    result, store = ingest(f"cfp-{protocol}", shared / "faces/cfp_protocol", tmp_path)
    assert result.kept == 0
    assert set(result.rejects) <= {"not_an_image", "missing"}
    folds = query(store, "SELECT fold, same, count(*) FROM pairs GROUP BY ALL ORDER BY ALL")
    assert folds == [(fold, same, 350) for fold in range(1, 11) for same in (False, True)]
    assert query(store, "SELECT count(key_a), count(key_b) FROM pairs") == [(0, 0)]


def test_a_crawl_gives_every_face_of_its_pictures(shared, tmp_path):
    result, store = ingest("unlabeled", shared / "faces/unlabeled_deepface", tmp_path)
    assert result.form == "unlabeled"
    assert result.samples >= result.kept > 25
    assert query(store, "SELECT count(DISTINCT media) FROM samples") == [(1,)]


def test_frames_of_real_clips_know_their_video_and_time(shared, tmp_path):
    result, store = ingest("unlabeled", shared / "faces/video", tmp_path, form="video")
    assert result.samples > 10
    media = query(store, "SELECT DISTINCT media, video FROM samples ORDER BY video")
    assert media == [
        ("video", "friends_in_video.mp4"),
        ("video", "short_hamilton_clip.mp4"),
    ]
    (least, most) = query(store, "SELECT min(time_ms), max(time_ms) FROM samples")[0]
    assert 0 <= least < most
    part = pq.read_table(store / "datasets/unlabeled/samples-000000.parquet")
    assert part["frame"].null_count == 0
