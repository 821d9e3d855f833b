"""The filter on the real store: known people put into a crawl are found, strangers stay.

Half of each Pins person's images are labeled, the other half lie unlabeled among CelebA's people.
The numbers are those that ``fusekit filter --truth`` prints.
"""

import json

import pytest
from support.known_crawl import make_known_crawl
from typer.testing import CliRunner

from fusekit.cli.main import app

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def known_among_strangers(real_store, tmp_path_factory):
    """A store with ``known`` and ``crawl``, and the crawl's truth file."""
    return make_known_crawl(real_store, tmp_path_factory.mktemp("real-filter"))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_known_people_are_filtered_and_strangers_kept(known_among_strangers, precision):
    store, truth = known_among_strangers
    command = (
        f"filter crawl --against known --truth {truth} --store {store} --precision {precision}"
    )
    done = CliRunner().invoke(app, [*command.split(), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    judged, held_out = result["truth"], result["held_out"]["known"]
    kept = judged["strangers_kept"] / judged["strangers"]
    print(precision, judged, f"strangers kept {kept:.2%}", held_out)
    assert judged["known"] + judged["strangers"] == result["kept"] + result["dropped"]
    assert judged["recall"] >= 0.93
    assert judged["precision"] >= 0.98
    assert kept >= 0.98
    # What the fit expected without having seen the crawl.
    assert judged["recall"] == pytest.approx(held_out["known_dropped"], abs=0.03)
    assert kept == pytest.approx(held_out["strangers_kept"], abs=0.03)
    overall, by_known = result["histogram"]
    assert round(overall["rest"] * overall["samples"]) >= result["dropped"]
    assert overall["samples"] == by_known["samples"] == result["kept"] + result["dropped"]
