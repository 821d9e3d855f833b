import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipes import build, give_activations
from support.stores import make_dataset

from fusekit.errors import FindingError, MixtureError, StoreError
from fusekit.rng import derive, mix
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("select") / "s", create=True)
    people = {f"p{i:02d}": 1 + i * 3 % 11 for i in range(14)}
    make_dataset(storage, "vgg", people, unit_size=13)
    make_dataset(storage, "rec", {"0": 4, "1": 1}, seed=1)
    make_dataset(storage, "crawl", 60, unit_size=17)
    return storage


def manifest(storage, name):
    """Every row of a dataset, in plan order."""
    parts = sorted(storage.path(f"datasets/{name}/manifest").iterdir())
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def kept_keys(storage, name="m", table="labeled", dataset=None):
    path = storage.path(f"mixtures/{name}/{table}.parquet")
    rows = pq.read_table(path, columns=["key", "dataset"]).to_pylist()
    return [row["key"] for row in rows if dataset in (None, row["dataset"])]


def rank(key, seed, dataset):
    """rng.rank_words of one key, in Python integers."""
    words = key.encode().ljust(24, b"\0")
    value = derive(seed, "max_images", dataset)
    for i in range(0, 24, 8):
        value = mix(value ^ int.from_bytes(words[i : i + 8], "little"))
    return value


def expected(rows, *, least=0.0, most=None, fewest=None, seed=0, dataset="vgg"):
    """The rules, by hand: where det_score >= least, then max_images, then min_images."""
    rows = [row for row in rows if row["det_score"] >= least]
    if most:
        ranked = sorted(rows, key=lambda row: rank(row["key"], seed, dataset))
        place = Counter()
        keep = set()
        for row in ranked:
            place[row["identity"]] += 1
            if place[row["identity"]] <= most:
                keep.add(row["key"])
        rows = [row for row in rows if row["key"] in keep]
    images = Counter(row["identity"] for row in rows)
    return [row["key"] for row in rows if images[row["identity"]] >= (fewest or 1)]


@settings(max_examples=15)
@given(
    st.sampled_from([None, "0.5", "0.55", "0.7", "0.85"]),
    st.none() | st.integers(1, 8),
    st.none() | st.integers(1, 4),
    st.integers(0, 2**63 - 1),
)
def test_rows_are_selected_as_ten_lines_of_python_would(storage, least, most, fewest, seed):
    if most and fewest and fewest > most:
        most, fewest = fewest, most
    source = {
        "dataset": "vgg", "where": least and f"det_score >= {least}", "max_images": most,
        "min_images": fewest,
    }  # fmt: skip
    rows = manifest(storage, "vgg")
    limit = float(np.float32(least)) if least else 0.0
    wanted = expected(rows, least=limit, most=most, fewest=fewest, seed=seed)
    if not wanted:
        with pytest.raises(MixtureError, match="no sample is left"):
            build(storage, source, seed=seed, overwrite=True)
        return
    summary = build(storage, source, seed=seed, overwrite=True)
    assert kept_keys(storage) == wanted
    (told,) = summary.sources
    assert told.rows + sum(told.dropped.values()) == told.samples == len(rows)
    asked = {"where": least, "max_images": most, "min_images": fewest}
    assert list(told.dropped) == [rule for rule, value in asked.items() if value is not None]


def test_which_images_are_kept_follows_from_key_and_seed_alone(storage, tmp_path):
    # The same people and keys in another store, cut into other units, beside other datasets.
    other = open_store(tmp_path / "s", create=True)
    make_dataset(other, "vgg", {f"p{i:02d}": 1 + i * 3 % 11 for i in range(14)}, unit_size=5)
    source = {"dataset": "vgg", "max_images": 3}
    build(storage, source, seed=5, overwrite=True)
    build(other, source, seed=5)
    assert set(kept_keys(storage)) == set(kept_keys(other))
    build(other, source, seed=6, overwrite=True)
    assert set(kept_keys(storage)) != set(kept_keys(other))


def test_a_null_in_a_condition_leaves_the_row_out(storage):
    with pytest.raises(MixtureError, match=r"m: vgg: no sample is left of \d+, where took \d+;"):
        build(storage, {"dataset": "vgg", "where": "hint_iou > 0.5"}, overwrite=True)


