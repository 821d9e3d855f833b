"""The evaluation sets that lie as trees, laid out as released, a few people and pairs of each."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
import simplejpeg
from support.forms import FormCase, face_landmarks, face_photo
from support.raw import draw_jpeg, write_files

from fusekit.faces.image import decode_image, encode_crop

#: Person to number of pictures, as LFW names both.
LFW = {"Aaron_Peirsol": 4, "Zurab_Tsereteli": 1, "Jean-Pierre_Raffarin": 2}
#: Two folds of one matched and one mismatched pair; the last names a picture that is not there.
LFW_PAIRS = (
    "2\t1\nAaron_Peirsol\t1\t2\nAaron_Peirsol\t1\tZurab_Tsereteli\t1\n"
    "Aaron_Peirsol\t3\t4\nJean-Pierre_Raffarin\t2\tZurab_Tsereteli\t7\n"
)


def lfw_tree(
    root: Path, folder: str, suffix: str = "jpg", draw: Callable[[int], bytes] = face_photo
) -> Path:
    """LFW's person folders under ``folder``."""
    names = [f"{p}/{p}_{n:04}" for p, count in LFW.items() for n in range(1, count + 1)]
    return write_files(
        root, {f"{folder}/{name}.{suffix}": draw(seed) for seed, name in enumerate(names)}
    )


def lfw_release(root: Path) -> Path:
    """scikit-learn's ``lfw_home``: funneled folders with stray lists, both views' pairs, points."""
    lfw_tree(root, "lfw_funneled")
    points = " ".join(str(round(p)) for p in face_landmarks(0)).replace(" ", "\t")
    return write_files(root, {
        "lfw_funneled/pairs_01.txt": "300\n",
        "pairs.txt": LFW_PAIRS,
        "pairsDevTrain.txt": "1\nAaron_Peirsol\t1\t2\nAaron_Peirsol\t1\tZurab_Tsereteli\t1\n",
        "pairsDevTest.txt": "1\nAaron_Peirsol\t1\t3\nAaron_Peirsol\t4\tZurab_Tsereteli\t1\n",
        "people.txt": "1\n2\nAaron_Peirsol\t4\nZurab_Tsereteli\t1\n",
        "lfw_landmark.txt": f"Aaron_Peirsol/Aaron_Peirsol_0001.jpg\t{points}\n",
    })  # fmt: skip


def lfw_crops(root: Path) -> Path:
    """Aligned crops as PNG with the list of pairs beside their folder."""
    lfw_tree(root, "lfw_112x112", "png", lambda seed: draw_png(seed, 112, 112))
    return write_files(root, {"lfw_pairs.txt": LFW_PAIRS})


def lfw_narrow_crops(root: Path) -> Path:
    """SphereFace's crops, 96 wide and 112 high."""
    lfw_tree(root, "lfw_112x96", draw=lambda seed: draw_crop(seed, 96, 112))
    return write_files(root, {"pairs.txt": LFW_PAIRS})


def draw_crop(seed: int, width: int, height: int) -> bytes:
    """A drawn JPEG of this size."""
    picture = decode_image(draw_jpeg(seed, max(width, height)), "drawn")[:height, :width]
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=95)


def draw_png(seed: int, width: int, height: int) -> bytes:
    """A drawn PNG of this size."""
    return encode_crop(decode_image(draw_crop(seed, width, height), "drawn"), "png")


def cfp_release(root: Path) -> Path:
    """CFP nested twice, as a copy has it: three people, two frontal and one profile picture each.

    Picture 001/profile/01 is not there; the second fold has one pair more.
    """
    people, base = ("001", "002", "003"), "cfp-dataset/cfp-dataset"
    frontal = [f"{p}/frontal/0{n}.jpg" for p in people for n in (1, 2)]
    profile = [f"{p}/profile/01.jpg" for p in people]
    files: dict[str, bytes | str] = {
        f"{base}/Data/Images/{name}": face_photo(seed)
        for seed, name in enumerate([*frontal, *profile[1:]])
    }
    files |= {f"{base}/Data/Fiducials/{name[:-4]}.txt": "1,2\n" * 30 for name in frontal}
    files[f"{base}/Data/list_names.txt"] = "50 Cent\nAaron Hernandez\nZoé Saldaña\n"
    for letter, names in (("F", frontal), ("P", profile)):
        rows = [f"{n} ../Data/Images/{name}\n" for n, name in enumerate(names, 1)]
        files[f"{base}/Protocol/Pair_list_{letter}.txt"] = "".join(rows)
    for split, same, diff in (("FF", "1,2\n", "1,3\n"), ("FP", "1,1\n", "1,2\n")):
        for fold in ("01", "02"):
            files[f"{base}/Protocol/Split/{split}/{fold}/same.txt"] = same
            files[f"{base}/Protocol/Split/{split}/{fold}/diff.txt"] = diff
        files[f"{base}/Protocol/Split/{split}/02/diff.txt"] = diff + "5,2\n"
    return write_files(root, files)


