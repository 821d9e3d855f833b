import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from support.coded_faces import (
    draw_codes,
    draw_pairs,
    lose,
    make_coded_set,
    pairs_of,
    read_codes,
    source,
)
from support.exports import draw_images
from support.onnx_models import mean_colour_embedder
from support.recipes import build
from support.scored import slow_cosine
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit import evaluate, forget
from fusekit.cli.main import app
from fusekit.errors import ModelError, StoreError, UsageError
from fusekit.evaluation.folds import fold_accuracy
from fusekit.evaluation.rates import tar_at_far
from fusekit.fingerprint import file_sha256
from fusekit.mixture.mixture import Mixture
from fusekit.schema import PLAN_TEMPLATES_SCHEMA, SEARCHES_SCHEMA, TEMPLATE_PAIRS_SCHEMA
from fusekit.store.embeddings import EmbeddingModel
from fusekit.store.heads import write_head
from fusekit.store.layout import open_store
from fusekit.store.protocol import PLANNED

OTHER = EmbeddingModel("other", "ab" * 32)
IMAGES = 4
SPREAD = 0.75


def scores_of(codes, rows):
    return np.array([slow_cosine(codes[a], codes[b]) for _, a, b in rows])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """lfw with 400 pairs in ten folds, gaps with some of them lost, and what they were made of."""
    storage = open_store(tmp_path_factory.mktemp("evaluate") / "store", create=True)
    rows = draw_pairs(30, IMAGES, 400, 10)
    table = pairs_of(rows, IMAGES)
    _, codes = make_coded_set(
        storage, "lfw", 30, IMAGES, protocol={"pairs": table}, spread=SPREAD, unit_size=32
    )
    make_coded_set(
        storage, "gaps", 30, IMAGES, protocol={"pairs": lose(table, range(40))}, spread=SPREAD
    )
    make_coded_set(storage, "bare", 12, IMAGES, spread=SPREAD, seed=5)
    make_dataset(storage, "train", {"a": 3, "b": 3})
    build(storage, "train")
    return SimpleNamespace(storage=storage, store=storage.root, rows=rows, codes=codes)


def test_pairs_are_judged_by_the_protocol_s_folds(made):
    about = evaluate(read_codes, on=["lfw"], fars=[0.1, 0.01, 1e-3], store=made.store).as_json()
    assert list(about) == ["lfw"]
    scores = scores_of(made.codes, made.rows)
    same = made.rows[:, 1] // IMAGES == made.rows[:, 2] // IMAGES
    expected = fold_accuracy(scores, same, made.rows[:, 0])
    found = about["lfw"]
    assert 0.8 < found["accuracy"] < 1
    assert found["accuracy"] == pytest.approx(expected.accuracy)
    assert (found["std"], found["stderr"]) == pytest.approx((expected.std, expected.stderr))
    rates = tar_at_far(scores, same, [0.1, 0.01, 1e-3])
    assert found["tar"] == {"0.1": rates[0].tar, "0.01": rates[1].tar, "0.001": None}
    assert found["few"] == ["0.01", "0.001"]
    assert found["tar_interval"]["0.1"] == list(rates[0].interval)
    assert (found["pairs"], found["genuine"], found["missing"]) == (400, 200, 0)
    assert len(found["folds"]) == 10
    assert found["template"] == "N0F0"


def test_mirror_images_are_added(made):
    about = evaluate(read_codes, on=["lfw"], template="N1F1", fars=[0.1], store=made.store)
    there = made.codes.reshape(-1, 7, 7, 3)
    back = there[:, :, ::-1].reshape(len(there), -1)
    # A code and its mirror image are as long, so that their sum's direction is N1's as well.
    scores = scores_of(made.codes + back, made.rows)
    same = made.rows[:, 1] // IMAGES == made.rows[:, 2] // IMAGES
    assert about.sets[0].verification.folds.accuracy == pytest.approx(
        fold_accuracy(scores, same, made.rows[:, 0]).accuracy
    )
    assert about.template == "N1F1"


