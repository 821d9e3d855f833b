"""Pseudo-identities: one row a sample, people apart, and what is known of them."""

import json
import sys

import numpy as np
import pytest
from support.people import draw_images, draw_people, make_people
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate import clusters, graph
from fusekit.curate.clusters import cluster_dataset
from fusekit.errors import FindingError, MissingExtraError, UsageError
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store, sample_key

PEOPLE = draw_people(80, dim=128)
SIZES = [12] * 10 + [6] * 10 + [2] * 10 + [1] * 30


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def crawl(storage):
    """A crawl of 60 people, 230 samples and an erased one."""
    outputs = [draw_images(PEOPLE[i], n, i) for i, n in enumerate(SIZES)]
    return make_people(storage, "crawl", np.concatenate([*outputs, np.zeros((1, 128))]))


def people_csv(folder, column="source"):
    path = folder / "people.csv"
    person = np.repeat(np.arange(60), SIZES)
    sources = [f"crawl/{i:05d}.jpg" for i in range(len(person))]
    named = sources if column == "source" else [sample_key(source, 0) for source in sources]
    lines = [f"{name},p{p}" for name, p in zip(named, person, strict=True)]
    path.write_text("\n".join([f"{column},identity", *lines]) + "\n")
    return path


@pytest.mark.parametrize("method", ["whispers", "infomap", "hdbscan"])
def test_each_person_of_a_crawl_is_a_cluster(storage, crawl, tmp_path, method):
    truth = people_csv(tmp_path)
    result = cluster_dataset("crawl", method=method, truth=truth, store=storage.root)
    assert result.scores.samples == 230
    assert result.scores.people == 60
    # HDBSCAN has no threshold: it joins strangers who are alone.
    assert result.scores.bcubed_precision > (0.99 if method != "hdbscan" else 0.85)
    assert result.scores.bcubed_recall > 0.95
    assert (result.threshold is None) == (method == "hdbscan")
    assert result.clustered + result.alone == 231


def test_the_finding_has_one_row_a_sample_and_numbers_clusters_by_size(storage, crawl):
    result = cluster_dataset("crawl", store=storage.root)
    table = read_finding_table(storage, find_fresh(storage, "clusters", datasets=["crawl"]))
    embeddings = EmbeddingSet.open(storage, open_dataset(storage, "crawl"))
    blocks = list(embeddings.blocks())
    assert table["key"].to_pylist() == [k.as_py() for block in blocks for k in block.keys]
    cluster, size = table["cluster"].to_numpy(), table["size"].to_numpy()
    counts = np.bincount(cluster[cluster >= 0])
    assert tuple(counts) == result.sizes
    assert np.all(np.diff(counts) <= 0)
    assert np.array_equal(size, np.where(cluster >= 0, counts[cluster], 1))
    vectors = np.concatenate([block.vectors for block in blocks]).astype(np.float64)
    for number in range(len(counts)):
        centre = vectors[cluster == number].sum(axis=0)
        expected = vectors[cluster == number] @ centre / np.linalg.norm(centre)
        assert table["score"].to_numpy()[cluster == number] == pytest.approx(expected, abs=2e-3)
    assert not table["score"].to_numpy()[cluster < 0].any()
    assert (~vectors.any(axis=1) & (cluster >= 0)).sum() == 0  # the erased one is alone


def test_the_finding_does_not_depend_on_the_blocks(storage, crawl, monkeypatch):
    first = cluster_dataset("crawl", store=storage.root)
    finding = find_fresh(storage, "clusters", datasets=["crawl"])
    table = read_finding_table(storage, finding)
    monkeypatch.setattr(graph, "_ROWS", 50)
    monkeypatch.setattr(graph, "_COLUMNS", 33)
    monkeypatch.setattr(clusters, "_BLOCK", 13)
    assert cluster_dataset("crawl", store=storage.root).finding == first.finding
    assert read_finding_table(storage, finding).equals(table)


