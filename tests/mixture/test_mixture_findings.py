"""What a recipe does with findings: what it names, what it refuses, what it writes down."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.recipes import (
    build,
    change_fingerprint,
    contaminated,
    give_activations,
    give_finding,
    recipe,
)
from support.stores import make_dataset

from fusekit.errors import FindingError, RecipeError
from fusekit.fingerprint import fingerprint
from fusekit.mixture.build import build_mixture
from fusekit.mixture.mixture import Mixture
from fusekit.mixture.plan import plan_mixture
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import finding_json
from fusekit.store.layout import finding, open_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("findings") / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 5, "bob": 2, "cid": 4, "dan": 3}, unit_size=6)
    make_dataset(storage, "rec", {"0": 4, "1": 1}, seed=1)
    make_dataset(storage, "crawl", 10, seed=2)
    for name in ("lfw", "cfp-fp"):
        make_dataset(storage, name, {"a": 1}, kind="evaluation")
    return storage.root


@pytest.fixture
def storage(made, tmp_path):
    return open_store(shutil.copytree(made, tmp_path / "s"))


def keys_of(storage, dataset, identity=None):
    rows = pq.read_table(storage.path(f"datasets/{dataset}/samples-000000.parquet")).to_pylist()
    return [r["key"] for r in rows if identity in (None, r["identity"])]


def about(storage, name="m"):
    return json.loads(storage.read(f"mixtures/{name}/mixture.json"))


def give_contamination(storage, rows, against=("lfw", "cfp-fp"), **more):
    return give_finding(
        storage, "contamination", ["vgg", "rec"], [contaminated(storage, *row) for row in rows],
        also=list(against), against=list(against), **more,
    )  # fmt: skip


def test_every_identity_left_out_is_named_with_its_reason(storage):
    found = give_contamination(
        storage,
        [("vgg", "ann", "lfw"), ("vgg", "ann", "cfp-fp"), ("vgg", "bob", "lfw", "unsure"),
         ("vgg", "cid", "lfw", "different"), ("rec", "1", "cfp-fp")],
    )  # fmt: skip
    exclude = {"evaluation": ["lfw", "cfp-fp"], "identities": {"vgg": ["dan", "ann"]}}
    summary = build(storage, "vgg", "rec", exclude=exclude)
    told = [
        {"dataset": "vgg", "identity": "ann",
         "reason": "named by the recipe; in lfw (embedding); in cfp-fp (embedding)"},
        {"dataset": "vgg", "identity": "bob", "reason": "in lfw (embedding, unsure)"},
        {"dataset": "vgg", "identity": "dan", "reason": "named by the recipe"},
        {"dataset": "rec", "identity": "1", "reason": "in cfp-fp (embedding)"},
    ]  # fmt: skip
    assert about(storage)["removed"] == summary.as_json()["removed"] == told
    assert about(storage)["checked_against"] == ["lfw", "cfp-fp"]
    assert about(storage)["findings"] == {"contamination": found.fingerprint}
    assert summary.checked_against == ("lfw", "cfp-fp")
    assert "4 identities left out, named in mixture.json" in summary.notes
    assert Mixture.open(storage.path("mixtures/m")).checked_against == ("lfw", "cfp-fp")
    kept = build(storage, "vgg", "rec", name="k", exclude={"evaluation": ["lfw"], "unsure": "keep"})
    assert [each["identity"] for each in kept.removed] == ["ann"]
    assert kept.sources[0].dropped == {"exclude": 5}


def test_a_mixture_that_was_not_checked_says_so(storage):
    assert build(storage, "vgg").as_json()["checked_against"] == []
    assert about(storage)["removed"] == []
    exclude = {"identities": {"vgg": ["dan"]}}
    summary = build(storage, "vgg", "rec", overwrite=True, exclude=exclude)
    assert (summary.checked_against, summary.sources[0].dropped) == ((), {"exclude": 3})
    assert summary.sources[1].dropped == {"exclude": 0}


def test_a_class_of_two_people_that_is_dropped_is_named(storage):
    key, *_ = keys_of(storage, "vgg", "ann")
    row = {"key": key, "identity": "ann", "identity_index": 0, "flag": "split", "cluster": 1}
    made = give_finding(storage, "label-noise", ["vgg"], [row])
    summary = build(storage, {"dataset": "vgg", "clean": {"split": "drop"}})
    assert summary.removed == (
        {"dataset": "vgg", "identity": "ann", "reason": "its class holds two people"},
    )
    assert (summary.sources[0].dropped, summary.sources[0].classes) == ({"clean": 5}, 3)
    assert summary.as_json()["datasets"][0]["finding"] == made.fingerprint
    assert build(storage, {"dataset": "vgg", "clean": True}, name="n").sources[0].rows == 13
    kept = build(storage, {"dataset": "vgg", "clean": False}, name="o")
    assert (kept.sources[0].rows, kept.sources[0].finding) == (14, None)


def copies(*rows):
    names = ("group", "dataset", "key", "identity", "quality", "decision")
    return [dict(zip(names, row, strict=True)) for row in rows]


def kept_of(storage, *keys):
    tables = [pq.read_table(storage.path(f"mixtures/m/{t}.parquet")) for t in
              ("labeled", "unlabeled")]  # fmt: skip
    there = {key for table in tables for key in table["key"].to_pylist()}
    return [key in there for key in keys]


def test_the_next_best_copy_stands_where_the_best_fell_to_another_rule(storage):
    best, middle, worst = keys_of(storage, "vgg", "ann")[:3]
    rows = [(0, "vgg", best, "ann", 0.9, "keep"), (0, "vgg", middle, "ann", 0.5, "drop"),
            (0, "vgg", worst, "ann", 0.2, "drop")]  # fmt: skip
    give_finding(storage, "duplicates", ["vgg"], copies(*rows))
    build(storage, "vgg", dedup=True)
    assert kept_of(storage, best, middle, worst) == [True, False, False]
    give_finding(
        storage, "label-noise", ["vgg"],
        [{"key": best, "identity": "ann", "identity_index": 0, "flag": "outlier"}],
    )  # fmt: skip
    build(storage, {"dataset": "vgg", "clean": True}, dedup=True, overwrite=True)
    assert kept_of(storage, best, middle, worst) == [False, True, False]


def test_a_labeled_copy_stands_before_a_better_one_without_a_label(storage):
    (one, *_), (two, *_) = keys_of(storage, "vgg", "bob"), keys_of(storage, "crawl")
    rows = [(0, "crawl", two, None, 0.9, "keep"), (0, "vgg", one, "bob", 0.1, "drop")]
    give_finding(storage, "duplicates", ["vgg", "crawl"], copies(*rows))
    summary = build(storage, "vgg", unlabeled=["crawl"], dedup=True)
    assert kept_of(storage, one, two) == [True, False]
    assert [source.dropped for source in summary.sources] == [{"dedup": 0}, {"dedup": 1}]


def test_copies_under_two_identities_all_go_unless_the_recipe_keeps_them(storage):
    (one, *_), (two, *_) = keys_of(storage, "vgg", "bob"), keys_of(storage, "vgg", "ann")
    rows = [(0, "vgg", one, "bob", 0.9, "unsure"), (0, "vgg", two, "ann", 0.1, "unsure")]
    give_finding(
        storage, "duplicates", ["vgg"], [row | {"conflict": True} for row in copies(*rows)]
    )
    build(storage, "vgg", dedup=True)
    assert kept_of(storage, one, two) == [False, False]
    build(storage, "vgg", dedup={"conflicts": "keep"}, overwrite=True)
    assert kept_of(storage, one, two) == [True, True]


@pytest.mark.parametrize(
    ("kind", "datasets", "row", "more", "message"),
    [
        ("label-noise", ["vgg"], {"key": "nobody"}, {},
         "names 1 samples that vgg does not have; fusekit clean vgg makes it again"),
        ("label-noise", ["vgg"], {"flag": "odd"}, {}, "has a flag 'odd' that can't be followed"),
        ("label-noise", ["vgg"], {"decision": "maybe"}, {},
         "has a decision 'maybe' that can't be followed"),
        ("label-noise", ["vgg"], {"flag": "split", "cluster": 0}, {"split": "split"},
         "splits off samples of no second cluster"),
        ("duplicates", ["vgg"], {"key": "nobody"}, {},
         "names 1 samples that vgg does not have; fusekit dedup vgg makes it again"),
        ("duplicates", ["vgg"], {"decision": "same"}, {}, "has a decision 'same' that can't be"),
        ("contamination", ["vgg"], {"identity_index": 77}, {},
         "names identity 77, which vgg does not have; fusekit decontaminate vgg makes it again"),
        ("contamination", ["vgg"], {"decision": "keep"}, {}, "has a decision 'keep' that can't be"),
    ],
)  # fmt: skip
def test_a_finding_that_does_not_fit_is_refused(storage, kind, datasets, row, more, message):
    whole = {
        "identity": "ann",
        "identity_index": 0,
        "dataset": "vgg",
        "group": 0,
        "key": keys_of(storage, "vgg", "ann")[0],
        "evaluation": "lfw",
        "decision": "drop",
    }
    if kind == "contamination":
        whole["decision"] = "same"
    known = {
        "label-noise": {"key", "identity", "identity_index"},
        "duplicates": {"group", "dataset", "key", "identity"},
        "contamination": {"dataset", "identity", "identity_index", "evaluation", "decision"},
    }
    plain = {name: whole[name] for name in known[kind]}
    give_finding(storage, kind, datasets, [plain | row], against=["lfw"])
    asked = {
        "label-noise": ({"dataset": "vgg", "clean": more or True}, {}),
        "duplicates": ("vgg", {"dedup": True}),
        "contamination": ("vgg", {"exclude": {"evaluation": ["lfw"]}}),
    }[kind]  # fmt: skip
    with pytest.raises(FindingError) as error:
        build(storage, asked[0], **asked[1])
    assert message in str(error.value)
    assert not storage.exists("mixtures/m")


ASKED = {
    "label-noise": ({"dataset": "vgg", "clean": True}, {}),
    "duplicates": ("vgg", {"dedup": True}),
    "contamination": ("vgg", {"exclude": {"evaluation": ["lfw"]}}),
}
MADE_BY = {
    "label-noise": "fusekit clean vgg", "duplicates": "fusekit dedup vgg",
    "contamination": "fusekit decontaminate vgg",
}  # fmt: skip


def named(kind, prefix):
    """The recipe of a kind with the finding's prefix in it."""
    source, more = ASKED[kind]
    if kind == "label-noise":
        return {"dataset": "vgg", "clean": {"finding": prefix}}, {}
    key = "dedup" if kind == "duplicates" else "exclude"
    return source, {key: ({} if more[key] is True else more[key]) | {"finding": prefix}}


