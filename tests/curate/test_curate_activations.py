"""The filter: known people out, strangers kept, and a finding that says why."""

import json
import math

import numpy as np
import pytest
from support.onnx_models import mean_colour_embedder
from support.people import MODEL, draw_images, draw_people, embed_as, make_people
from support.stores import make_dataset

from fusekit.curate import activation_table
from fusekit.curate.activations import filter_unlabeled
from fusekit.curate.embed import embed_dataset
from fusekit.curate.flags import about_flags
from fusekit.curate.prototypes import unit_rows
from fusekit.errors import FindingError, ModelError, StoreError, UsageError
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingModel, EmbeddingSet
from fusekit.store.findings import find_fresh, list_findings, read_finding_table
from fusekit.store.heads import load_head, write_head
from fusekit.store.layout import open_store, sample_key

PEOPLE = draw_people(120)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def label(storage, name, numbers, images=5, seed=0):
    people = {f"{name}{i}": draw_images(PEOPLE[i], images, seed * 1000 + i) for i in numbers}
    return make_people(storage, name, people)


def crawl(storage, numbers, images=2, name="crawl"):
    outputs = np.concatenate([draw_images(PEOPLE[i], images, 5000 + i) for i in numbers])
    return make_people(storage, name, outputs)


def dropped(storage, result):
    """Which items of the crawl are out, by the finding's own table and rule."""
    finding = next(f for f in list_findings(storage) if f.fingerprint == result.finding)
    table = read_finding_table(storage, finding).to_pylist()
    about = finding.about
    info = open_dataset(storage, about["dataset"])
    keys = [key.as_py() for b in EmbeddingSet.open(storage, info, None).blocks() for key in b.keys]
    assert [row["key"] for row in table] == keys
    item = {sample_key(f"crawl/{i:05d}.jpg", 0): i for i in range(info.samples)}
    out = {
        item[row["key"]]: (row["nearest_dataset"], row["nearest_identity"])
        for row in table
        if row["activation"] > about["threshold"]
        and (about["cosine_threshold"] is None or row["cosine"] > about["cosine_threshold"])
    }
    assert len(out) == result.dropped
    assert result.kept + result.dropped == info.samples
    return out


def test_known_people_are_dropped_and_strangers_kept(storage):
    label(storage, "a", range(40))
    crawl(storage, [*range(10), *range(60, 100)])
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    out = dropped(storage, result)
    assert set(range(20)) <= set(out)
    assert len(out) <= 20 + 2  # of 80 images of strangers
    assert all(out[item] == ("a", f"a{item // 2}") for item in range(20))
    assert result.warnings == ()
    said = result.as_json()
    assert said.pop("held_out")["a"]["known_dropped"] > 0.9
    assert [line["dataset"] for line in said.pop("histogram")] == [None, "a"]
    assert said == {
        "dataset": "crawl", "kept": 100 - len(out), "dropped": len(out), "threshold": 0.9,
        "finding": result.finding, "rule": "two-part", "identities": 40,
        "cosine_threshold": result.cosine_threshold, "scale": result.scale, "warnings": [],
        # A drawn crawl's crops are all the same few bytes.
        "low_quality": result.low_quality, "duplicates": 99, "truth": None,
    }  # fmt: skip
    json.dumps(result.as_json())


def test_a_person_known_in_two_datasets_is_still_dropped(storage):
    # In one joint softmax the two would share the probability: none above 0.9.
    label(storage, "a", range(30))
    label(storage, "b", range(20, 50), seed=1)
    crawl(storage, [*range(15, 45), *range(60, 100)])
    result = filter_unlabeled("crawl", against=["a", "b"], store=storage.root)
    out = dropped(storage, result)
    assert set(out) == set(range(60))
    assert {out[item][0] for item in range(10, 30)} <= {"a", "b"}  # persons 20..29, in both
    assert {out[item][0] for item in range(10)} == {"a"}
    assert set(result.scale) == {"a", "b"}


def test_a_small_dataset_beside_a_large_one_does_not_drop_strangers(storage):
    label(storage, "large", range(50))
    label(storage, "small", range(50, 53))
    crawl(storage, range(60, 120), images=5)
    result = filter_unlabeled("crawl", against=["large", "small"], store=storage.root)
    assert result.dropped <= 0.05 * 300


