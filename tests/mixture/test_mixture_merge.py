"""Labels that several identities share: numbering, tables, loading, exports."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.recipes import build, give_finding, identities_of, same_person
from support.stores import make_dataset

from fusekit.errors import FindingError, MixtureError
from fusekit.export.mixture import export_mixture
from fusekit.loader.loader import MixtureLoader
from fusekit.mixture.mixture import Mixture
from fusekit.report.verify import verify_store
from fusekit.store.layout import open_store

PEOPLE = {
    "vgg": {"ann": 3, "bob": 2, "cid": 4, "dan": 1, "eve": 2},
    "rec": {"0": 4, "1": 1, "2": 3},
    "pins": {"Ann": 2, "Fay": 5, "Dan D.": 1},
}
NAMES = list(PEOPLE)
EVERYONE = [(name, who) for name in NAMES for who in sorted(PEOPLE[name])]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("merge") / "s", create=True)
    for seed, name in enumerate(NAMES):
        make_dataset(storage, name, PEOPLE[name], seed=seed, unit_size=5)
    make_dataset(storage, "crawl", 8, seed=9)
    return storage


@pytest.fixture
def storage(made):
    forget_findings(made)
    for name in made.names("mixtures"):
        made.remove(f"mixtures/{name}/mixture.json")
    return made


def forget_findings(storage):
    for kind in storage.names("findings"):
        for name in storage.names(f"findings/{kind}"):
            storage.remove(f"findings/{kind}/{name}/finding.json")


def links(storage, groups):
    """Rows of an overlap finding that put each group of people into one cluster."""
    return [
        same_person(storage, group[0], other, number)
        for number, group in enumerate(groups)
        for other in group[1:]
    ]


def give_overlap(storage, groups, **more):
    return give_finding(storage, "overlap", NAMES, links(storage, groups), **more)


def opened(storage):
    return Mixture.open(storage.path("mixtures/m"), verify="files")


def rows(storage, table):
    return pq.read_table(storage.path(f"mixtures/m/{table}.parquet")).to_pylist()


@st.composite
def group_lists(draw):
    order = draw(st.permutations(EVERYONE))
    groups, at = [], 0
    for size in draw(st.lists(st.integers(2, 4), max_size=4)):
        if at + size <= len(order):
            groups.append(list(order[at : at + size]))
        at += size
    return groups


def slow_labels(groups, names, fewest):
    """Everyone's label, by going through people one by one."""
    left = [(k, w) for k, w in EVERYONE if k in names and PEOPLE[k][w] >= (fewest or 1)]
    left.sort(key=lambda who: names.index(who[0]))
    people = []
    for who in left:
        mine = next((group for group in groups if who in group), [who])
        if not any(who in known for known in people):
            people.append(mine)
    if len(names) == 2:  # first those of the first alone, then of both, then of the second alone

        def place(group):
            inside = {k for k, w in group if (k, w) in left}
            return 1 if len(inside) == 2 else 0 if names[0] in inside else 2

        people.sort(key=place)
    return {who: next(i for i, group in enumerate(people) if who in group) for who in left}


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    group_lists(), st.permutations(NAMES), st.integers(1, 3), st.none() | st.integers(1, 2),
)  # fmt: skip
def test_people_are_numbered_as_a_slow_union_numbers_them(made, groups, order, count, fewest):
    forget_findings(made)
    give_overlap(made, groups)
    names = order[:count]
    sources = [{"dataset": name, "min_images": fewest} for name in names]
    summary = build(made, *sources, labels="merge", overwrite=True)
    wanted = slow_labels(groups, names, fewest)
    members = {(m["dataset"], m["identity"]): m["label"] for m in rows(made, "members")}
    assert members == wanted
    mixture = opened(made)
    for k, name in enumerate(names):
        mine = sorted({label for who, label in wanted.items() if who[0] == name})
        assert mixture.dataset_classes(k).tolist() == mine
        assert summary.sources[k].classes == len(mine)
        if count < 3:
            first, end = mixture.class_ranges[k].tolist()
            assert list(range(first, end)) == mine
    for row in rows(made, "labeled"):
        assert row["label"] == wanted[row["dataset"], row["identity"]]
    for about in rows(made, "classes"):
        mine = [who for who, label in wanted.items() if label == about["label"]]
        assert set(about["datasets"]) == {name for name, _ in mine}
        assert about["images"] == sum(PEOPLE[name][who] for name, who in mine)
        first = min(mine, key=lambda who: (names.index(who[0]), who[1]))
        assert (about["dataset"], about["identity"]) == first
    assert verify_store(made.root).problems == ()