@pytest.mark.parametrize("kind", ASKED)
def test_a_rule_needs_exactly_one_fresh_finding(storage, kind):
    source, more = ASKED[kind]
    with pytest.raises(FindingError, match=f"vgg: no {kind} finding; {MADE_BY[kind]}"):
        build(storage, source, **more)
    first = give_finding(storage, kind, ["vgg"], [], against=["lfw"])
    assert build(storage, source, **more).sources[0].rows == 14
    second = give_finding(storage, kind, ["vgg"], [], against=["lfw"], settings=2)
    with pytest.raises(FindingError, match=f"vgg: 2 {kind} findings"):
        build(storage, source, overwrite=True, **more)
    source, more = named(kind, second.fingerprint[:8])
    build(storage, source, overwrite=True, **more)
    used = json.dumps(about(storage))
    assert second.fingerprint in used
    assert first.fingerprint not in used
    change_fingerprint(storage, "vgg", "1" * 64)
    with pytest.raises(FindingError, match=f"{kind} finding {second.fingerprint[:12]} is stale"):
        build(storage, source, overwrite=True, **more)


def test_a_finding_of_too_few_datasets_is_refused(storage):
    give_finding(storage, "duplicates", ["vgg"], [])
    with pytest.raises(FindingError, match="vgg, rec, crawl: no duplicates finding; fusekit dedup"):
        build(storage, "vgg", "rec", unlabeled=["crawl"], dedup=True)
    give_contamination(storage, [], against=["lfw"])
    with pytest.raises(FindingError) as error:
        build(storage, "vgg", "rec", exclude={"evaluation": ["lfw", "cfp-fp"]})
    assert "does not know cfp-fp; expected every evaluation set of the recipe" in str(error.value)
    assert str(error.value).endswith("fusekit decontaminate vgg rec --against lfw cfp-fp")