def test_a_pair_of_which_an_item_gave_no_sample_is_wrong_unless_left_out(made):
    scores = scores_of(made.codes, made.rows)
    same = made.rows[:, 1] // IMAGES == made.rows[:, 2] // IMAGES
    gone = np.arange(400) < 40
    lost = np.where(gone, -np.inf, scores)
    wrong = evaluate(read_codes, on=["gaps"], fars=[0.1], store=made.store).as_json()["gaps"]
    expected = fold_accuracy(lost, same, made.rows[:, 0], gone)
    assert wrong["folds"] == list(expected.folds)
    assert wrong["folds"][0] == 0.0  # all 40 pairs of fold 1 are gone
    assert wrong["tar"]["0.1"] == tar_at_far(lost, same, [0.1])[0].tar
    assert (wrong["pairs"], wrong["missing"]) == (400, 40)
    out = evaluate(read_codes, on=["gaps"], missing="left-out", fars=[0.1], store=made.store)
    about = out.as_json()["gaps"]
    assert (about["pairs"], about["missing"], len(about["folds"])) == (360, 40, 9)
    assert about["tar"]["0.1"] == tar_at_far(scores[~gone], same[~gone], [0.1])[0].tar


def test_a_set_of_identities_is_compared_image_by_image(made):
    about = evaluate(read_codes, on=["bare"], fars=[0.1, 0.5], store=made.store).as_json()["bare"]
    count = 12 * IMAGES
    assert about["accuracy"] is None
    assert (about["pairs"], about["genuine"]) == (count * (count - 1) // 2, 12 * 6)
    codes = draw_codes(12, IMAGES, SPREAD, 5)
    pairs = [(a, b) for a in range(count) for b in range(a)]
    scores = np.array([slow_cosine(codes[a], codes[b]) for a, b in pairs])
    same = np.array([a // IMAGES == b // IMAGES for a, b in pairs])
    expected = tar_at_far(scores, same, [0.1, 0.5])
    assert list(about["tar"].values()) == pytest.approx([rate.tar for rate in expected])


def test_pairs_of_an_erased_sample_are_missing(made, tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    table = pairs_of(made.rows, IMAGES)
    make_coded_set(storage, "lfw", 30, IMAGES, protocol={"pairs": table}, spread=SPREAD)
    a = int(made.rows[0, 1])
    forget(source=source(a, IMAGES), dataset="lfw", store=tmp_path / "s")
    about = evaluate(read_codes, on=["lfw"], fars=[0.1], store=tmp_path / "s").as_json()["lfw"]
    touched = int((made.rows[:, 1:] == a).any(axis=1).sum())
    assert about["missing"] == touched > 0
    whole = evaluate(read_codes, on=["lfw"], fars=[0.1], store=made.store).as_json()["lfw"]
    assert about["accuracy"] < whole["accuracy"]


def test_a_group_of_one_fold_has_no_deviation(made, tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    parts = [
        pairs_of(made.rows[(made.rows[:, 0] == 1) == first], IMAGES, name)
        for first, name in ((True, "few"), (False, "many"))
    ]
    table = pa.concat_tables(parts)
    main = table.set_column(1, table.schema.field("main"), pa.array([True] * table.num_rows))
    make_coded_set(storage, "lfw", 30, IMAGES, protocol={"pairs": main}, spread=SPREAD)
    found = evaluate(read_codes, on=["lfw"], by="protocol", fars=[0.1], store=tmp_path / "s")
    by = found.as_json()["lfw"]["by"]
    assert (by["few"]["std"], len(by["few"]["folds"]), len(by["many"]["folds"])) == (None, 1, 9)


def test_another_protocol_is_asked_for_by_its_name(made, tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    view1 = pairs_of(made.rows[:6], IMAGES, "view-1", main=False)
    both = pa.concat_tables([view1, pairs_of(made.rows[:100], IMAGES)])
    make_coded_set(storage, "lfw", 30, IMAGES, protocol={"pairs": both})
    about = evaluate(read_codes, on=["lfw", "lfw:view-1"], store=tmp_path / "s").as_json()
    assert (about["lfw"]["pairs"], about["lfw:view-1"]["pairs"]) == (100, 6)
    with pytest.raises(StoreError, match="lfw: no protocol 'x'; expected one of view-1, all"):
        evaluate(read_codes, on=["lfw:x"], store=tmp_path / "s")
    only = pairs_of(made.rows[:6], IMAGES, "view-1", main=False)
    make_coded_set(storage, "dev", 30, IMAGES, protocol={"pairs": only})
    with pytest.raises(StoreError, match="has no pairs of a main protocol; name one: dev:view-1"):
        evaluate(read_codes, on=["dev"], store=tmp_path / "s")


def test_groups_are_judged_by_their_own_and_by_the_set_s_thresholds(made, tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    parts = [
        pairs_of(made.rows[made.rows[:, 0] % 2 == n], IMAGES, name)
        for n, name in enumerate(("african", "indian"))
    ]
    table = pa.concat_tables(parts)
    main = table.set_column(1, table.schema.field("main"), pa.array([True] * table.num_rows))
    _, codes = make_coded_set(
        storage, "rfw", 30, IMAGES, protocol={"pairs": main}, spread=SPREAD, unit_size=40
    )
    found = evaluate(read_codes, on=["rfw"], by="protocol", fars=[0.1], store=tmp_path / "s")
    about = found.as_json()["rfw"]
    assert list(about["by"]) == ["african", "indian"]
    assert [about["by"][g]["pairs"] for g in about["by"]] == [200, 200]
    threshold = about["threshold"]["0.1"] - 1e-9  # cosines summed in another order
    for n, group in enumerate(("african", "indian")):
        rows = made.rows[made.rows[:, 0] % 2 == n]
        scores, same = scores_of(codes, rows), rows[:, 1] // IMAGES == rows[:, 2] // IMAGES
        at_whole = about["by"][group]["at_whole"]["0.1"]
        assert at_whole["far"] == pytest.approx((scores[~same] >= threshold).mean())
        assert at_whole["tar"] == pytest.approx((scores[same] >= threshold).mean())
        folds = about["by"][group]["folds"]
        assert folds == pytest.approx(fold_accuracy(scores, same, rows[:, 0]).folds)
    by_unit = evaluate(read_codes, on=["rfw"], by="unit", fars=[0.1], store=tmp_path / "s")
    groups = by_unit.as_json()["rfw"]["by"]
    assert (
        0 < sum(group["pairs"] for group in groups.values()) < 400
    )  # pairs across units are none's


def test_sets_without_pairs_have_groups_too(made):
    about = evaluate(read_codes, on=["bare"], by="split", fars=[0.1], store=made.store)
    assert about.as_json()["bare"]["by"] == {}
    about = evaluate(read_codes, on=["bare"], by="media", fars=[0.1], store=made.store).as_json()
    assert about["bare"]["by"]["still"]["tar"] == about["bare"]["tar"]


@pytest.fixture(scope="module")
def janus(tmp_path_factory):
    """Ten people of 6 images: a template of 4 in two media, one of 2; two galleries and probes."""
    storage = open_store(tmp_path_factory.mktemp("janus") / "store", create=True)
    rows = []
    for person in range(10):
        for image in range(6):
            at = source(6 * person + image, 6)
            template = 2 * person + (image >= 4)
            media = f"v{image // 3}" if image < 4 else None
            rows.append(
                {"template": template, "media": media, "source": at, "score": 0.5 + image / 10}
            )
    rows.append({"template": 99, "media": None, "source": "gone.jpg", "score": 1.0})
    pairs = [
        {"template_a": 2 * a, "template_b": 2 * b + 1, "same": a == b}
        for a in range(10) for b in range(10)
    ]  # fmt: skip
    pairs.append({"template_a": 0, "template_b": 99, "same": True})
    searches = [
        {"list": f"gallery-{1 + (p >= 5)}", "template": 2 * p, "subject": f"s{p}"}
        for p in range(10)
    ]
    searches += [{"list": "probe", "template": 2 * p + 1, "subject": f"s{p}"} for p in range(10)]
    searches.append({"list": "probe", "template": 99, "subject": "s0"})
    tables = {"templates": rows, "template_pairs": pairs, "searches": searches}
    schemas = (PLAN_TEMPLATES_SCHEMA, TEMPLATE_PAIRS_SCHEMA, SEARCHES_SCHEMA)
    protocol = {
        name: pa.Table.from_pylist(tables[name], schema=schema)
        for name, schema in zip(tables, schemas, strict=True)
    }
    assert set(protocol) < set(PLANNED)
    _, codes = make_coded_set(storage, "ijb-c", 10, 6, protocol=protocol, spread=0.8)
    return SimpleNamespace(store=storage.root, codes=codes)


def slow_template(codes, person, second, weigh):
    mine = codes[6 * person : 6 * person + 6].astype(np.float64)
    weights = 0.5 + np.arange(6) / 10 if weigh else np.ones(6)
    mine = mine * weights[:, None]
    if second:
        return mine[4] + mine[5]
    return mine[:3].mean(axis=0) + mine[3]


@pytest.mark.parametrize("weigh", [True, False])
def test_templates_are_compared_and_searched(janus, weigh):
    found = evaluate(read_codes, on=["ijb-c"], weigh=weigh, fars=[0.1], store=janus.store)
    about = found.as_json()["ijb-c"]
    first, second = (
        [slow_template(janus.codes, p, which, weigh) for p in range(10)] for which in (False, True)
    )
    scores = np.array([slow_cosine(first[a], second[b]) for a in range(10) for b in range(10)])
    same = np.eye(10, dtype=bool).ravel()
    lost, both = np.append(scores, -np.inf), np.append(same, True)
    assert (about["pairs"], about["missing"], about["std"]) == (101, 1, None)
    assert about["tar"]["0.1"] == tar_at_far(lost, both, [0.1])[0].tar
    searched = about["identification"]
    assert list(searched) == ["gallery-1", "gallery-2"]
    for gallery, people in (("gallery-1", range(5)), ("gallery-2", range(5, 10))):
        mated = 5 + (0 in people)  # with the probe whose item gave no sample
        right = [
            np.argmax([slow_cosine(second[p], first[q]) for q in people]) == p - people[0]
            for p in people
        ]
        assert (searched[gallery]["mated"], searched[gallery]["strangers"]) == (mated, 11 - mated)
        # That one has a mate in the first gallery, which it never finds.
        assert searched[gallery]["rank"]["1"] == pytest.approx(sum(right) / mated)
        assert searched[gallery]["rank"]["10"] == pytest.approx(5 / mated)


def test_groups_of_templates_are_refused_before_any_work(janus):
    with pytest.raises(UsageError, match="--by: ijb-c compares templates; expected a set of image"):
        evaluate(read_codes, on=["ijb-c"], by="split", store=janus.store)


def test_images_are_identified_among_the_others(made):
    about = evaluate(read_codes, on=["bare"], neighbours=3, fars=[0.1], store=made.store)
    found = about.as_json()["bare"]["neighbours"]
    assert (found["neighbours"], found["mated"], found["strangers"]) == (3, 48, 0)
    codes = draw_codes(12, IMAGES, SPREAD, 5)
    scores = np.array([[slow_cosine(a, b) for b in codes] for a in codes]) - 9 * np.eye(48)
    right = scores.argmax(axis=1) // IMAGES == np.arange(48) // IMAGES
    assert found["rank"]["1"] == pytest.approx(right.mean())
    assert 0.3 < found["closed"]["right"] < 1
    assert found["open"]["0.1"]["named"] is None


def test_a_gallery_says_what_the_rates_come_to(made):
    about = evaluate(read_codes, on=["lfw"], gallery=30, fars=[0.1, 1e-3], store=made.store)
    gallery = about.as_json()["lfw"]["gallery"]
    assert gallery["size"] == 30
    assert list(gallery["far"]) == ["0.1"]  # the other has no TAR
    assert gallery["far"]["0.1"]["search"]["expected"] == pytest.approx(3.0)
    accuracy = about.as_json()["lfw"]["accuracy"]
    assert gallery["accuracy"]["all_pairs"]["chance"] == pytest.approx(1 - accuracy**435)


def test_a_head_s_activations_on_strangers_are_tabulated(made):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 147)).astype(np.float32)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    rows = [("a", "v"), ("a", "w"), ("a", "x"), ("b", "y"), ("b", "z")]
    write_head(made.storage, "h", weight, scale=20.0, rows=rows, embedder=OTHER)
    about = evaluate(read_codes, on=["bare"], head="h", fars=[0.1], store=made.store).as_json()
    table = about["bare"]["open_set"]
    codes = make_codes(made)
    cosines = codes @ weight.T / np.linalg.norm(codes, axis=1)[:, None]
    parts = [np.exp(20 * cosines[:, a:b]) for a, b in ((0, 3), (3, 5))]
    largest = np.max([(p / p.sum(axis=1, keepdims=True)).max(axis=1) for p in parts], axis=0)
    assert table["mean"] == pytest.approx(largest.mean(), rel=1e-4)
    assert table["below"]["0.6"] == pytest.approx((largest < 0.6).mean())
    assert (table["samples"], table["head"]) == (48, "h")
    with pytest.raises(UsageError, match="--head: h has centres of 147 numbers; expected 3 as the"):
        evaluate(lambda crops: crops.mean(axis=(1, 2)), on=["bare"], head="h", store=made.store)


def make_codes(made):
    from fusekit.evaluation.embedders import Embeddings
    from fusekit.progress import silent
    from fusekit.store.datasets import open_dataset

    info = open_dataset(made.storage, "bare")
    return Embeddings(read_codes, 0, silent).of(made.storage, info, mirrored=False).plain


def test_a_head_of_another_model_is_refused(made, tmp_path):
    model = mean_colour_embedder(tmp_path / "mean.onnx")
    weight = np.eye(3, dtype=np.float32)
    rows = [("a", name) for name in "xyz"]
    write_head(made.storage, "other", weight, scale=20.0, rows=rows, embedder=OTHER)
    with pytest.raises(UsageError, match=r"--head: other was trained on another model than mean"):
        evaluate(str(model), on=["bare"], head="other", store=made.store, workers=0)


def test_what_the_mixture_was_not_checked_against_is_told(made, monkeypatch):
    found = evaluate(read_codes, on=["lfw", "bare"], mixture="m", store=made.store)
    assert found.unchecked == ("lfw", "bare")
    assert all(each["unchecked"] for each in found.as_json().values())
    monkeypatch.setattr(Mixture, "checked_against", ("lfw",))
    found = evaluate(read_codes, on=["lfw", "bare"], mixture="m", store=made.store)
    assert found.unchecked == ("bare",)
    assert found.as_json()["lfw"]["unchecked"] is False
    assert "unchecked" not in evaluate(read_codes, on=["lfw"], store=made.store).as_json()["lfw"]


def test_the_curves_are_drawn(made, tmp_path):
    evaluate(read_codes, on=["lfw", "bare"], plot=tmp_path / "new" / "roc.svg", store=made.store)
    text = (tmp_path / "new" / "roc.svg").read_text()
    assert re.findall("<title>(lfw|bare)</title>", text) == ["lfw", "lfw", "bare", "bare"]


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({"on": []}, "--on: no evaluation set"),
        ({"template": "N3F3"}, "--template: 'N3F3'"),
        ({"fars": [2.0]}, "--far: 2; expected a rate"),
        ({"by": "score"}, "--by: 'score'; expected one of protocol, key"),
        ({"missing": "zero"}, "--missing: 'zero'; expected wrong or left-out"),
        ({"gallery": 0}, "--gallery: 0; expected 1 or more"),
        ({"neighbours": 0}, "--neighbours: 0; expected 1 or more"),
        ({"plot": "a.png"}, r"--plot: 'a.png'; expected a file name that ends in .svg"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_any_work(made, wish, found):
    with pytest.raises(UsageError, match=found):
        evaluate("no.onnx", **({"on": ["lfw"], "store": made.store} | wish))


def test_what_is_no_evaluation_set_is_refused(made, tmp_path):
    with pytest.raises(StoreError, match="train: is labeled; expected an evaluation set"):
        evaluate(read_codes, on=["train"], store=made.store)
    with pytest.raises(StoreError, match="agedb"):
        evaluate(read_codes, on=["agedb"], store=made.store)
    with pytest.raises(StoreError, match="bare: has no pairs, so no protocol 'x'"):
        evaluate(read_codes, on=["bare:x"], store=made.store)
    with pytest.raises(UsageError, match="--by: bare has no protocols"):
        evaluate(read_codes, on=["bare"], by="protocol", store=made.store)
    with pytest.raises(UsageError, match=r"--by: key has 120 values; expected 64"):
        evaluate(read_codes, on=["lfw"], by="key", store=made.store)
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "nothing", 3, kind="evaluation", images=draw_images(3, "png"), fmt="png")
    with pytest.raises(StoreError, match="nothing: has no pairs, templates or identities"):
        evaluate(read_codes, on=["nothing"], store=tmp_path / "s")
    templates = pa.Table.from_pylist(
        [{"template": 0, "media": "v", "source": source(0, 2), "score": 1.0}],
        schema=PLAN_TEMPLATES_SCHEMA,
    )
    make_coded_set(storage, "iqiyi", 2, 2, protocol={"templates": templates})
    with pytest.raises(StoreError, match="iqiyi: has templates, and nothing says which of them"):
        evaluate(read_codes, on=["iqiyi"], store=tmp_path / "s")
    with pytest.raises(ModelError, match=r"no.onnx"):
        evaluate("no.onnx", on=["lfw"], store=made.store)


def run(made, line, code=0):
    words = ["evaluate", *line.split(), "--store", str(made.store), "--workers", "0"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result


def test_the_command_prints_a_line_a_set_and_json_by_set(made, tmp_path):
    model = mean_colour_embedder(tmp_path / "mean.onnx")
    line = f"{model} --on lfw bare --far 0.1 --mixture m"
    shown = run(made, f"{line} --by media --gallery 9 --neighbours 2")
    assert re.search(r"^lfw +400 +0 +\d\d\.\d\d ", shown.stdout, re.MULTILINE)
    assert "TAR@0.1" in shown.stdout
    assert "rank 10" in shown.stdout
    assert "errors of a search" in shown.stdout
    assert "was not checked against lfw: its people may be in it" in shown.stderr
    about = json.loads(run(made, f"{line} --json").stdout)
    assert list(about) == ["lfw", "bare"]
    assert {"accuracy", "std", "stderr", "tar"} <= set(about["lfw"])
    assert about["lfw"]["model"] == "mean"


def test_the_command_shows_searches_and_heads(janus, tmp_path):
    model = mean_colour_embedder(tmp_path / "mean.onnx")
    storage = open_store(janus.store)
    embedder = EmbeddingModel("mean", file_sha256(model))
    rows = [("a", name) for name in "xyz"]
    eye = np.eye(3, dtype=np.float32)
    write_head(storage, "h", eye, scale=20.0, rows=rows, embedder=embedder)
    shown = run(janus, f"{model} --on ijb-c --head h").stdout
    assert "ijb-c gallery-2" in shown
    assert "centre distance" in shown