#: Stems as the protocol package of AgeDB names pictures: person first, five tokens at least.
AGEDB = ("MariaCallas_x_0_35_f", "MariaCallas_x_1_70_f", "AlPacino_x_y_2_40_m")
AGEDB_AGES = (35, 70, 40)
AGEDB_RELEASED = ("0_MariaCallas_35_f.jpg", "1_MariaCallas_70_f.jpg", "2_AlPacino_40_m.jpg")


def agedb_mat(
    folds: Sequence[Sequence[tuple[int, int, int]]],
    stems: Sequence[str] = AGEDB,
    *,
    compress: bool = False,
) -> bytes:
    """AgeDB's protocol: a fold is rows of two pictures' places in ``stems`` and 1 or -1."""
    splits = np.empty((len(folds), 1), object)
    for at, rows in enumerate(folds):
        cells = np.empty((2, len(rows)), object)
        for column, (a, b, _) in enumerate(rows):
            for row, picture in enumerate((a, b)):
                age = AGEDB_AGES[picture % len(AGEDB_AGES)]
                cells[row, column] = {"name": stems[picture], "age": float(age)}
        labels = np.array([[label for *_, label in rows]], float)
        splits[at, 0] = {"pairs": cells, "labels": labels}
    file = io.BytesIO()
    scipy.io.savemat(file, {"about": "AgeDB", "splits": splits}, do_compression=compress)
    return file.getvalue()


AGEDB_FOLDS = (((0, 1, 1), (0, 2, -1)), ((1, 0, 1), (1, 2, -1)))


def pts(seed: int) -> str:
    """68 points of ``face_photo(seed)``, all of a part on that part's one known point."""
    five = np.reshape(face_landmarks(seed), (5, 2))
    points = np.repeat(five[[2]], 68, axis=0)
    points[36:42], points[42:48], points[48], points[54] = five[0], five[1], five[3], five[4]
    rows = "".join(f"{x} {y}\n" for x, y in points)
    return f"version: 1\nn_points: 68\n{{\n{rows}}}\n"


def agedb_package(root: Path) -> Path:
    """The protocol package alone: pictures with their points, and the MAT file."""
    files: dict[str, bytes | str] = {}
    for seed, stem in enumerate(AGEDB):
        files[f"AgeDB-protocols/03_Protocol_Images/{stem}.jpg"] = face_photo(seed)
        files[f"AgeDB-protocols/03_Protocol_Images/{stem}.pts"] = pts(seed)
    mat = agedb_mat(AGEDB_FOLDS, compress=True)
    return write_files(root, {**files, "AgeDB-protocols/04_FINAL_protocol_30_years.mat": mat})


def agedb_release(root: Path) -> Path:
    """The flat zip's folder with the MAT file beside it."""
    files: dict[str, bytes | str] = {
        f"AgeDB/{name}": face_photo(seed) for seed, name in enumerate(AGEDB_RELEASED)
    }
    return write_files(root, {**files, "04_FINAL_protocol_30_years.mat": agedb_mat(AGEDB_FOLDS)})


def five_rows(seed: int) -> str:
    """Five rows ``x y`` of ``face_photo(seed)``."""
    return "".join(f"{x} {y}\n" for x, y in np.reshape(face_landmarks(seed), (5, 2)))


def calfw_release(root: Path) -> Path:
    """CALFW: the doubled folder with an ``&``, points beside the pictures' folder, crops aside."""
    inner = "calfw/images&landmarks/images&landmarks"
    names = ("Aaron_Eckhart_0001", "Aaron_Eckhart_0002", "Zhu_Rongji_0001")
    files: dict[str, bytes | str] = {}
    for seed, name in enumerate(names):
        files[f"{inner}/images/{name}.jpg"] = face_photo(seed)
        files[f"{inner}/CA_landmarks/{name}_5loc_attri.txt"] = five_rows(seed)
        files[f"calfw/aligned images/{name}.jpg"] = draw_jpeg(seed)
    files["calfw/pairs_CALFW.txt"] = (
        f"{names[0]}.jpg 1\n{names[1]}.jpg 1\n{names[1]}.jpg 2\n{names[0]}.jpg 2\n"
        f"{names[0]}.jpg 0\n{names[2]}.jpg 0\nZhu_Rongji_0009.jpg 0\n{names[1]}.jpg 0\n"
    )
    return write_files(root, files)