def test_an_identity_that_nobody_has_is_refused_by_name(storage):
    with pytest.raises(RecipeError) as error:
        build(storage, "vgg", exclude={"identities": {"vgg": ["annn"]}})
    assert str(error.value) == (
        "recipe m: exclude.identities.vgg: no identity is named 'annn'; did you mean 'ann'?"
    )


def test_a_table_of_other_columns_is_refused(storage):
    made = give_finding(storage, "label-noise", ["vgg"], [])
    path = storage.path(f"{finding('label-noise', made.fingerprint)}/table.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["flag"]), path)
    with pytest.raises(
        FindingError, match=r"vgg: label-noise finding .* lacks columns of this rel"
    ):
        build(storage, {"dataset": "vgg", "clean": True})
    pq.write_table(pa.table({"key": [1], "identity_index": ["x"], "flag": [1], "cluster": ["y"],
                             "decision": [1]}), path)  # fmt: skip
    with pytest.raises(FindingError, match="has columns of other types than this release's"):
        build(storage, {"dataset": "vgg", "clean": True})


def told(storage, **each):
    """Activation rows; ``each`` gives by number what is said of a sample of the crawl."""
    plain = {"activation": 0.1, "cosine": 0.5, "low_quality": None, "duplicate_of": None}
    keys = keys_of(storage, "crawl")
    return keys, [
        {"key": key} | plain | {k: keys[v] if k == "duplicate_of" else v for k, v in
                                each.get(f"s{i}", {}).items()}
        for i, key in enumerate(keys)
    ]  # fmt: skip


def test_flagged_crawl_samples_are_dropped_and_a_copy_stands_where_its_best_is_gone(storage):
    keys, rows = told(
        storage, s0={"low_quality": "dark"}, s1={"duplicate_of": 0}, s2={"duplicate_of": 0},
        s3={"duplicate_of": 4}, s5={"activation": 0.95}, s6={"duplicate_of": 5},
    )  # fmt: skip
    give_activations(storage, "crawl", ["vgg"], rows)

    def left(*drop, **more):
        crawl = {"dataset": "crawl", "drop": list(drop)} | more
        summary = build(storage, "vgg", unlabeled=[crawl], overwrite=True)
        gone = kept_of(storage, *keys)
        return [i for i, kept in enumerate(gone) if not kept], summary.notes[1]

    assert left("duplicate")[0] == [1, 2, 3, 6]
    assert left("low-quality")[0] == [0]
    assert left("low-quality", "duplicate")[0] == [0, 2, 3, 6]
    gone, note = left("low-quality", "duplicate", max_activation=0.9)
    assert gone == [0, 2, 3, 5]
    assert note == "crawl: 6 of 10 samples (max_activation took 1, drop took 3)"
    assert left("duplicate")[1].endswith("; not filtered")


def test_an_activation_finding_from_before_the_flags_filters_but_does_not_drop(storage):
    _, rows = told(storage, s5={"activation": 0.95})
    made = give_activations(storage, "crawl", ["vgg"], rows)
    folder = finding("activation", made.fingerprint)
    path = storage.path(f"{folder}/table.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["low_quality", "duplicate_of"]), path)
    storage.write(f"{folder}/finding.json", finding_json(made, "0" * 64))
    crawl = {"dataset": "crawl", "max_activation": 0.9}
    assert build(storage, "vgg", unlabeled=[crawl]).unlabeled == 9
    with pytest.raises(FindingError) as error:
        build(storage, "vgg", unlabeled=[crawl | {"drop": ["duplicate"]}], overwrite=True)
    assert "was made before such samples were flagged; fusekit filter crawl --against vgg" in str(
        error.value
    )


def test_dropping_flagged_samples_asks_nothing_about_known_people(storage):
    _, rows = told(storage, s0={"low_quality": "dark"})
    give_activations(storage, "crawl", ["rec"], rows)
    crawl = {"dataset": "crawl", "drop": ["low-quality"]}
    assert build(storage, "vgg", unlabeled=[crawl]).unlabeled == 9


def test_a_finding_of_erased_samples_is_followed(storage):
    key, *_ = keys_of(storage, "vgg", "bob")
    rows = [
        {"key": "", "identity": "", "identity_index": -1},
        {"key": key, "identity": "bob", "identity_index": 1},
    ]
    give_finding(storage, "label-noise", ["vgg"], rows)
    assert build(storage, {"dataset": "vgg", "clean": True}).sources[0].dropped == {"clean": 1}
    row = {"dataset": "vgg", "identity": "", "identity_index": -1, "evaluation": "lfw"}
    give_finding(storage, "contamination", ["vgg"], [row | {"decision": "same"}], against=["lfw"])
    assert build(storage, "vgg", name="n", exclude={"evaluation": ["lfw"]}).removed == ()


def everything(storage):
    """A recipe that uses every kind of finding, each written to the store."""
    (ann, *_), (bob, *_) = keys_of(storage, "vgg", "ann"), keys_of(storage, "vgg", "bob")
    give_contamination(storage, [("vgg", "dan", "lfw")], against=["lfw"])
    give_finding(storage, "label-noise", ["vgg"], [
        {"key": ann, "identity": "ann", "identity_index": 0, "flag": "split", "cluster": 1},
        {"key": bob, "identity": "bob", "identity_index": 1},
    ])  # fmt: skip
    one, two = keys_of(storage, "rec", "0")[:2]
    give_finding(
        storage, "duplicates", ["vgg", "rec", "crawl"],
        copies((0, "rec", one, "0", 0.9, "keep"), (0, "rec", two, "0", 0.5, "drop")),
    )  # fmt: skip
    _, rows = told(storage, s0={"low_quality": "dark"}, s5={"activation": 0.95})
    give_activations(storage, "crawl", ["vgg", "rec"], rows)
    give_finding(storage, "overlap", ["vgg", "rec"], [])
    return recipe(
        {"dataset": "vgg", "clean": {"split": "split"}, "where": "det_score > 0", "min_images": 1},
        "rec",
        unlabeled=[{"dataset": "crawl", "max_activation": 0.9, "drop": ["low-quality"]}],
        exclude={"evaluation": ["lfw"]}, dedup=True, labels="merge",
    )  # fmt: skip


def test_the_same_recipe_and_findings_give_the_same_bytes(storage, tmp_path):
    asked = everything(storage)
    other = open_store(shutil.copytree(storage.root, tmp_path / "twin"))
    dry = build_mixture(asked, storage.root, dry_run=True)
    assert not storage.exists("mixtures/m")
    for each in (storage, other):
        assert build_mixture(asked, each.root).as_json() == dry.as_json() | {"state": "built"}
    assert build_mixture(asked, storage.root).as_json() == dry.as_json() | {"state": "unchanged"}
    found = [{p.name: p.read_bytes() for p in each.path("mixtures/m").iterdir()}
             for each in (storage, other)]  # fmt: skip
    assert found[0] == found[1]
    rules = [[step.rule for step in source.steps] for source in dry.sources]
    assert rules == [
        ["where", "exclude", "clean", "dedup", "min_images"], ["exclude", "dedup"],
        ["max_activation", "drop", "dedup"],
    ]  # fmt: skip
    steps = dry.as_json()["datasets"][0]["steps"]
    assert steps[1:3] == [
        {"rule": "exclude", "rows_in": 14, "taken": 3, "rows_out": 11, "identities": 3},
        {"rule": "clean", "rows_in": 11, "taken": 1, "rows_out": 10, "identities": 4},
    ]
    assert set(about(storage)["findings"]) == {"contamination", "duplicates", "overlap"}


def test_a_recipe_without_these_rules_has_the_fingerprint_it_had_before_them(storage):
    # A loader's saved state names it, so it must not move with what recipes may say.
    asked = recipe("vgg", {"dataset": "rec", "max_images": 2}, unlabeled=["crawl"])
    plan = plan_mixture(storage, asked, "x")
    infos = {name: open_dataset(storage, name) for name in ("vgg", "rec", "crawl")}
    counts = {"vgg": (None, None), "rec": (None, 2)}
    sources = [
        {"dataset": name, "where": None, "min_images": fewest, "max_images": most}
        for name, (fewest, most) in counts.items()
    ]
    sources.append({"dataset": "crawl", "where": None, "max_activation": None, "finding": None})
    assert plan.selection() == {
        "format_version": 1, "labels": "keep", "seed": 0,
        "sources": [
            source | {
                "kind": infos[source["dataset"]].kind, "finding": None,
                "dataset_index": infos[source["dataset"]].index,
                "fingerprint": infos[source["dataset"]].fingerprint,
            }
            for source in sources
        ],
    }  # fmt: skip
    assert plan.fingerprint == fingerprint(plan.selection())
