import multiprocessing
import pickle
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from support.onnx_models import constant_model
from support.photos import ASTRONAUT, PORTRAIT, SIX_PEOPLE
from support.verification import read_pairs, verify

from fusekit.errors import ModelError
from fusekit.faces.align import align_face
from fusekit.faces.choose import choose_face
from fusekit.faces.detect import DetectionSettings, FaceDetector, Faces, open_detector
from fusekit.faces.embed import open_embedder
from fusekit.faces.image import decode_image
from fusekit.faces.quality import eye_distance
from fusekit.faces.template import ARCFACE_112
from fusekit.models.registry import resolve_model

ONE_LOOK = DetectionSettings(shortest=1, again_below=0, again_above=1e9)


def _photo(path):
    return decode_image(path.read_bytes(), path.name)


def _same(a: Faces, b: Faces):
    return all(
        np.array_equal(x, y)
        for x, y in ((a.boxes, b.boxes), (a.scores, b.scores), (a.landmarks, b.landmarks))
    )


def _priors(side):
    """Priors of a square input, one by one: centre x, centre y, length."""
    out = []
    for stride, lengths in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(side // stride):
            for column in range(side // stride):
                out += [((column + 0.5) * stride, (row + 0.5) * stride, n) for n in lengths]
    return np.array(out)


def _drawn_retinaface(path, faces, *, logits=False, side=256, order=("loc", "conf", "landmarks")):
    """A model in RetinaFace's layout that "finds" the given faces in any 256x256 picture.

    faces: (box, score, landmarks) in pixels.
    """
    priors = _priors(side)
    loc, marks = np.zeros((1, len(priors), 4)), np.zeros((1, len(priors), 10))
    face = np.zeros(len(priors))
    for box, score, points in faces:
        box, points = np.array(box, float), np.array(points, float)
        centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        i = int(np.abs(priors[:, :2] - centre).sum(axis=1).argmin())
        x, y, length = priors[i]
        loc[0, i] = [*(centre - [x, y]) / length / 0.1, *np.log(sides / length) / 0.2]
        marks[0, i] = ((points - [x, y]) / length / 0.1).ravel()
        face[i] = score
    conf = np.stack([1 - face, face], axis=1)[None]
    if logits:
        conf = np.log(np.clip(conf, 1e-6, 1)) + 5
    arrays = {"loc": loc, "conf": conf, "landmarks": marks}
    return constant_model(path, [(name, arrays[name]) for name in order])


def _open(path, settings=ONE_LOOK):
    return open_detector(resolve_model(str(path), "detect"), settings)


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("order", [("loc", "conf", "landmarks"), ("landmarks", "loc", "conf")])
def test_retinafaces_layout_is_decoded_whatever_its_order_and_last_layer(tmp_path, logits, order):
    points = ARCFACE_112 + 60
    path = _drawn_retinaface(
        tmp_path / "m.onnx", [([50, 40, 190, 200], 0.9, points)], logits=logits, order=order
    )
    faces = _open(path).detect(np.zeros((256, 256, 3), np.uint8))
    np.testing.assert_allclose(faces.boxes, [[50, 40, 190, 200]], atol=1e-3)
    np.testing.assert_allclose(faces.landmarks, [points], atol=1e-3)
    np.testing.assert_allclose(faces.scores, [0.9], atol=1e-5)


def test_faces_stand_left_to_right_then_top_to_bottom(tmp_path):
    boxes = [[150, 10, 190, 60], [20, 150, 70, 200], [20, 10, 70, 60]]
    faces = [(box, 0.8 + 0.05 * i, ARCFACE_112) for i, box in enumerate(boxes)]
    found = _open(_drawn_retinaface(tmp_path / "m.onnx", faces)).detect(
        np.zeros((256, 256, 3), np.uint8)
    )
    np.testing.assert_allclose(found.boxes, [boxes[2], boxes[1], boxes[0]], atol=1e-3)


def test_faces_under_the_floor_are_not_reported(tmp_path):
    faces = [([20, 20, 70, 80], 0.49, ARCFACE_112), ([150, 20, 200, 80], 0.51, ARCFACE_112)]
    path = _drawn_retinaface(tmp_path / "m.onnx", faces)
    image = np.zeros((256, 256, 3), np.uint8)
    assert len(_open(path).detect(image)) == 1
    assert len(_open(path, replace(ONE_LOOK, floor=0.2)).detect(image)) == 2
    assert len(_open(path, replace(ONE_LOOK, floor=0.6)).detect(image)) == 0


def test_coordinates_are_those_of_the_picture_and_not_of_the_network(tmp_path):
    path = _drawn_retinaface(tmp_path / "m.onnx", [([50, 40, 190, 200], 0.9, ARCFACE_112 + 60)])
    faces = _open(path, replace(ONE_LOOK, longest=256)).detect(np.zeros((1024, 1024, 3), np.uint8))
    np.testing.assert_allclose(faces.boxes, [[200, 160, 760, 800]], atol=1e-2)
    np.testing.assert_allclose(faces.landmarks, [(ARCFACE_112 + 60) * 4], atol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2000.0])
def test_a_face_without_finite_coordinates_is_no_face(tmp_path, bad):
    # exp(0.2 * 2000) is beyond float32
    path = _drawn_retinaface(tmp_path / "m.onnx", [([50, 40, 190, 200], 0.9, ARCFACE_112)])
    model = onnx.load(path)
    for node in model.graph.node:
        if node.output[0] == "loc":
            loc = onnx.numpy_helper.to_array(node.attribute[0].t).copy()
            loc[..., 2:] = bad
            node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(loc))
    onnx.save(model, path)
    assert len(_open(path).detect(np.zeros((256, 256, 3), np.uint8))) == 0


