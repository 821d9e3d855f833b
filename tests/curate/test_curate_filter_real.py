"""The filter on the real store: known people put into a crawl are found, strangers stay.

Half of each Pins person's images are labeled, the other half lie unlabeled among CelebA's people.
The numbers are those that ``fusekit filter --truth`` prints.
"""

import json

import numpy as np
import pytest
from support.people import make_people
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store, sample_key
from fusekit.store.tables import read_table

pytestmark = pytest.mark.shared

IN_BOTH = {"07232"}  # CelebA's number of Neil Patrick Harris, whom Pins has too


def people_of(store, name):
    """Display name to embeddings (n, D)."""
    names = read_table(store, layout.identities(name), IDENTITIES_SCHEMA).to_pylist()
    by_index = {row["identity_index"]: row["name"] for row in names}
    people = {}
    for block in EmbeddingSet.open(store, open_dataset(store, name)).blocks():
        for index, vector in zip(block.identity_index.tolist(), block.vectors, strict=True):
            people.setdefault(by_index[index], []).append(vector)
    return {name: np.stack(vectors) for name, vectors in people.items()}


@pytest.fixture(scope="module")
def known_among_strangers(real_store, tmp_path_factory):
    """A store with ``known`` and ``crawl``, and the crawl's truth file."""
    real = open_store(real_store)
    pins, celeba = people_of(real, "pins"), people_of(real, "celeba")
    folder = tmp_path_factory.mktemp("real-filter")
    storage = open_store(folder / "store", create=True)
    labeled = {name: vectors[::2] for name, vectors in pins.items()}
    make_people(storage, "known", labeled, unit_size=8192)
    known = [vectors[1::2] for vectors in pins.values()]
    assert set(celeba) > IN_BOTH
    strangers = [vectors for name, vectors in celeba.items() if name not in IN_BOTH]
    make_people(storage, "crawl", np.concatenate(known + strangers), unit_size=8192)
    count = sum(map(len, known))
    lines = [
        f"{sample_key(f'crawl/{i:05d}.jpg', 0)},{int(i < count)}"
        for i in range(count + sum(map(len, strangers)))
    ]
    truth = folder / "truth.csv"
    truth.write_text("\n".join(["key,known", *lines]))
    return storage.root, truth


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
