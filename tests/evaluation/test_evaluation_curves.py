import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import roc_curve
from support.scored import scored_pairs

from fusekit.errors import UsageError
from fusekit.evaluation.curves import check_plot, draw_curves, roc_points

SVG = "{http://www.w3.org/2000/svg}"


def curve(scores, same):
    return np.sort(scores[same]), -np.sort(-scores[~same]), int((~same).sum())


@given(scored_pairs())
def test_the_curve_is_scikit_learn_s(drawn):
    scores, same, _ = drawn
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    mine = roc_points(*curve(scores, same))
    assert np.allclose(mine, (far, tar))


def test_a_tail_gives_the_curve_as_far_as_it_is_known():
    scores, same = np.arange(10) / 10, np.array([False, True] * 5)
    whole, top = curve(scores, same), curve(scores, same)[1][:2]
    far, tar = roc_points(whole[0], top, 5)
    all_far, all_tar = roc_points(*whole)
    assert far.max() == 0.4
    assert far.tolist() == all_far[: len(far)].tolist()
    assert tar.tolist() == all_tar[: len(tar)].tolist()


def test_the_picture_has_both_panels_and_a_line_of_each_for_every_set():
    rng = np.random.default_rng(0)
    same = np.arange(2000) < 1000
    curves = {
        name: curve(rng.normal(same * gap, 1), same) for name, gap in (("a & b", 2.0), ("c", 4.0))
    }
    text = draw_curves(curves)
    tree = ET.fromstring(text)
    lines = tree.findall(f"{SVG}polyline")
    assert [line.find(f"{SVG}title").text for line in lines] == ["a & b", "a & b", "c", "c"]
    words = [t.text for t in tree.iter(f"{SVG}text")]
    assert {"ROC", "DET", "false accept rate", "true accept rate", "false reject rate"} <= set(
        words
    )
    width, height = float(tree.get("width")), float(tree.get("height"))
    for line in lines:
        points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        assert 10 < len(points) <= 402
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert draw_curves(curves) == text


def test_normal_scores_give_a_straight_det():
    # Two normal distributions of one width: the deviates of both rates add up to their distance.
    rng = np.random.default_rng(1)
    same = np.arange(200_000) < 100_000
    tree = ET.fromstring(draw_curves({"a": curve(rng.normal(2.0 * same, 1), same)}))
    det = tree.findall(f"{SVG}polyline")[1]
    points = np.array([p.split(",") for p in det.get("points").split()], float)
    (left, right), (top, bottom) = points[:, 0][[0, -1]], np.sort(points[:, 1])[[0, -1]]
    inside = (points > [left + 99, top + 9]) & (points < [right - 9, bottom - 99])
    middle = points[inside.all(axis=1)]
    slope, start = np.polyfit(*middle.T, 1)
    assert slope == pytest.approx(1.0, abs=0.05)
    assert np.abs(slope * middle[:, 0] + start - middle[:, 1]).max() < 3


def test_sets_with_one_kind_of_pair_are_left_out():
    text = draw_curves({"a": (np.array([0.5]), np.empty(0), 0)})
    assert "polyline" not in text
    assert re.search("<svg", text)


def test_only_an_svg_is_drawn():
    assert check_plot(Path("a.SVG")) == Path("a.SVG")
    with pytest.raises(
        UsageError, match=r"--plot: 'a.png'; expected a file name that ends in .svg"
    ):
        check_plot(Path("a.png"))
