from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.report.charts import (
    draw_bars,
    draw_histogram,
    draw_tails,
    draw_width_and_depth,
)
from fusekit.report.spread import Histogram

HOSTILE = '<script>alert("x")</script>&\''


def parse(drawn):
    return ET.fromstring(drawn.partition("<ul")[0])


def bars(svg):
    return [e for e in svg.iter("rect") if e.get("class") == "bar"]


def words(svg):
    return [e.text for e in svg.iter("text")]


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=20))
def test_bars_are_as_tall_as_their_counts(counts):
    edges = tuple(float(i) for i in range(len(counts) + 1))
    svg = parse(draw_histogram("title", Histogram(edges, tuple(counts)), "unit"))
    used = [i for i, c in enumerate(counts) if c]
    shown = counts[used[0] : used[-1] + 1] if used else counts
    heights = [float(bar.get("height")) for bar in bars(svg)]
    assert len(heights) == len(shown)
    tallest = max(heights)
    for count, height in zip(shown, heights, strict=True):
        if max(shown):
            wanted = max(tallest * count / max(shown), 1.0 if count else 0.0)
            assert height == pytest.approx(wanted, abs=0.11)
    low, high = 0, 150
    for bar in bars(svg):
        top = float(bar.get("y"))
        assert low <= top <= top + float(bar.get("height")) <= high


def test_every_mark_says_what_it_is():
    svg = parse(draw_histogram("Yaw", Histogram((0, 10, 20), (1500, 2)), "degrees"))
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == svg.find("title").text == "Yaw"
    assert [bar.find("title").text for bar in bars(svg)] == ["0 to 10: 1,500", "10 to 20: 2"]
    assert "degrees" in words(svg)


def test_an_empty_histogram_has_no_bars_of_any_height():
    svg = parse(draw_histogram("none", Histogram((0, 1, 2), (0, 0)), "unit"))
    assert {float(bar.get("height")) for bar in bars(svg)} == {0.0}


def test_tails_fall_to_the_right_and_have_a_legend():
    drawn = draw_tails("tails", {"a": [(1, 100), (10, 10), (100, 1)], "b": [(1, 5)]})
    svg = parse(drawn)
    first = next(svg.iter("polyline")).get("points").split()
    xs, ys = zip(*[map(float, p.split(",")) for p in first], strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)  # down the page
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)  # decades are equally wide
    assert '<li><i class="s1"></i>b</li>' in drawn


NAMES = st.text("abcxyz", min_size=1, max_size=12)
SIZES = st.tuples(st.integers(1, 10**7), st.floats(1, 10**5))


@given(st.dictionaries(NAMES, SIZES, max_size=12))
def test_every_dataset_is_a_point_inside_the_chart(datasets):
    svg = parse(draw_width_and_depth("wide", datasets))
    dots = list(svg.iter("circle"))
    assert len(dots) == len(datasets)
    assert all(40 <= float(d.get("cx")) <= 400 and 0 <= float(d.get("cy")) <= 270 for d in dots)
    assert set(datasets) <= set(words(svg))


def test_lying_bars_show_their_values_and_a_line():
    svg = parse(draw_bars("b", {"a": 0.5, "b": 1.0}, most=1.0, line=(0.25, "chance"),
                          spell=lambda v: f"{v:.0%}"))  # fmt: skip
    one, two = (float(bar.get("width")) for bar in bars(svg))
    assert two == pytest.approx(2 * one, abs=0.1)
    assert {"50%", "100%", "chance"} <= set(words(svg))
    line = next(e for e in svg.iter("line") if e.get("class") == "mark")
    left = float(bars(svg)[0].get("x"))
    assert float(line.get("x1")) - left == pytest.approx(two / 4, abs=0.1)


@pytest.mark.parametrize(
    "drawn",
    [
        draw_bars(HOSTILE, {HOSTILE: 1.0}, spell=lambda value: HOSTILE, line=(0.5, HOSTILE)),
        draw_tails(HOSTILE, {HOSTILE: [(1, 2)]}),
        draw_width_and_depth(HOSTILE, {HOSTILE: (3, 4.0)}),
        draw_histogram(HOSTILE, Histogram((0, 1), (1,)), HOSTILE),
    ],
)
def test_hostile_names_stay_text(drawn):
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
    assert parse(drawn).get("aria-label") == HOSTILE


def test_more_series_than_colours_are_dashed():
    drawn = draw_tails("many", {f"d{k}": [(1, k + 1)] for k in range(10)})
    assert drawn.count('class="line s0"') == 1
    assert drawn.count('class="line s0 dashed"') == 1