def test_a_labeled_dataset_can_be_a_trial(storage):
    make_people(storage, "faces", {f"p{i}": draw_images(PEOPLE[i], 6, i) for i in range(40)})
    scores = cluster_dataset("faces", truth="identity", store=storage.root).scores
    assert (scores.people, scores.pairwise_f, scores.bcubed_f) == (40, 1, 1)


def test_truth_may_name_samples_by_key(storage, crawl, tmp_path):
    path = people_csv(tmp_path, "key")
    assert cluster_dataset("crawl", truth=path, store=storage.root).scores.samples == 230


def test_one_cluster_of_very_many_is_warned_of(storage, crawl):
    one = draw_images(PEOPLE[0], 70, 0)
    others = np.concatenate([draw_images(person, 2, 9) for person in PEOPLE[1:]])
    make_people(storage, "fans", np.concatenate([one, others]))
    result = cluster_dataset("fans", store=storage.root)
    assert result.warnings[0].startswith("one cluster holds 70 of 228 samples: if no person")
    assert cluster_dataset("crawl", store=storage.root).warnings == ()


def test_the_command_prints_both_measures(storage, crawl, tmp_path):
    truth = ["--truth", str(people_csv(tmp_path))]
    asked = ["cluster", "crawl", *truth, "--store", str(storage.root)]
    shown = CliRunner().invoke(app, asked).stdout.splitlines()
    assert shown[-2].split()[0] == "pairwise"
    assert shown[-1].split()[0] == "B-cubed"
    about = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout.splitlines()[-1])
    assert shown[-1].split()[3] == f"{about['scores']['bcubed_f']:.4f}".rstrip("0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected identity, and key or source"),
        ("source,name\na,b\n", "has the columns source, name; expected identity, and key or"),
        ("source,identity\na,\n", "line 2: lacks a value; expected source and identity"),
        ("source,identity\na,b\na,c\n", "line 3: a is c, and above b; expected one person"),
        ("source,identity\na,b\n", "names 1 samples by source, none of crawl"),
        (None, "can't be read .*; expected the word identity, or a CSV file"),
    ],
)
def test_a_truth_file_that_can_not_be_used_says_why(storage, crawl, tmp_path, text, message):
    path = tmp_path / "truth.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=f"--truth .*truth.csv: {message}"):
        cluster_dataset("crawl", truth=path, store=storage.root)


def test_a_crawl_has_no_identities_to_compare_with(storage, crawl):
    with pytest.raises(UsageError, match="--truth identity: crawl is unlabeled and has no"):
        cluster_dataset("crawl", truth="identity", store=storage.root)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "kmeans"}, "--method: 'kmeans'; expected whispers, infomap or hdbscan"),
        ({"false_match": 0.0}, "--false-match: 0.0; expected over 0, at most 0.1"),
        ({"false_match": 0.01, "method": "hdbscan"}, "--false-match: hdbscan has no threshold"),
    ],
)
def test_settings_that_can_not_be_are_refused(storage, crawl, settings, message):
    with pytest.raises(UsageError, match=message):
        cluster_dataset("crawl", store=storage.root, **settings)


def test_hdbscan_is_refused_where_its_memory_would_not_fit(storage, crawl, monkeypatch):
    monkeypatch.setattr(clusters, "MOST_HDBSCAN", 100)
    with pytest.raises(UsageError, match="--method hdbscan: 231 samples; expected at most 100"):
        cluster_dataset("crawl", method="hdbscan", store=storage.root)


@pytest.mark.parametrize(
    ("method", "module"), [("infomap", "infomap"), ("hdbscan", "sklearn.cluster")]
)
def test_a_method_that_is_not_installed_names_the_extra(
    storage, crawl, monkeypatch, method, module
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"--method {method}: .*'fusekit\[cluster\]'"):
        cluster_dataset("crawl", method=method, store=storage.root)


def test_too_few_samples_tell_nothing(storage):
    make_people(storage, "few", draw_images(PEOPLE[0], 9, 0))
    with pytest.raises(FindingError, match="few: has 9 samples; expected 10 or more"):
        cluster_dataset("few", store=storage.root)