class _TwiceTheSame:
    """Sees two faces side by side in the whole picture, and one and the same in any part."""

    padding = (0, 0, 0)

    def candidates(self, image, floor):
        boxes = [[40, 40, 90, 100], [75, 40, 125, 100]]
        if image.shape[1] == 320:
            boxes = [[90, 80, 230, 240]]
        n = len(boxes)
        return np.array(boxes, np.float32), np.full(n, 0.9, np.float32), np.ones((n, 5, 2))


def test_two_faces_that_turn_out_to_be_one_are_one():
    image = np.zeros((256, 256, 3), np.uint8)
    once = FaceDetector(_TwiceTheSame(), None, ONE_LOOK)
    twice = FaceDetector(_TwiceTheSame(), None, replace(DetectionSettings(), max_overlap=0.15))
    assert len(once.detect(image)) == 2
    assert len(twice.detect(image)) == 1


@pytest.mark.parametrize("box", [[-300, -300, -250, -240], [900, 100, 950, 160], [0, 0, 1, 1e5]])
def test_a_face_that_a_network_sees_outside_the_picture_does_no_harm(box):
    class Outside:
        padding = (0, 0, 0)

        def candidates(self, image, floor):
            return np.array([box], np.float32), np.array([0.9], np.float32), np.ones((1, 5, 2))

    image = np.zeros((200, 256, 3), np.uint8)
    assert len(FaceDetector(Outside(), None, DetectionSettings()).detect(image)) == 1