def test_the_rule_of_activations_alone_needs_no_cosine(storage):
    label(storage, "a", range(40))
    crawl(storage, [*range(10), *range(60, 100)])
    result = filter_unlabeled("crawl", against=["a"], rule="activation", store=storage.root)
    assert result.cosine_threshold is None
    assert set(range(20)) <= set(dropped(storage, result))


def test_a_lower_threshold_drops_more_and_1_drops_nothing(storage):
    label(storage, "a", range(40))
    crawl(storage, range(120))
    counts = [
        filter_unlabeled(
            "crawl", against=["a"], rule="activation", max_activation=t, store=storage.root
        ).dropped
        for t in (0.05, 0.5, 0.9, 0.99, 1.0)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[4] == 0


def test_the_numbers_written_are_those_of_one_dataset_for_any_threshold(storage):
    # Two-part means: some dataset knows the person by activation and by cosine.
    label(storage, "a", range(40))
    label(storage, "b", range(38, 41), seed=1)
    crawl(storage, range(0, 120, 2))
    result = filter_unlabeled("crawl", against=["a", "b"], store=storage.root)
    table = read_finding_table(storage, list_findings(storage)[0]).to_pylist()
    info = open_dataset(storage, "crawl")
    vectors = np.concatenate([b.vectors for b in EmbeddingSet.open(storage, info).blocks()])
    by_set = []
    for name in ("a", "b"):
        blocks = list(EmbeddingSet.open(storage, open_dataset(storage, name)).blocks())
        index = np.concatenate([b.identity_index for b in blocks])
        images = np.concatenate([b.vectors for b in blocks])
        sums = np.stack([images[index == i].sum(axis=0) for i in range(index.max() + 1)])
        cosines = (vectors @ unit_rows(sums).T).astype(np.float64)
        powers = np.exp(result.scale[name] * (cosines - cosines.max(axis=1, keepdims=True)))
        by_set.append((1 / powers.sum(axis=1), cosines.max(axis=1)))
    for row, sample in enumerate(table):
        pairs = [(a[row], c[row]) for a, c in by_set]
        near = pairs["ab".index(sample["nearest_dataset"])]
        assert (sample["activation"], sample["cosine"]) == pytest.approx(near, abs=2e-3)
        for threshold in (0.2, 0.5, 0.9, 0.999):
            if min(abs(a - threshold) for a, _ in pairs) < 2e-3:
                continue
            expected = any(a > threshold and c > result.cosine_threshold for a, c in pairs)
            out = sample["activation"] > threshold and sample["cosine"] > result.cosine_threshold
            assert out == expected


def test_the_finding_names_everything_that_affects_it(storage):
    label(storage, "a", range(40))
    crawl(storage, range(30, 50))
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    finding = find_fresh(storage, "activation", datasets=["crawl"])
    assert finding.fingerprint == result.finding
    assert finding.about == {
        "dataset": "crawl",
        "inputs": {n: open_dataset(storage, n).fingerprint for n in ("a", "crawl")},
        "against": ["a"], "head": None,
        "model": {"name": "drawn", "sha256": MODEL.sha256, "contract": ""},
        "rule": "two-part", "threshold": 0.9, "cosine_threshold": result.cosine_threshold,
        "scale": result.scale, "identities": 40, "calibration": 1,
        "precision": "float32", "precision_differs": None, "flags": about_flags(),
    }  # fmt: skip


def test_the_same_inputs_give_the_same_finding(storage):
    label(storage, "a", range(40))
    crawl(storage, range(30, 50))
    first = filter_unlabeled("crawl", against=["a"], store=storage.root)
    path = storage.path(f"findings/activation/{first.finding}/table.parquet")
    before = path.read_bytes()
    second = filter_unlabeled("crawl", against=["a"], store=storage.root)
    assert (second.finding, path.read_bytes()) == (first.finding, before)
    other = filter_unlabeled("crawl", against=["a"], max_activation=0.8, store=storage.root)
    assert other.finding != first.finding


def test_fewer_than_30_known_people_give_a_warning(storage):
    label(storage, "a", range(29))
    label(storage, "b", range(29, 31))
    crawl(storage, range(60, 70))
    few = filter_unlabeled("crawl", against=["a"], store=storage.root)
    assert few.warnings == (
        "29 known identities are few: with fewer than 30, more strangers are dropped and more "
        "known people kept",
    )
    assert filter_unlabeled("crawl", against=["a", "b"], store=storage.root).warnings == ()


def test_identities_of_one_image_are_counted_in_a_warning(storage):
    people = {f"a{i}": draw_images(PEOPLE[i], 4 if i < 40 else 1, i) for i in range(43)}
    make_people(storage, "a", people)
    crawl(storage, [1, 41])
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    assert result.identities == 40
    assert result.warnings == ("a: 3 identities have a single image and can't be told",)
    assert set(dropped(storage, result)) == {0, 1}


def test_with_two_known_people_the_cosine_decides(storage):
    label(storage, "a", range(2))
    crawl(storage, [0, 1, *range(60, 100)])
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    out = dropped(storage, result)
    assert {0, 1, 2, 3} <= set(out)
    assert len(out) <= 4 + 4
    assert result.warnings


def test_an_erased_sample_stays_and_scores_nothing(storage):
    label(storage, "a", range(40))
    outputs = np.concatenate([draw_images(PEOPLE[0], 2, 1), np.zeros((1, 64), np.float32)])
    make_people(storage, "crawl", outputs)
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    assert set(dropped(storage, result)) == {0, 1}


def test_an_empty_crawl_gives_an_empty_finding(storage):
    label(storage, "a", range(40))
    make_people(storage, "crawl", np.zeros((0, 64), np.float32))
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    assert (result.kept, result.dropped) == (0, 0)


def test_missing_embeddings_are_made_first_and_it_is_said(storage, tmp_path):
    model = str(mean_colour_embedder(tmp_path / "colour.onnx"))
    make_dataset(storage, "a", {f"p{i}": 3 for i in range(12)})
    make_dataset(storage, "crawl", 10)
    seen = []
    result = filter_unlabeled(
        "crawl", against=["a"], model=model, store=storage.root, report=seen.append
    )
    assert result.kept + result.dropped == 10
    stages = {p.stage for p in seen}
    assert {"embed crawl by colour", "embed a by colour", "filter crawl"} <= stages
    again = filter_unlabeled("crawl", against=["a"], store=storage.root)
    assert again.finding == result.finding


def test_a_standing_model_that_can_not_be_had_again_asks_for_it(storage):
    label(storage, "a", range(5))
    make_dataset(storage, "crawl", 4)
    with pytest.raises(
        StoreError,
        match=r"crawl: lacks embeddings by drawn abababab, which others have; give that model wi",
    ):
        filter_unlabeled("crawl", against=["a"], store=storage.root)


def test_of_several_models_the_one_that_all_have_is_taken_or_it_is_asked_for(storage):
    other = EmbeddingModel("other", "cd" * 32)
    a = label(storage, "a", range(40))
    c = crawl(storage, range(5))
    embed_as(storage, c, np.ones((10, 4), np.float32), other)
    assert filter_unlabeled("crawl", against=["a"], store=storage.root).dropped == 10
    embed_as(storage, a, np.ones((200, 4), np.float32), other)
    with pytest.raises(
        StoreError,
        match=r"crawl: embeddings of 2 models stand: drawn-abababab, other-cdcdcdcd; expected one",
    ):
        filter_unlabeled("crawl", against=["a"], store=storage.root)


def centres(numbers):
    return PEOPLE[list(numbers)].astype(np.float32)


def test_a_trained_head_judges_by_activation_alone(storage):
    crawl(storage, [*range(10), *range(60, 100)])
    rows = [("a", f"a{i}") for i in range(40)]
    write_head(storage, "h", centres(range(40)), scale=32, rows=rows, embedder=MODEL)
    result = filter_unlabeled("crawl", head="h", store=storage.root)
    assert (result.rule, result.cosine_threshold, result.scale) == ("activation", None, {"a": 32})
    out = dropped(storage, result)
    assert set(range(20)) <= set(out)
    assert out[0] == ("a", "a0")
    about = find_fresh(storage, "activation", datasets=["crawl"]).about
    assert about["head"] == load_head(storage, "h").sha256
    assert set(about["inputs"]) == {"crawl"}


def test_a_heads_activation_is_its_softmax_over_each_dataset(storage):
    crawl(storage, range(30))
    weight = centres(range(20))
    rows = [("ab"[i % 2], f"p{i}") for i in range(20)]
    write_head(storage, "h", weight, scale=16, rows=rows, embedder=MODEL)
    filter_unlabeled("crawl", head="h", store=storage.root)
    table = read_finding_table(storage, list_findings(storage)[0])
    info = open_dataset(storage, "crawl")
    vectors = np.concatenate([b.vectors for b in EmbeddingSet.open(storage, info).blocks()])
    parts = []
    for k in (0, 1):
        powers = np.exp(16 * (vectors @ weight[k::2].T).astype(np.float64))
        parts.append((powers / powers.sum(axis=1, keepdims=True)).max(axis=1))
    expected = np.maximum(*parts)
    np.testing.assert_allclose(table.column("activation").to_numpy(), expected, rtol=1e-3)


def test_a_head_file_without_a_mapping_is_warned_about(storage, tmp_path):
    crawl(storage, range(10))
    path = tmp_path / "head.npz"
    np.savez(path, weight=centres(range(40)) * 3, scale=32.0)
    result = filter_unlabeled("crawl", against=["ms1m"], head=str(path), store=storage.root)
    assert result.warnings == (
        "head.npz: rows were not of unit length and were normalised",
        "head.npz: does not say its embedder, so only its dimension was checked",
    )
    assert set(dropped(storage, result).values()) <= {("ms1m", str(i)) for i in range(40)}
    assert result.dropped == 20


def test_a_head_of_another_embedder_or_dimension_is_refused(storage, tmp_path):
    crawl(storage, range(10))
    rows = [("a", f"a{i}") for i in range(4)]
    other = EmbeddingModel("other", "cd" * 32)
    write_head(storage, "h", centres(range(4)), scale=32, rows=rows, embedder=other)
    model = mean_colour_embedder(tmp_path / "colour.onnx")
    with pytest.raises(
        ModelError, match=r"h: an embedder that differs from the head's: colour \w{8}; expected sha"
    ):
        filter_unlabeled("crawl", head="h", model=str(model), store=storage.root)
    np.savez(tmp_path / "short.npz", weight=np.eye(9), scale=32.0)
    with pytest.raises(ModelError, match=r"short.npz: has centres of 9 numbers; expected 64 as d"):
        filter_unlabeled("crawl", head=str(tmp_path / "short.npz"), store=storage.root)


def test_a_single_known_person_has_no_activation_to_speak_of(storage):
    label(storage, "alone", [0])
    label(storage, "many", range(1, 40))
    crawl(storage, range(60, 70))
    with pytest.raises(FindingError, match=r"alone: one known identity, so that every activation"):
        filter_unlabeled("crawl", against=["many", "alone"], rule="activation", store=storage.root)
    with pytest.raises(FindingError, match=r"alone: one known identity with 2 images; expected tw"):
        filter_unlabeled("crawl", against=["alone"], store=storage.root)
    result = filter_unlabeled("crawl", against=["many", "alone"], store=storage.root)
    assert result.dropped <= 2


def test_people_with_one_image_each_can_not_be_known(storage):
    label(storage, "a", range(10), images=1)
    crawl(storage, range(3))
    with pytest.raises(
        FindingError,
        match=r"a: no identity has 2 images with embeddings; give another dataset with --against",
    ):
        filter_unlabeled("crawl", against=["a"], store=storage.root)


@pytest.mark.parametrize("threshold", [0, -1, 1.01, math.nan, math.inf])
def test_a_threshold_outside_0_to_1_is_refused(storage, threshold):
    label(storage, "a", range(2))
    crawl(storage, range(2))
    with pytest.raises(UsageError, match=r"--max-activation: .*; expected over 0, at most 1"):
        filter_unlabeled("crawl", against=["a"], max_activation=threshold, store=storage.root)


def test_what_can_not_be_filtered_is_said_before_any_work(storage):
    label(storage, "a", range(2))
    crawl(storage, range(2))
    make_dataset(storage, "lfw", {"x": 2}, kind="evaluation")
    refused = [
        ({"dataset": "a", "against": ["a"]}, r"a: is labeled; expected an unlabeled dataset; peop"),
        (
            {"dataset": "crawl", "against": ["crawl"]},
            r"--against crawl: is unlabeled; expected a l",
        ),
        (
            {"dataset": "crawl", "against": ["lfw"]},
            r"--against lfw: is evaluation; expected a labe",
        ),
        ({"dataset": "crawl", "against": []}, r"--against: is missing; expected at least one lab"),
        ({"dataset": "crawl", "against": ["a", "a"]}, r"--against: names a dataset twice: a, a; e"),
        ({"dataset": "crawl", "against": ["a"], "rule": "both"}, r"--rule: 'both'; expected two-p"),
    ]
    for arguments, message in refused:
        with pytest.raises(UsageError, match=message):
            filter_unlabeled(**arguments, store=storage.root)
    with pytest.raises(StoreError, match=r"^ms1m: is not ingested; fusekit ingest ms1m --from RAW"):
        filter_unlabeled("crawl", against=["ms1m"], store=storage.root)
    with pytest.raises(StoreError, match=r"crawk: is not ingested; did you mean 'crawl'\?"):
        filter_unlabeled("crawk", against=["a"], store=storage.root)
    assert list_findings(storage) == []


def test_a_filter_after_embedding_uses_what_stands(storage, tmp_path):
    model = str(mean_colour_embedder(tmp_path / "colour.onnx"))
    make_dataset(storage, "a", {f"p{i}": 3 for i in range(12)})
    make_dataset(storage, "crawl", 10)
    for name in ("a", "crawl"):
        embed_dataset(name, model=model, store=storage.root, workers=0)
    seen = []
    filter_unlabeled("crawl", against=["a"], store=storage.root, report=seen.append)
    assert not [p for p in seen if p.stage.startswith("embed")]


def test_held_out_truth_says_what_a_crawl_then_shows(storage):
    label(storage, "a", range(60), images=6)
    crawl(storage, range(120), images=4)
    result = filter_unlabeled("crawl", against=["a"], store=storage.root)
    out = dropped(storage, result)
    known = np.mean([item in out for item in range(240)])
    strangers = np.mean([item not in out for item in range(240, 480)])
    expected = result.held_out["a"]
    assert known == pytest.approx(expected["known_dropped"], abs=0.05)
    assert strangers == pytest.approx(expected["strangers_kept"], abs=0.05)


def test_a_head_has_no_held_out_truth(storage):
    crawl(storage, range(10))
    rows = [("a", f"a{i}") for i in range(40)]
    write_head(storage, "h", centres(range(40)), scale=32, rows=rows, embedder=MODEL)
    assert filter_unlabeled("crawl", head="h", store=storage.root).held_out == {}


def test_a_truth_file_judges_and_changes_nothing(storage, tmp_path):
    label(storage, "a", range(40))
    info = crawl(storage, [*range(10), *range(60, 100)])
    plain = filter_unlabeled("crawl", against=["a"], store=storage.root)
    lines = [f"{sample_key(f'crawl/{i:05d}.jpg', 0)},{int(i < 20)}" for i in range(info.samples)]
    path = tmp_path / "truth.csv"
    path.write_text("\n".join(["key,known", *lines]))
    result = filter_unlabeled("crawl", against=["a"], truth=path, store=storage.root)
    assert result.finding == plain.finding
    out = dropped(storage, result)
    hits = sum(item < 20 for item in out)
    judged = result.judged
    assert (judged.known, judged.strangers, judged.known_dropped) == (20, 80, hits)
    assert judged.recall == hits / 20
    assert judged.precision == pytest.approx(hits / len(out), abs=1e-6)


def test_bf16_finds_the_same_people_and_says_how_far_it_is_off(storage):
    label(storage, "a", range(40))
    crawl(storage, [*range(10), *range(60, 100)])
    exact = filter_unlabeled("crawl", against=["a"], store=storage.root)
    coarse = filter_unlabeled("crawl", against=["a"], precision="bf16", store=storage.root)
    assert coarse.finding != exact.finding
    assert set(dropped(storage, coarse)) == set(dropped(storage, exact))
    finding = next(f for f in list_findings(storage) if f.fingerprint == coarse.finding)
    differs = finding.about["precision_differs"]
    assert differs["samples"] == 100
    assert 0 < differs["activation"] < 0.02
    assert 0 < differs["cosine"] < 0.004


def test_bf16_that_is_too_coarse_is_refused(storage, monkeypatch):
    label(storage, "a", range(40))
    crawl(storage, range(20))
    monkeypatch.setattr(activation_table, "BF16_DIFFERS", 1e-7)
    with pytest.raises(
        FindingError,
        match=r"crawl: activations by bf16 differ from float32's by 0\.\d+; "
        r"expected at most 1e-07; leave --precision bf16 out",
    ):
        filter_unlabeled("crawl", against=["a"], precision="bf16", store=storage.root)
    assert list_findings(storage) == []