def test_a_condition_that_fails_on_a_value_is_one_line(storage):
    source = {"dataset": "vgg", "where": '"offset" * 9223372036854775807 + "offset" > 7'}
    with pytest.raises(MixtureError, match=r"vgg: where: .*overflow") as error:
        build(storage, source, overwrite=True)
    assert "\n" not in str(error.value)


def activations(storage, values, cosines=None):
    keys = [row["key"] for row in manifest(storage, "crawl")]
    cosines = cosines or [0.5] * len(keys)
    # In another order than the manifest: a finding is joined by key.
    rows = [
        {"key": k, "activation": a, "cosine": c}
        for k, a, c in zip(keys, values, cosines, strict=True)
    ]
    return keys, rows[::-1]


def filtered(storage, **more):
    return build(
        storage, "vgg", unlabeled=[{"dataset": "crawl", "max_activation": 0.9} | more],
        overwrite=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("small") / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 3, "bob": 2})
    make_dataset(storage, "rec", {"0": 3})
    make_dataset(storage, "crawl", 20, unit_size=7)
    return storage.root


@pytest.fixture
def own(small, tmp_path):
    return open_store(shutil.copytree(small, tmp_path / "s"))


def test_samples_above_the_activation_are_out_and_counted(own):
    keys, rows = activations(own, [i / 20 for i in range(20)])
    finding = give_activations(own, "crawl", ["vgg"], rows)
    summary = filtered(own)
    told = summary.sources[1]
    wanted = [k for k, i in zip(keys, range(20), strict=True) if np.float32(i / 20) <= 0.9]
    assert kept_keys(own, table="unlabeled") == wanted
    assert told.dropped == {"max_activation": 20 - len(wanted)}
    assert told.finding == finding.fingerprint
    assert told.note() == f"crawl: {len(wanted)} of 20 samples (max_activation took 1)"


def test_an_activation_at_the_threshold_stays(own):
    exact = 0.25  # the same number as float32 and as float64
    keys, rows = activations(own, [exact, np.nextafter(np.float32(exact), 1)] * 10)
    give_activations(own, "crawl", ["vgg"], rows)
    filtered(own, max_activation=exact)
    assert kept_keys(own, table="unlabeled") == keys[::2]


def test_under_the_two_part_rule_the_cosine_must_be_high_too(own):
    keys, rows = activations(own, [0.95] * 20, [0.6, 0.4] * 10)
    give_activations(own, "crawl", ["vgg"], rows, rule="two-part", cosine_threshold=0.5)
    filtered(own)
    assert kept_keys(own, table="unlabeled") == keys[1::2]


def test_where_acts_before_the_activation(own):
    keys, rows = activations(own, [0.95] * 20)
    give_activations(own, "crawl", ["vgg"], rows)
    with pytest.raises(MixtureError, match="of 20, where took 9, max_activation took 11"):
        filtered(own, where="det_score < 0.605")
    assert len(keys) == 20


def test_without_max_activation_a_crawl_is_not_filtered_and_the_summary_says_so(own):
    summary = build(own, "vgg", unlabeled=["crawl"])
    assert summary.unlabeled == 20
    assert summary.notes[1] == "crawl: 20 of 20 samples; not filtered"


def test_no_finding_is_never_unfiltered(own):
    with pytest.raises(FindingError, match="crawl: no activation finding; fusekit filter crawl"):
        filtered(own)


def test_a_finding_must_know_every_labeled_dataset(own):
    _, rows = activations(own, [0.1] * 20)
    give_activations(own, "crawl", ["vgg"], rows)
    with pytest.raises(FindingError) as error:
        build(
            own, "vgg", "rec", unlabeled=[{"dataset": "crawl", "max_activation": 0.9}]
        )  # fmt: skip
    assert "does not know rec; expected every labeled dataset of the recipe" in str(error.value)
    assert str(error.value).endswith("fusekit filter crawl --against vgg --against rec")


