"""A report in a real browser: skipped, visibly, where no chromium is."""

import json
import re
import shutil
import subprocess
from html import unescape

import cv2
import pytest
from support.findings import make_datasets, make_findings

from fusekit.report import looks
from fusekit.report.page import write_report
from fusekit.store.layout import open_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
#: Asks a page, once it has loaded, for what no test can tell from its text.
PROBE = """
<script>addEventListener("load", () => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  parent.postMessage(JSON.stringify({
    charts: [...document.querySelectorAll("svg.chart")].map(box),
    images: [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight]),
    asked: performance.getEntriesByType("resource").map(e => e.name)
      .filter(n => !n.startsWith("data:")),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    paper: getComputedStyle(document.body).backgroundColor,
  }), "*");
});</script></body>"""
#: Holds it at any width: a window of Chromium's is 500 pixels wide at least.
FRAME = """<!doctype html><html><body>
<script>addEventListener("message", e => { document.documentElement.dataset.found = e.data; });
</script><iframe src="probed.html" width="{width}" height="1600"></iframe></body></html>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    storage = open_store(folder / "store", create=True)
    make_datasets(storage)
    make_findings(storage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "_detector", lambda report: None)
        write_report(store=folder / "store", out=folder / "r.html")
    return folder / "r.html"


def browse(page, tmp_path, width, *flags):
    """Open a page; give what the browser wrote and said."""
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},1600", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def ask(page, tmp_path, width, *flags):
    """Open a copy of a page that tells about itself."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    (tmp_path / "probed.html").write_text(text.replace("</body>", PROBE), "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("{width}", str(width)), "utf-8")
    wait = "--virtual-time-budget=10000"
    told, console = browse(frame, tmp_path, 1280, "--dump-dom", wait, *flags)
    found = re.search(r'data-found="([^"]*)"', told)
    assert found, told[:500]
    return json.loads(unescape(found[1])), console


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_and_pictures_are_there_and_nothing_is_asked_for(page, tmp_path, width):
    found, console = ask(page, tmp_path, width)
    assert console == []
    assert found["asked"] == []
    assert len(found["charts"]) > 10
    assert all(min(box) > 20 for box in found["charts"])
    assert all(box[0] <= width for box in found["charts"])
    assert len(found["images"]) > 50
    assert all(done and min(size) > 10 for done, *size in found["images"])
    assert found["wide"] <= 0  # tables scroll in their own boxes, the page does not


@pytest.mark.parametrize("width", [1280, 390])
def test_a_screenshot_is_not_blank(page, tmp_path, width):
    shot = tmp_path / "shot.png"
    _, console = browse(page, tmp_path, width, f"--screenshot={shot}")
    assert console == []
    drawn = cv2.imread(str(shot))
    assert drawn.shape[:2] == (1600, width)
    paper = drawn[0, 0].astype(int)
    inked = (abs(drawn.astype(int) - paper).max(axis=2) > 60).mean()
    assert 0.01 < inked < 0.6
    halves = [drawn[:800], drawn[800:]]
    assert all(half.std() > 5 for half in halves)


def test_the_page_follows_the_readers_wish_for_dark(page, tmp_path):
    light, _ = ask(page, tmp_path, 1280)
    dark, _ = ask(page, tmp_path, 1280, "--force-dark-mode")
    assert (light["dark"], dark["dark"]) == (False, True)
    assert light["paper"] != dark["paper"]


def test_these_checks_can_fail(tmp_path):
    """A page with a missing picture and an error is seen as such by the same means."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html><body><img src='http://other.test/a.png'><svg class='chart'"
        " width='0' height='0'></svg><script>console.error('broken')</script></body></html>"
    )
    found, console = ask(bad, tmp_path, 1280)
    assert found["asked"] == ["http://other.test/a.png"]
    assert found["charts"] == [[0, 0]]
    assert found["images"][0][1] == 0
    assert any("broken" in line for line in console)