def cplfw_release(root: Path) -> Path:
    """CPLFW: numbers without zeros, points beside the pictures, tokens 1 and 0."""
    names = ("Aaron_Eckhart_1", "Aaron_Eckhart_2", "Zhu_Rongji_1")
    files: dict[str, bytes | str] = {}
    for seed, name in enumerate(names):
        files[f"cplfw/images/{name}.jpg"] = face_photo(seed)
        files[f"cplfw/images/{name}_5loc_attri.txt"] = five_rows(seed)
    rows = [f"{names[0]}.jpg 1\n{names[1]}.jpg 1\n"] * 10
    rows += [f"{names[0]}.jpg 0\n{names[2]}.jpg 0\n"] * 10
    return write_files(root, {**files, "cplfw/pairs_CPLFW.txt": "".join(rows)})


def rfw_release(root: Path) -> Path:
    """RFW: two people of two pictures in each group, lists under ``txts``."""
    files: dict[str, bytes | str] = {}
    for group, mids in RFW.items():
        pairs, points = "", ""
        for at, mid in enumerate(mids):
            for n in (1, 2):
                name = f"{group}/{mid}/{mid}_{n:04}.jpg"
                files[f"images/test/data/{name}"] = face_photo(at)
                five = "\t".join(map(str, face_landmarks(at)))
                points += f"/test/data/{name}\t{at}\t{five}\n"
            pairs += f"{mid}\t1\t2\n"
        pairs += f"{mids[0]}\t1\t{mids[1]}\t2\n{mids[1]}\t1\t{mids[0]}\t1\n"
        files[f"images/test/txts/{group}/{group}_pairs.txt"] = pairs
        files[f"images/test/txts/{group}/{group}_lmk.txt"] = points
        files[f"images/test/txts/{group}/{group}_people.txt"] = "".join(f"{m}\t2\n" for m in mids)
    return write_files(root, files)


RFW: Mapping[str, tuple[str, str]] = {
    "African": ("m.0100", "m.0101"),
    "Asian": ("m.0200", "m.0201"),
    "Caucasian": ("m.0300", "m.0100"),  # a person of two groups
    "Indian": ("m.0400", "m.0401"),
}

_CFP_NAMES = {"001": "50 Cent", "003": "Zoé Saldaña"}
FORMS = {
    ("lfw", "originals"): FormCase(
        lfw_release, 8, tuple(LFW), rejects={"missing": 1}, tables={"pairs": 8}
    ),
    ("lfw", "aligned"): FormCase(
        lfw_crops, 8, tuple(LFW), rejects={"missing": 1}, tables={"pairs": 4}
    ),
    ("lfw", "aligned-96x112"): FormCase(
        lfw_narrow_crops, 8, tuple(LFW), rejects={"missing": 1}, tables={"pairs": 4}
    ),
    ("cfp-fp", "originals"): FormCase(
        cfp_release, 9, ("001", "002", "003"), rejects={"missing": 1}, names=_CFP_NAMES,
        splits={"frontal": 6, "profile": 2}, tables={"pairs": 5},
    ),
    ("cfp-ff", "originals"): FormCase(
        cfp_release, 6, ("001", "002", "003"), names=_CFP_NAMES, splits={"frontal": 6},
        tables={"pairs": 5},
    ),
    ("agedb-30", "originals"): FormCase(
        agedb_package, 3, ("MariaCallas", "AlPacino"), tables={"pairs": 4}
    ),
    ("calfw", "originals"): FormCase(
        calfw_release, 4, ("Aaron_Eckhart", "Zhu_Rongji"), rejects={"missing": 1},
        tables={"pairs": 4},
    ),
    ("cplfw", "originals"): FormCase(
        cplfw_release, 3, ("Aaron_Eckhart", "Zhu_Rongji"), tables={"pairs": 20}
    ),
    ("rfw", "originals"): FormCase(
        rfw_release, 16, tuple({mid for mids in RFW.values() for mid in mids}),
        splits={"african": 4, "asian": 4, "caucasian": 4, "indian": 4}, tables={"pairs": 16},
    ),
}  # fmt: skip