def test_a_finding_made_with_a_head_knows_whom_the_head_knows(own):
    _, rows = activations(own, [0.1] * 20)
    give_activations(own, "crawl", [], rows, head="1" * 64)
    assert filtered(own).unlabeled == 20


def test_a_stale_finding_is_refused(own):
    _, rows = activations(own, [0.1] * 20)
    inputs = {"crawl": "0" * 64}
    give_activations(own, "crawl", ["vgg"], rows, inputs=inputs)
    with pytest.raises(FindingError, match=r"crawl: activation finding .* is stale: crawl has"):
        filtered(own)


def test_a_prefix_in_the_recipe_names_the_finding(own):
    keys, rows = activations(own, [0.95] * 10 + [0.1] * 10)
    made = give_activations(own, "crawl", ["vgg"], rows)
    _, rows = activations(own, [0.1] * 20)
    give_activations(own, "crawl", ["vgg"], rows, scale=2.0)
    with pytest.raises(FindingError, match="crawl: 2 activation findings"):
        filtered(own)
    filtered(own, finding=made.fingerprint[:8])
    assert kept_keys(own, table="unlabeled") == keys[10:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "says nothing of 1 samples"),
        (lambda rows: [rows[0] | {"activation": float("nan")}, *rows[1:]], "says nothing of 1 sam"),
    ],
)
def test_a_finding_that_misses_a_sample_is_refused(own, change, message):
    _, rows = activations(own, [0.1] * 20)
    give_activations(own, "crawl", ["vgg"], change(rows))
    with pytest.raises(FindingError, match=message):
        filtered(own)


def test_a_finding_with_a_key_twice_is_refused(own):
    _, rows = activations(own, [0.1] * 20)
    give_activations(own, "crawl", ["vgg"], [*rows, rows[0]])
    with pytest.raises(MixtureError, match="crawl: its manifests or its finding do not have 20"):
        filtered(own)


def test_a_finding_with_a_rule_of_a_later_release_is_refused(own):
    _, rows = activations(own, [0.1] * 20)
    give_activations(own, "crawl", ["vgg"], rows, rule="three-part")
    with pytest.raises(FindingError, match="has a rule 'three-part' that can't be followed"):
        filtered(own)


def test_a_finding_without_its_table_is_refused(own):
    _, rows = activations(own, [0.1] * 20)
    made = give_activations(own, "crawl", ["vgg"], rows)
    own.remove(f"findings/activation/{made.fingerprint}/table.parquet")
    with pytest.raises(FindingError, match=r"has no table; fusekit filter crawl makes it again"):
        filtered(own)


def test_a_missing_manifest_is_named(own):
    own.remove("datasets/vgg/samples-000000.parquet")
    with pytest.raises(StoreError, match=r"datasets/vgg/samples-000000.parquet: is missing"):
        build(own, "vgg")


def rewrite(storage, name, change):
    path = storage.path(f"datasets/{name}/samples-000000.parquet")
    pq.write_table(change(pq.read_table(path)), path)


def erase_first(table):
    lengths = [0, *table["length"].to_pylist()[1:]]
    at = table.schema.get_field_index("length")
    return table.set_column(at, table.schema.field(at), pa.array(lengths, pa.int32()))


def test_erased_samples_are_left_out_and_counted(own):
    rewrite(own, "vgg", erase_first)
    (told,) = build(own, "vgg").sources
    assert (told.rows, told.dropped) == (4, {"erased": 1})


def test_an_erased_sample_needs_no_activation(own):
    _, rows = activations(own, [0.1] * 20)
    first = manifest(own, "crawl")[0]["key"]
    give_activations(own, "crawl", ["vgg"], [row for row in rows if row["key"] != first])
    rewrite(own, "crawl", erase_first)
    assert filtered(own).unlabeled == 19


def test_manifests_of_another_length_or_order_are_refused(own):
    rewrite(own, "vgg", lambda table: table.slice(1))
    with pytest.raises(MixtureError, match="vgg: its manifests or its finding do not have 5 rows"):
        build(own, "vgg")
    rewrite(own, "crawl", lambda table: table.take(list(range(19, -1, -1))))
    with pytest.raises(MixtureError, match="crawl: its manifests are not in plan order"):
        build(own, "rec", unlabeled=["crawl"])