def test_insightfaces_layout_is_decoded(tmp_path):
    side, outputs = 64, {}
    for stride in (8, 16, 32):
        count = 2 * (side // stride) ** 2
        outputs |= {
            f"score{stride}": np.zeros((1, count, 1)),
            f"box{stride}": np.zeros((1, count, 4)),
            f"points{stride}": np.zeros((1, count, 10)),
        }
    place = 2 * (2 * 4 + 1)  # stride 16: row 2, column 1, first anchor: x 16, y 32
    outputs["score16"][0, place] = 0.7
    outputs["box16"][0, place] = [0.5, 1, 1.5, 1.25]  # left, top, right, bottom
    outputs["points16"][0, place] = [-0.25, 0, 0.5, 0, 0.25, 0.25, 0, 0.5, 0.5, 0.5]
    named = [
        (f"{k}{s}", outputs[f"{k}{s}"]) for k in ("score", "box", "points") for s in (8, 16, 32)
    ]
    path = constant_model(tmp_path / "m.onnx", named, input_shape=(1, 3, side, side))
    faces = _open(path).detect(np.zeros((side, side, 3), np.uint8))
    np.testing.assert_allclose(faces.boxes, [[8, 16, 40, 52]])
    np.testing.assert_allclose(
        faces.landmarks, [[[12, 32], [24, 32], [20, 36], [16, 40], [24, 40]]]
    )
    np.testing.assert_allclose(faces.scores, [0.7], rtol=1e-6)


def test_a_layout_left_open_in_the_file_is_told_all_the_same(tmp_path):
    arrays = [
        ("a", np.zeros((1, 10, 4))),
        ("b", np.zeros((1, 10, 2))),
        ("c", np.zeros((1, 10, 10))),
    ]
    path = constant_model(tmp_path / "m.onnx", arrays, declared=False)
    assert resolve_model(str(path), "detect").task == "detect"


def test_another_layout_is_refused_before_any_work(tmp_path):
    path = constant_model(tmp_path / "m.onnx", [("a", np.zeros((1, 10, 4)))])
    with pytest.raises(ModelError, match=r"no face detector of a known layout: outputs of widths"):
        resolve_model(str(path), "detect")


def test_a_damaged_model_is_one_line(tmp_path):
    path = _drawn_retinaface(tmp_path / "m.onnx", [])
    model = resolve_model(str(path), "detect")
    path.write_bytes(path.read_bytes().replace(b"Constant", b"Konstant"))
    with pytest.raises(ModelError, match=r"m\.onnx: onnxruntime can't open it \(.*\); expected an"):
        open_detector(model)


@pytest.mark.network
def test_the_people_of_a_group_photograph_are_found_left_to_right(detector):
    faces = detector.detect(_photo(SIX_PEOPLE))
    assert len(faces) == 6
    assert faces.scores.min() > 0.95
    assert (np.diff(faces.boxes[:, 0]) > 0).all()
    for box, points in zip(faces.boxes, faces.landmarks, strict=True):
        assert (points > box[:2]).all()
        assert (points < box[2:]).all()
        left, right, nose, mouth_left, mouth_right = points
        assert left[0] < right[0]
        assert mouth_left[0] < mouth_right[0]
        assert left[1] < nose[1] < mouth_left[1]


@pytest.mark.network
def test_a_tight_aligned_crop_gives_the_templates_landmarks(detector):
    faces = detector.detect(_photo(PORTRAIT))
    assert len(faces) == 1
    assert np.abs(faces.landmarks[0] - ARCFACE_112).mean() < 4


@pytest.mark.network
def test_the_same_picture_gives_the_same_numbers(detector):
    image = _photo(SIX_PEOPLE)
    again = open_detector(resolve_model("retinaface-mnet025", "detect"))
    detector.detect(_photo(PORTRAIT))
    assert _same(detector.detect(image), again.detect(image))


def _detect_elsewhere(model_bytes):
    return open_detector(pickle.loads(model_bytes)).detect(_photo(ASTRONAUT))


@pytest.mark.network
def test_a_worker_process_finds_the_same_faces(detector):
    model = pickle.dumps(resolve_model("retinaface-mnet025", "detect"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.apply(_detect_elsewhere, (model,))
    assert _same(elsewhere, detector.detect(_photo(ASTRONAUT)))


@pytest.mark.network
@pytest.mark.parametrize("length", [40, 100, 700, 2500])
def test_landmarks_stay_put_when_a_picture_is_made_smaller_or_larger(detector, length):
    image = _photo(ASTRONAUT)[:300, 80:380]  # her face, 110 pixels long
    truth = detector.detect(image)
    assert len(truth) == 1
    scale = length / 110
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    faces = detector.detect(cv2.resize(image, None, fx=scale, fy=scale, interpolation=how))
    assert len(faces) == 1
    error = np.linalg.norm(faces.landmarks[0] / scale - truth.landmarks[0], axis=1).mean()
    assert error < 0.1 * eye_distance(truth.landmarks[0])


@pytest.mark.network
def test_a_second_look_puts_the_landmarks_of_a_large_face_nearer(detector):
    image = _photo(ASTRONAUT)[30:190, 160:290]
    truth = detector.detect(_photo(ASTRONAUT)).landmarks[0] - [160, 30]
    large = cv2.resize(image, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    once = open_detector(resolve_model("retinaface-mnet025", "detect"), ONE_LOOK)
    errors = [np.abs(d.detect(large).landmarks[0] / 5 - truth).mean() for d in (detector, once)]
    assert errors[0] < errors[1]


@pytest.mark.network
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2000), (37, 5), (700, 1)])
def test_pictures_of_any_shape_are_looked_at(detector, shape):
    assert len(detector.detect(np.full((*shape, 3), 127, np.uint8))) == 0


@pytest.mark.network
def test_a_picture_without_a_face_has_none(detector):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    assert len(detector.detect(noise)) == 0


@pytest.mark.shared
def test_insightfaces_detector_agrees_with_retinaface_on_a_group(shared, detector):
    scrfd = _open(shared / "models/scrfd_500m_bnkps.onnx", DetectionSettings())
    image = _photo(SIX_PEOPLE)
    ours, theirs = detector.detect(image), scrfd.detect(image)
    assert len(theirs) == 6
    assert np.abs(ours.landmarks - theirs.landmarks).mean() < 3


@pytest.mark.shared
def test_insightfaces_layout_gives_what_insightface_gives(shared):
    from insightface.model_zoo.scrfd import SCRFD

    path = shared / "models/scrfd_500m_bnkps.onnx"
    theirs = SCRFD(str(path))
    theirs.prepare(-1, input_size=(640, 640), det_thresh=0.5)
    image = _photo(ASTRONAUT)[:, :, ::-1]
    canvas = np.zeros((640, 640, 3), np.uint8)  # no resizing on either side
    canvas[:512, :512] = image
    boxes, points = theirs.detect(canvas)
    faces = _open(path, replace(ONE_LOOK, floor=0.5)).detect(
        np.ascontiguousarray(canvas[..., ::-1])
    )
    np.testing.assert_allclose(faces.boxes, boxes[:, :4], atol=0.05)
    np.testing.assert_allclose(faces.landmarks, points, atol=0.05)


@pytest.mark.shared
@pytest.mark.slow
def test_detected_and_aligned_lfw_pairs_are_told_apart(shared, detector):
    pairs = read_pairs(shared / "faces/lfw/pairs.txt", shared / "faces/lfw/lfw-deepfunneled")
    model = resolve_model(str(shared / "models/mobilefacenet_128d.onnx"), "embed")
    embedder, embeddings = open_embedder(model), {}
    for path in {path for pair in pairs for path in (pair.first, pair.second)}:
        image = _photo(path)
        faces = detector.detect(image)
        chosen, _ = choose_face(faces, image.shape[1::-1])
        embeddings[path] = embedder.embed(align_face(image, faces.landmarks[chosen])[None])[0]
    assert len(pairs) == 300
    assert verify(pairs, embeddings)[0] >= 99.0