GROUPS = [[("vgg", "ann"), ("pins", "Ann")], [("vgg", "dan"), ("rec", "1"), ("pins", "Dan D.")]]


def test_merged_labels_have_one_softmax_and_no_ranges_beyond_two_datasets(storage):
    made = give_overlap(storage, GROUPS)
    summary = build(storage, *NAMES, labels="merge")
    assert (summary.classes, summary.sources[0].labels) == (8, None)
    assert vars(summary.overlap) == {"people": 2, "classes": 5, "finding": made.fingerprint}
    assert "2 people had several classes (5); merged, each has one" in summary.notes
    mixture = opened(storage)
    assert mixture.softmax == "joint"
    assert mixture.dataset_classes(2).tolist() == [0, 3, 7]
    with pytest.raises(MixtureError) as error:
        mixture.class_ranges  # noqa: B018 - the property itself is what fails
    assert str(error.value) == (
        "m: its labels are merged, so a dataset's labels are no range; "
        "Mixture.dataset_classes(k) gives those of labeled dataset k"
    )
    with pytest.raises(MixtureError, match="no labeled dataset 3; expected 0 to 2"):
        mixture.dataset_classes(3)
    assert build(storage, *NAMES, labels="merge").as_json() == summary.as_json() | {
        "state": "unchanged"
    }


def test_two_identities_of_one_dataset_share_a_label_too(storage):
    give_overlap(storage, [[("vgg", "bob"), ("vgg", "eve")]])
    build(storage, "vgg", labels="merge")
    members = [(m["label"], m["identity"]) for m in rows(storage, "members")]
    assert members == [(0, "ann"), (1, "bob"), (1, "eve"), (2, "cid"), (3, "dan")]
    assert opened(storage).class_ranges.tolist() == [[0, 4]]


def test_a_merged_mixture_is_drawn_by_rows_and_by_identities(storage):
    give_overlap(storage, GROUPS)
    build(storage, *NAMES, labels="merge", unlabeled=["crawl"])
    mixture = opened(storage)
    images = np.bincount(mixture.index.label[: mixture.labeled]).tolist()
    assert [c["images"] for c in rows(storage, "classes")] == images
    options = {"arrays": "numpy", "batch_size": 8}
    with MixtureLoader(mixture, **options) as loader:
        for batch in loader:
            for label, source in zip(batch.labels, batch.dataset_index, strict=True):
                assert label == -1 or label in mixture.dataset_classes(source)
    sampler = {"identities": 3, "images": 2, "datasets": ["pins"]}
    with MixtureLoader(mixture, **options, sampler=sampler) as loader:
        batch = next(iter(loader))
    assert set(batch.labels[:6].tolist()) <= set(mixture.dataset_classes(2).tolist())
    assert len(set(batch.labels[:6].tolist())) == 3
    with MixtureLoader(mixture, **options, weights="identities") as loader:
        assert next(iter(loader)).n_labeled == 6


def test_exports_name_the_identity_of_each_row_and_all_members(storage, tmp_path):
    give_overlap(storage, GROUPS)
    build(storage, *NAMES, labels="merge")
    export_mixture("m", tmp_path / "p", "parquet", store=storage.root)
    found = pq.read_table(tmp_path / "p/train-00000-of-00001.parquet").to_pylist()
    told = {(row["dataset"], row["key"]): row["identity"] for row in found}
    assert told == {(r["dataset"], r["key"]): r["identity"] for r in rows(storage, "labeled")}
    lines = (tmp_path / "p/members.csv").read_text().splitlines()
    assert lines[:3] == ['"label","dataset","identity"', '0,"vgg","ann"', '0,"pins","Ann"']
    assert len(lines) == 1 + len(EVERYONE)
    export_mixture("m", tmp_path / "w", "webdataset", store=storage.root)
    data = (tmp_path / "w/train-000000.tar").read_bytes()
    assert data.count(b'"identity":"Ann"') == 2


def test_a_person_split_off_is_not_merged_with_the_others(storage):
    give_overlap(storage, [[("vgg", "ann"), ("pins", "Ann")]])
    keys = [r["key"] for r in pq.read_table(storage.path("datasets/vgg/samples-000000.parquet"))
            .to_pylist() if r["identity"] == "ann"]  # fmt: skip
    row = {"key": keys[0], "identity": "ann", "identity_index": 0, "flag": "split", "cluster": 1}
    give_finding(storage, "label-noise", ["vgg"], [row])
    build(storage, {"dataset": "vgg", "clean": {"split": "split"}}, "pins", labels="merge")
    members = {(m["dataset"], m["identity"]): m["label"] for m in rows(storage, "members")}
    assert members["vgg", "ann"] == members["pins", "Ann"] != members["vgg", "ann#2"]
    label = members["vgg", "ann#2"]
    assert [r["key"] for r in rows(storage, "labeled") if r["label"] == label] == [keys[0]]
    assert verify_store(storage.root).problems == ()


