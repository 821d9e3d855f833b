"""Every rule of a recipe at once, over random findings, against plain Python."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.recipes import build, contaminated, give_activations, give_finding, person
from support.stores import make_dataset

from fusekit.errors import MixtureError
from fusekit.mixture.summary import RULES
from fusekit.rng import derive, mix
from fusekit.store.layout import open_store

PEOPLE = {"vgg": {f"p{i}": 2 + i % 4 for i in range(7)}, "rec": {"0": 4, "1": 3, "2": 2}}
NAMES = ["vgg", "rec", "crawl"]
SAMPLE = st.sampled_from(["keep", "drop", "unsure"])
PAIR = st.sampled_from(["same", "different", "unsure"])


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("rules") / "s", create=True)
    make_dataset(storage, "vgg", PEOPLE["vgg"], unit_size=7)
    make_dataset(storage, "rec", PEOPLE["rec"], seed=1, unit_size=4)
    make_dataset(storage, "crawl", 14, seed=2, unit_size=5)
    for name in ("lfw", "cfp-fp"):
        make_dataset(storage, name, {"a": 1}, kind="evaluation")
    return storage


def manifest(storage, name):
    """Every row of a dataset, in plan order."""
    parts = sorted(storage.path(f"datasets/{name}/manifest").iterdir())
    columns = ["key", "dataset", "identity", "det_score"]
    return [row for part in parts for row in pq.read_table(part, columns=columns).to_pylist()]


@st.composite
def findings(draw, rows):
    """What findings say: contamination, label noise, activations, duplicates."""
    said = {
        "contamination": {
            (name, who, test): draw(PAIR)
            for name in ("vgg", "rec") for who in PEOPLE[name] for test in ("lfw", "cfp-fp")
            if draw(st.integers(0, 5)) == 0
        },
        "noise": {}, "activations": {}, "copies": [],
    }  # fmt: skip
    for row in rows["vgg"]:
        if draw(st.integers(0, 2)) == 0:
            flag = draw(st.sampled_from(["outlier", "split", "mislabeled"]))
            said["noise"][row["key"]] = (flag, draw(st.integers(1, 2)), draw(SAMPLE))
    keys = [row["key"] for row in rows["crawl"]]
    originals = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True))
    for key in keys:
        original = None if key in originals else draw(st.none() | st.sampled_from(originals))
        said["activations"][key] = (
            draw(st.sampled_from([0.2, 0.95])), draw(st.none() | st.just("dark")), original,
        )  # fmt: skip
    everything = [(row["dataset"], row["key"], row["identity"]) for n in NAMES for row in rows[n]]
    order = draw(st.permutations(everything))
    at = 0
    for group in range(draw(st.integers(0, 6))):
        size = draw(st.integers(2, 4))
        conflict = draw(st.booleans())
        for dataset, key, who in order[at : at + size]:
            quality = draw(st.integers(0, 4)) / 4
            said["copies"].append((group, dataset, key, who, quality, conflict, draw(SAMPLE)))
        at += size
    return said


def give(storage, said):
    """Write the findings in place of those that were there."""
    storage.sweep("findings")
    for kind in storage.names("findings"):
        for name in storage.names(f"findings/{kind}"):
            storage.remove(f"findings/{kind}/{name}/finding.json")
    give_finding(
        storage, "contamination", ["vgg", "rec"],
        [contaminated(storage, *who, decision) for who, decision in said["contamination"].items()],
        also=["lfw", "cfp-fp"], against=["lfw", "cfp-fp"],
    )  # fmt: skip
    owner = {row["key"]: row["identity"] for row in manifest(storage, "vgg")}
    give_finding(storage, "label-noise", ["vgg"], [
        {"key": key, "identity": owner[key], "identity_index": person(storage, "vgg", owner[key]),
         "flag": flag, "cluster": cluster, "decision": decision}
        for key, (flag, cluster, decision) in said["noise"].items()
    ])  # fmt: skip
    give_activations(storage, "crawl", ["vgg", "rec"], [
        {"key": key, "activation": value, "cosine": 0.5, "low_quality": poor,
         "duplicate_of": original}
        for key, (value, poor, original) in said["activations"].items()
    ])  # fmt: skip
    names = ("group", "dataset", "key", "identity", "quality", "conflict", "decision")
    rows = [dict(zip(names, copy, strict=True)) for copy in said["copies"]]
    give_finding(storage, "duplicates", NAMES, rows)


RECIPES = st.fixed_dictionaries({
    "least": st.none() | st.just(0.6),
    "evaluation": st.sampled_from([[], ["lfw"], ["cfp-fp", "lfw"]]),
    "listed": st.lists(st.sampled_from(sorted(PEOPLE["vgg"])), max_size=1),
    "excluded": st.sampled_from(["keep", "drop"]),
    "clean": st.none() | st.fixed_dictionaries({
        "unsure": st.sampled_from(["keep", "drop"]),
        "split": st.sampled_from(["largest", "drop", "keep", "split"]),
    }),
    "max_activation": st.none() | st.just(0.9),
    "drop": st.lists(st.sampled_from(["low-quality", "duplicate"]), unique=True),
    "dedup": st.none() | st.fixed_dictionaries({
        "across": st.booleans(), "conflicts": st.sampled_from(["drop", "keep"]),
    }),
    "most": st.none() | st.integers(1, 4),
    "fewest": st.none() | st.integers(1, 3),
    "seed": st.integers(0, 3),
})  # fmt: skip


def as_recipe(asked):
    """The recipe of these choices, as build() takes it."""
    where = asked["least"] and f"det_score >= {asked['least']}"
    vgg = {
        "dataset": "vgg", "where": where, "clean": asked["clean"], "max_images": asked["most"],
        "min_images": asked["fewest"],
    }  # fmt: skip
    crawl = {"dataset": "crawl", "max_activation": asked["max_activation"], "drop": asked["drop"]}
    exclude = {"evaluation": asked["evaluation"], "unsure": asked["excluded"]}
    if asked["listed"]:
        exclude["identities"] = {"vgg": asked["listed"]}
    if not asked["listed"] and not asked["evaluation"]:
        exclude = None
    more = {"exclude": exclude, "dedup": asked["dedup"], "seed": asked["seed"]}
    return (vgg, "rec"), {"unlabeled": [crawl]} | more


class Slowly:
    """The rules of DESIGN in the order of the guide, on lists of dicts."""

    def __init__(self, rows, said, asked):
        self.rows = {name: [dict(row) for row in rows[name]] for name in NAMES}
        for name in NAMES:
            for row in self.rows[name]:
                row["person"] = (row["identity"], 1)
        self.said, self.asked = said, asked
        self.removed = set()
        self.taken = {name: {} for name in NAMES}
        self.split = set()
        self.run()

    def keep(self, rule, name, test):
        before = self.rows[name]
        self.rows[name] = [row for row in before if test(row)]
        self.taken[name][rule] = len(before) - len(self.rows[name])

    def run(self):
        asked, said = self.asked, self.said
        if asked["least"]:
            self.keep("where", "vgg", lambda row: row["det_score"] >= 0.6)
        if asked["evaluation"] or asked["listed"]:
            self.exclude()
        if asked["clean"] is not None:
            self.clean()
        if asked["max_activation"]:
            self.keep("max_activation", "crawl", lambda r: said["activations"][r["key"]][0] <= 0.9)
        if asked["drop"]:
            self.drop()
        if asked["dedup"] is not None:
            self.dedup()
        if asked["most"]:
            self.most()
        if asked["fewest"]:
            counts = Counter(row["person"] for row in self.rows["vgg"])
            self.keep("min_images", "vgg", lambda row: counts[row["person"]] >= asked["fewest"])

    def exclude(self):
        bad = {"same", "unsure"} if self.asked["excluded"] == "drop" else {"same"}
        for (name, who, test), decision in self.said["contamination"].items():
            if test in self.asked["evaluation"] and decision in bad:
                self.removed.add((name, who))
        self.removed |= {("vgg", who) for who in self.asked["listed"]}
        for name in ("vgg", "rec"):
            self.keep("exclude", name, lambda r: (r["dataset"], r["identity"]) not in self.removed)

    def clean(self):
        asked = self.asked["clean"]
        acting = {"drop", "unsure"} if asked["unsure"] == "drop" else {"drop"}
        owner = {r["key"]: r["identity"] for r in self.all_vgg()}
        acts = {k: v for k, v in self.said["noise"].items() if v[2] in acting}
        second = {k for k, v in acts.items() if v[0] == "split"}
        out = set(acts) - second
        two = {owner[key] for key in second}
        if asked["split"] == "largest":
            out |= second
        elif asked["split"] == "drop":
            self.removed |= {("vgg", who) for who in two}
            out |= {key for key, who in owner.items() if who in two}
        elif asked["split"] == "split":
            for row in self.rows["vgg"]:
                if row["key"] in second:
                    row["person"] = (row["identity"], acts[row["key"]][1] + 1)
        self.keep("clean", "vgg", lambda row: row["key"] not in out)

    def all_vgg(self):
        return self.said["all"]["vgg"]

    def drop(self):
        told, flags = self.said["activations"], self.asked["drop"]
        left = [row["key"] for row in self.rows["crawl"]]
        if "low-quality" in flags:
            left = [key for key in left if told[key][1] is None]
        if "duplicate" in flags:
            stays, seen = [], set()
            for key in left:
                original = told[key][2]
                if original is None or (original not in left and original not in seen):
                    stays.append(key)
                    seen.add(original)
            left = stays
        self.keep("drop", "crawl", lambda row: row["key"] in left)

    def dedup(self):
        asked = self.asked["dedup"]
        left = {(row["dataset"], row["key"]): n for n, row in enumerate(
            row for name in NAMES for row in self.said["all"][name])}  # fmt: skip
        there = {(r["dataset"], r["key"]) for name in NAMES for r in self.rows[name]}
        groups = {}
        for copy in self.said["copies"]:
            groups.setdefault((copy[0], None if asked["across"] else copy[1]), []).append(copy)
        out = set()
        for copies in groups.values():
            mine = [copy for copy in copies if copy[1:3] in there]
            people = {(copy[1], copy[3]) for copy in copies}
            if asked["conflicts"] == "drop" and any(c[5] for c in copies) and len(people) > 1:
                out |= {copy[1:3] for copy in mine}
                continue
            mine = [copy for copy in mine if copy[6] != "unsure"]
            labeled = [copy for copy in mine if copy[3] is not None]
            good = labeled or mine
            stay = [copy for copy in good if copy[6] == "keep"]
            if good and not stay:
                stay = [min(good, key=lambda copy: (-copy[4], left[copy[1:3]]))]
            out |= {copy[1:3] for copy in mine if copy not in stay}
        for name in NAMES:
            self.keep("dedup", name, lambda row: (row["dataset"], row["key"]) not in out)

    def most(self):
        seen, keep = Counter(), set()
        for row in sorted(self.rows["vgg"], key=lambda row: rank(row["key"], self.asked["seed"])):
            seen[row["person"]] += 1
            if seen[row["person"]] <= self.asked["most"]:
                keep.add(row["key"])
        self.keep("max_images", "vgg", lambda row: row["key"] in keep)


def rank(key, seed):
    """rng.rank_words of one key, in Python integers."""
    words = key.encode().ljust(24, b"\0")
    value = derive(seed, "max_images", "vgg")
    for i in range(0, 24, 8):
        value = mix(value ^ int.from_bytes(words[i : i + 8], "little"))
    return value


# Building takes long enough that shrinking a failure would outlast everybody's patience.
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_every_rule_takes_what_plain_python_takes(storage, data):
    rows = {name: manifest(storage, name) for name in NAMES}
    said, asked = data.draw(findings(rows)), data.draw(RECIPES)
    if asked["most"] and asked["fewest"] and asked["fewest"] > asked["most"]:
        asked["most"], asked["fewest"] = asked["fewest"], asked["most"]
    give(storage, said)
    slow = Slowly(rows, said | {"all": rows}, asked)
    labeled, more = as_recipe(asked)
    if not all(slow.rows.values()):
        with pytest.raises(MixtureError, match="no sample is left"):
            build(storage, *labeled, overwrite=True, **more)
        return
    summary = build(storage, *labeled, overwrite=True, **more)
    for told in summary.sources:
        assert told.dropped == slow.taken[told.dataset]
        assert list(told.dropped) == [rule for rule in RULES if rule in told.dropped]
        table = "unlabeled" if told.kind == "unlabeled" else "labeled"
        kept = pq.read_table(storage.path(f"mixtures/m/{table}.parquet")).to_pylist()
        keys = [row["key"] for row in kept if row["dataset"] == told.dataset]
        assert keys == [row["key"] for row in slow.rows[told.dataset]]
    assert {(each["dataset"], each["identity"]) for each in summary.removed} == slow.removed
    check_classes(storage, slow)
    check_steps(summary)


def check_classes(storage, slow):
    """Every person has a class of their own, those who were split off too."""
    classes = pq.read_table(storage.path("mixtures/m/classes.parquet")).to_pylist()
    wanted = Counter()
    for name in ("vgg", "rec"):
        for row in slow.rows[name]:
            who, number = row["person"]
            wanted[name, who if number == 1 else f"{who}#{number}"] += 1
    assert {(c["dataset"], c["identity"]): c["images"] for c in classes} == wanted


def check_steps(summary):
    for told in summary.sources:
        rows = told.samples
        for step in told.steps:
            assert (step.rows_in, step.rows_in - step.taken) == (rows, step.rows_out)
            rows = step.rows_out
        assert rows == told.rows
        if told.kind == "labeled" and told.steps:
            assert told.steps[-1].identities == told.classes
