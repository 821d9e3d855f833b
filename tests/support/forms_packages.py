"""Verification packs and IJB packages."""

import pickle
from collections.abc import Callable
from pathlib import Path

from support.forms import FormCase, face_landmarks, face_photo
from support.raw import draw_jpeg, write_files

from fusekit.store.sql import query

PAIRS = 10


def write_pair_bin(path: Path, pairs: int = PAIRS, protocol: int = 4) -> Path:
    """A pack as InsightFace's tools write it: drawn crops, every other pair of one person."""
    images = [draw_jpeg(seed) for seed in range(2 * pairs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((images, [i % 2 == 0 for i in range(pairs)]), protocol))
    return path


def ijb_package(root: Path, release: str) -> Path:
    """IJB-B or IJB-C: five crops of three templates and two people; crop 5 is not there.

    Args:
        root: Where ``loose_crop`` and ``meta`` go.
        release: ``ijbb`` or ``ijbc``.
    """
    galleries = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}[release]
    rows = [(1, 1, 69544), (2, 1, 69545), (3, 11065, 7), (4, 187955, 7), (5, 187955, 111105)]
    points = {n: " ".join(map(str, face_landmarks(n))) for n, _, _ in rows}
    head = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n"
    return write_files(root, {
        **{f"loose_crop/{n}.jpg": face_photo(n) for n in (1, 2, 3, 4, 9)},
        f"meta/{release}_face_tid_mid.txt": "".join(f"{n}.jpg {t} {m}\n" for n, t, m in rows),
        f"meta/{release}_name_5pts_score.txt": "".join(
            f"{n}.jpg {points[n]} 0.{90 + n}\n" for n, _, _ in rows
        ),
        f"meta/{release}_template_pair_label.txt": "1 11065 1\n1 187955 0\n",
        f"meta/{release}_1N_gallery_{galleries[0]}.csv": f"{head}1,20,a.jpg\n1,20,b.jpg\n",
        f"meta/{release}_1N_gallery_{galleries[1]}.csv": f"{head}187955,3,c.jpg\n",
        f"meta/{release}_1N_probe_mixed.csv": f"{head}11065,20,d.jpg\n",
    })  # fmt: skip


def _bin(name: str, dataset: str, *others: str) -> FormCase:
    def build(raw: Path) -> Path:
        for other in others:
            write_pair_bin(raw / other, pairs=2)
        write_pair_bin(raw / name, protocol=2)
        return raw

    def check(store: Path) -> None:
        rows = query("SELECT * FROM pairs", store).to_pylist()
        assert [row["fold"] for row in rows] == list(range(1, PAIRS + 1))
        assert [row["same"] for row in rows] == [i % 2 == 0 for i in range(PAIRS)]
        assert {row["dataset"] for row in rows} == {dataset}
        keys = {key for row in rows for key in (row["key_a"], row["key_b"])}
        samples = query("SELECT key, source FROM samples", store).to_pylist()
        assert keys == {row["key"] for row in samples}
        assert {row["source"] for row in samples} == {f"{name}#{i}" for i in range(2 * PAIRS)}

    return FormCase(build, 2 * PAIRS, (), tables={"pairs": PAIRS}, check=check)


def _ijb(release: str, place: str) -> FormCase:
    def check(store: Path) -> None:
        rows = query("SELECT template, media, key IS NULL AS gone, score FROM templates", store)
        assert [row["template"] for row in rows.to_pylist()] == [1, 1, 11065, 187955, 187955]
        assert [row["gone"] for row in rows.to_pylist()] == [False] * 4 + [True]
        assert rows["media"].to_pylist() == ["69544", "69545", "7", "7", "111105"]
        assert [round(score, 2) for score in rows["score"].to_pylist()] == [
            0.91, 0.92, 0.93, 0.94, 0.95,
        ]  # fmt: skip
        pairs = query("SELECT template_a, template_b, same FROM template_pairs", store).to_pylist()
        assert [tuple(row.values()) for row in pairs] == [(1, 11065, True), (1, 187955, False)]
        searches = query("SELECT list, template, subject FROM searches", store).to_pylist()
        assert [tuple(row.values()) for row in searches] == [
            ("gallery-1", 1, "20"), ("gallery-2", 187955, "3"), ("probe", 11065, "20"),
        ]  # fmt: skip
        samples = query("SELECT identity, hint_iou FROM samples ORDER BY source", store).to_pylist()
        assert [row["identity"] for row in samples] == ["20", "20", "20", "3"]
        assert min(row["hint_iou"] for row in samples) > 0.5

    return FormCase(
        build=_package(release, place), items=6, identities=("20", "3"),
        rejects={"missing": 1, "unlisted": 1},
        tables={"templates": 5, "template_pairs": 2, "searches": 3}, check=check,
    )  # fmt: skip


def _package(release: str, place: str) -> Callable[[Path], Path]:
    def build(raw: Path) -> Path:
        ijb_package(raw / place, release)
        return raw

    return build


FORMS = {
    ("ijb-b", "package"): _ijb("ijbb", "IJBB"),
    ("ijb-c", "package"): _ijb("ijbc", "IJB_release/IJBC"),
    ("vgg2-fp", "bin"): _bin("vgg2_fp.bin", "vgg2-fp"),
    # A training pack of InsightFace holds several of them.
    ("lfw", "bin"): _bin("lfw.bin", "lfw", "agedb_30.bin", "cfp_fp.bin"),
    ("cfp-fp", "bin"): _bin("cfp_fp.bin", "cfp-fp", "lfw.bin"),
    ("cfp-ff", "bin"): _bin("cfp_ff.bin", "cfp-ff"),
    ("agedb-30", "bin"): _bin("agedb_30.bin", "agedb-30"),
    ("calfw", "bin"): _bin("calfw.bin", "calfw"),
    ("cplfw", "bin"): _bin("cplfw.bin", "cplfw"),
}