def test_a_class_that_is_split_off_takes_no_name_that_is_taken(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 3, "ann#2": 1})
    samples = pq.read_table(storage.path("datasets/vgg/samples-000000.parquet")).to_pylist()
    key = next(row["key"] for row in samples if row["identity"] == "ann")
    row = {"key": key, "identity": "ann", "identity_index": 0, "flag": "split", "cluster": 1}
    give_finding(storage, "label-noise", ["vgg"], [row])
    build(storage, {"dataset": "vgg", "clean": {"split": "split"}})
    told = [(c["identity"], c["identity_index"], c["images"]) for c in rows(storage, "classes")]
    assert told == [("ann", 0, 2), ("ann#2", 1, 1), ("ann#3", 0, 1)]


def test_kept_labels_tell_how_many_people_are_there_twice(storage):
    made = give_overlap(storage, GROUPS)
    first = build(storage, "vgg", "pins")
    assert vars(first.overlap) == {"people": 2, "classes": 4, "finding": made.fingerprint}
    assert first.notes[-1] == (
        "2 people are in several classes (4): the dataset-aware loss keeps them from pushing each "
        "other apart; 'labels: merge' makes each one class"
    )
    again = build(storage, "vgg", "pins")
    assert (again.state, again.overlap) == ("unchanged", first.overlap)
    kept = build(storage, {"dataset": "vgg", "min_images": 2}, "pins", overwrite=True)
    assert (kept.overlap.people, kept.overlap.classes) == (1, 2)
    give_overlap(storage, GROUPS[:1], settings=2)
    assert build(storage, "vgg", "pins", overwrite=True).overlap is None
    forget_findings(storage)
    told = build(storage, "vgg", "pins", overwrite=True)
    assert (told.overlap, told.as_json()["overlap"]) == (None, None)


def bad(storage, change):
    """An overlap finding whose first row was changed."""
    good = links(storage, GROUPS)
    return [good[0] | change, *good[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity_index_a": 99}, "names an identity that vgg does not have"),
        ({"cluster": 1, "identity_index_b": 1, "identity_b": "Dan D."}, None),
        ({"identity_index_a": 3}, "puts an identity of vgg into two clusters"),
    ],
)
def test_an_overlap_finding_that_does_not_fit_is_refused(storage, change, message):
    give_finding(storage, "overlap", NAMES, bad(storage, change))
    if message is None:
        assert build(storage, *NAMES, labels="merge").classes == 8
        return
    with pytest.raises(FindingError) as error:
        build(storage, *NAMES, labels="merge")
    assert message in str(error.value)
    assert str(error.value).endswith("fusekit overlap vgg rec pins makes it again")


def test_merging_without_exactly_one_fresh_finding_is_refused(storage):
    with pytest.raises(FindingError, match="vgg, rec: no overlap finding; fusekit overlap vgg rec"):
        build(storage, "vgg", "rec", labels="merge")
    give_finding(storage, "overlap", ["vgg", "rec"], [])
    with pytest.raises(FindingError, match="vgg, pins: no overlap finding"):
        build(storage, "vgg", "pins", labels="merge")
    second = give_finding(storage, "overlap", ["vgg", "rec"], [], settings=2)
    with pytest.raises(FindingError, match="vgg, rec: 2 overlap findings"):
        build(storage, "vgg", "rec", labels="merge")
    with pytest.raises(FindingError, match=r"vgg, rec: no overlap finding ffff…"):
        build(storage, "vgg", "rec", overlap="ffff")
    assert build(storage, "vgg", "rec", labels="merge", overlap=second.fingerprint[:9]).classes == 8
    about = json.loads(storage.read("mixtures/m/mixture.json"))
    assert about["findings"] == {"overlap": second.fingerprint}


def test_another_overlap_finding_is_another_mixture(storage):
    give_overlap(storage, GROUPS)
    build(storage, *NAMES, labels="merge")
    forget_findings(storage)
    give_overlap(storage, GROUPS[:1], settings=2)
    with pytest.raises(MixtureError, match=r"is there, built otherwise \(findings.overlap: "):
        build(storage, *NAMES, labels="merge")


def test_erased_people_of_a_finding_are_nobody(storage):
    rows_ = links(storage, GROUPS)
    rows_[0] |= {"identity_a": "", "identity_index_a": -1}
    give_finding(storage, "overlap", NAMES, rows_)
    assert build(storage, *NAMES, labels="merge").classes == 9
    assert identities_of(storage, "pins")[0] == "Ann"
