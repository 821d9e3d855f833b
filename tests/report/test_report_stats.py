import itertools
import json
import statistics

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.errors import MixtureError, SqlError, StoreError
from fusekit.mixture.build import build_mixture
from fusekit.report.info import info
from fusekit.report.spread import QUANTILES, depth_of, spread_of
from fusekit.report.stats import collect_stats
from fusekit.store.findings import SCHEMAS, write_finding
from fusekit.store.layout import open_store

PEOPLE = {"ann": 6, "bob": 12, "cid": 1}
RECIPE = """
name: mix
labeled: [{dataset: people, min_images: 2}, {dataset: stars}]
unlabeled: [{dataset: crawl}]
batch: {size: 16, unlabeled_fraction: 0.25}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats")
    storage = open_store(folder / "store", create=True)
    make_dataset(storage, "people", PEOPLE, index=3)
    make_dataset(storage, "stars", {"x": 5, "y": 5})
    make_dataset(storage, "crawl", 20)
    (folder / "mix.yaml").write_text(RECIPE)
    build_mixture(folder / "mix.yaml", folder / "store")
    return folder / "store"


def change(store, dataset, column, values):
    """Give a column of a dataset's compacted manifest other values."""
    path = store / f"datasets/{dataset}/samples-000000.parquet"
    table = pq.read_table(path, partitioning=None)
    at = table.column_names.index(column)
    field = table.schema.field(at)
    pq.write_table(
        table.set_column(at, field, [np.array(values, field.type.to_pandas_dtype())]), path
    )


def slow_depth(images):
    """The same figures from a list of everybody's images, by their definitions."""
    people = len(images)
    apart = sum(abs(a - b) for a, b in itertools.product(images, images))
    most = sorted(images, reverse=True)[: -(-people // 10)]
    return {
        "gini": apart / (2 * people * sum(images)),
        "top_decile": sum(most) / sum(images),
        "singletons": images.count(1),
        "mean": statistics.mean(images),
    }


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_images_per_identity_agree_with_their_definitions(images):
    values, counts = np.unique(images, return_counts=True)
    depth = depth_of(values, counts)
    for name, wanted in slow_depth(images).items():
        assert getattr(depth, name) == pytest.approx(wanted, abs=1e-4), name
    ordered = sorted(images)
    assert list(depth.quantiles) == [ordered[int(q * (len(images) - 1))] for q in QUANTILES]
    assert sum(depth.histogram.counts) == len(images)
    edges = depth.histogram.edges
    for low, high, count in zip(edges, edges[1:], depth.histogram.counts, strict=False):
        assert count == sum(low <= n < high for n in images)
    down = sorted(images, reverse=True)
    assert all(down[rank - 1] == have for rank, have in depth.tail)
    assert (depth.tail[0][0], depth.tail[-1][0]) == (1, len(images))


@given(st.lists(st.integers(-100, 300), max_size=60))
def test_a_spread_agrees_with_the_values_themselves(drawn):
    values, counts = np.unique(np.array(drawn, float), return_counts=True)
    edges = [0, 10, 100, 200]
    spread = spread_of("yaw", "degrees", values, counts, edges)
    clipped = np.clip(drawn, 0, 199.5)
    assert list(spread.histogram.counts) == np.histogram(clipped, edges)[0].tolist()
    assert spread.samples == len(drawn)
    if drawn:
        assert spread.mean == pytest.approx(statistics.mean(drawn), abs=1e-4)
        ordered = sorted(drawn)
        assert list(spread.quantiles) == [ordered[int(q * (len(drawn) - 1))] for q in QUANTILES]
    else:
        assert (spread.mean, spread.median, spread.quantiles) == (None, None, None)


def test_a_dataset_is_counted(store):
    stats = collect_stats("people", store)
    assert (stats.what, stats.kind, stats.samples, stats.identities) == (
        "dataset",
        "labeled",
        19,
        3,
    )
    assert stats.depth.quantiles[::3] == (1, 6, 12)
    assert stats.depth.singletons == 1
    assert stats.counts["media"] == {"still": 19}
    assert stats.counts["split"] == {"none": 19}
    assert stats.spread("eye_distance").median == 40.0
    assert stats.grey_share == 0.0
    assert (stats.items, stats.rejects) == (19, {})


def test_an_unlabeled_dataset_has_no_depth(store):
    stats = collect_stats("crawl", store)
    assert (stats.samples, stats.depth, stats.identities) == (20, None, 0)


def test_figures_are_those_of_the_manifest_whatever_the_threads(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "people", {"ann": 500})
    rng = np.random.default_rng(0)
    sharpness, yaw = rng.gamma(2, 300, 500).astype(np.float32), rng.normal(0, 20, 500)
    change(tmp_path / "store", "people", "sharpness", sharpness)
    change(tmp_path / "store", "people", "yaw", yaw)
    change(tmp_path / "store", "people", "channels", [1] * 100 + [3] * 400)
    one = collect_stats("people", tmp_path / "store", threads=1)
    assert one == collect_stats("people", tmp_path / "store", threads=3)
    assert one.spread("sharpness").median == np.rint(np.sort(sharpness)[249])
    assert one.spread("yaw").median == pytest.approx(np.sort(yaw)[249], abs=0.05)
    assert one.grey_share == 0.2


def test_erased_samples_are_not_counted(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "people", {"ann": 10})
    change(tmp_path / "store", "people", "length", [0] * 4 + [9] * 6)
    stats = collect_stats("people", tmp_path / "store")
    assert (stats.samples, stats.depth.mean) == (6, 6.0)


def test_a_mixture_is_counted_whole_and_source_by_source(store):
    stats = collect_stats("mix", store)
    assert (stats.what, stats.samples, stats.identities) == ("mixture", 18 + 10 + 20, 4)
    assert [(p.name, p.kind, p.samples, p.identities) for p in stats.parts] == [
        ("people", "labeled", 18, 2), ("stars", "labeled", 10, 2), ("crawl", "unlabeled", 20, 0),
    ]  # fmt: skip
    assert stats.depth.identities == 4
    assert stats.parts[0].depth.quantiles[-1] == 12


def test_an_empty_dataset_is_counted(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "none", 0)
    stats = collect_stats("none", tmp_path / "store")
    assert (stats.samples, stats.depth, stats.grey_share) == (0, None, None)


def test_the_command_prints_tables_and_json(store):
    said = CliRunner().invoke(app, ["stats", "people", "--store", str(store)])
    assert said.exit_code == 0, said.output
    for words in ("samples         19", "of one image", "gini", "9-16", "sharpness", "█"):
        assert words in said.stdout, words
    found = CliRunner().invoke(app, ["stats", "mix", "--store", str(store), "--json"])
    about = json.loads(found.stdout.splitlines()[-1])
    assert (about["mixture"], about["samples"]) == ("mix", 48)
    assert about["parts"][0]["images_per_identity"]["quantiles"]["1"] == 12
    assert set(about["spreads"]) >= {"eye_distance", "yaw", "sharpness", "brightness"}


def test_a_name_that_is_not_there_is_told(store):
    with pytest.raises(StoreError, match=r"peopl: is not ingested; did you mean 'people'\?"):
        collect_stats("peopl", store)


def test_a_damaged_mixture_is_told(tmp_path):
    open_store(tmp_path / "store", create=True)
    folder = tmp_path / "store/mixtures/mix"
    folder.mkdir(parents=True)
    (folder / "mixture.json").write_text("{}")
    with pytest.raises(MixtureError, match=r"mix/mixture\.json: is damaged; build the mixture"):
        collect_stats("mix", tmp_path / "store")
    (folder / "mixture.json").write_text('{"classes": 1, "datasets": []}')
    with pytest.raises(MixtureError, match=r"mix: labeled\.parquet is missing"):
        collect_stats("mix", tmp_path / "store")


def test_a_damaged_manifest_is_told(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "people", {"ann": 2})
    (tmp_path / "store/datasets/people/samples-000000.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(SqlError, match=r"people: .*fusekit verify tells what is damaged"):
        collect_stats("people", tmp_path / "store")


def test_a_finding_of_several_datasets_is_listed_with_each(store):
    storage = open_store(store)
    about = {"datasets": ["people", "stars"], "inputs": {}}
    finding = write_finding(storage, "overlap", about, [], SCHEMAS["overlap"])
    named = f"overlap {finding.fingerprint[:12]}"
    assert named in info("people", store).facts["findings"]
    assert named in info("stars", store).facts["findings"]
    assert named not in info("crawl", store).facts["findings"]
