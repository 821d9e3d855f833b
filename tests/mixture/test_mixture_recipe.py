import re
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fusekit.cards.card import load_card
from fusekit.errors import RecipeError
from fusekit.mixture.drawing import SamplerSettings, Steps, Temperature, Weights
from fusekit.mixture.recipe import Recipe, load_recipe, recipe_paths
from fusekit.mixture.rules import Clean, Dedup

NAMES = st.from_regex(r"\A[a-z0-9-]{1,64}\Z")
COUNTS = st.none() | st.integers(1, 10_000)
SHARES = st.fractions(0, 1, max_denominator=1_000_000).filter(lambda share: share < 1)

GROUPINGS = st.sampled_from(["mixed", "sub_batches", "one_dataset"])
WEIGHTS = st.one_of(
    st.integers(1, 10**6), st.sampled_from([0.5, 0.125, "1/3"]),
    st.fractions(1, 10**6, max_denominator=10**6).map(str),
)  # fmt: skip
EPOCHS = st.sampled_from(["cycle", "stop_first"]) | st.fixed_dictionaries(
    {"steps": st.integers(1, 10**9)}
)

PREFIX = st.from_regex(r"\A[0-9a-f]{4,64}\Z")
UNSURE = st.sampled_from(["keep", "drop"])
SPLIT = st.sampled_from(["largest", "drop", "keep", "split"])
CLEAN = st.booleans() | st.fixed_dictionaries(
    {}, optional={"finding": PREFIX, "unsure": UNSURE, "split": SPLIT}
)
DEDUP = st.booleans() | st.fixed_dictionaries(
    {}, optional={"finding": PREFIX, "across": st.booleans(), "conflicts": UNSURE}
)


@st.composite
def recipes(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    split = draw(st.integers(1, len(names)))
    labeled = []
    for name in names[:split]:
        fewest, most = draw(COUNTS), draw(COUNTS)
        if fewest and most:
            fewest, most = sorted((fewest, most))
        source = {"dataset": name, "min_images": fewest, "max_images": most}
        labeled.append(source | draw(st.fixed_dictionaries({}, optional={"clean": CLEAN})))
    unlabeled = []
    for name in names[split:]:
        limit = draw(st.none() | st.floats(0, 1, exclude_min=True))
        prefix = draw(st.none() | st.from_regex(r"\A[0-9a-f]{4,64}\Z")) if limit else None
        drop = draw(st.lists(st.sampled_from(["low-quality", "duplicate"]), unique=True))
        source = {"dataset": name, "max_activation": limit, "finding": prefix, "drop": drop}
        unlabeled.append(source)
    share = draw(SHARES)
    batch = {"size": draw(st.integers(1, 4096)), "unlabeled_fraction": str(share)}
    batch |= draw(st.fixed_dictionaries({}, optional={"grouping": GROUPINGS}))
    if draw(st.booleans()):
        weights = {"weights": {name: draw(WEIGHTS) for name in names[:split]}}
        batch["by"] = draw(
            st.sampled_from(["images", "identities", weights, {"temperature": draw(WEIGHTS)}])
        )
    exclude = st.fixed_dictionaries(
        {"evaluation": st.lists(NAMES, min_size=1, max_size=2, unique=True)},
        optional={"unsure": UNSURE, "identities": st.just({names[0]: ["ann"]}), "finding": PREFIX},
    )
    optional = {"epochs": EPOCHS, "exclude": exclude, "dedup": DEDUP, "overlap": PREFIX}
    more = draw(st.fixed_dictionaries({}, optional=optional))
    return {
        "name": draw(NAMES), "labeled": labeled, "unlabeled": unlabeled, "batch": batch,
        "labels": draw(st.sampled_from(["keep", "naive", "merge"])),
        "seed": draw(st.integers(0, 2**63 - 1)),
    } | more  # fmt: skip


def write(folder: Path, **more) -> Path:
    path = folder / "ten.yaml"
    path.write_text(yaml.safe_dump({"name": "ten", "labeled": [{"dataset": "vgg"}]} | more))
    return path


@given(recipes())
def test_a_recipe_survives_the_way_through_yaml_and_json(tmp_path_factory, plain):
    path = tmp_path_factory.mktemp("r") / "r.yaml"
    path.write_text(yaml.safe_dump(plain))
    recipe = load_recipe(path)
    assert recipe.as_json() == Recipe.model_validate(recipe.as_json()).as_json()
    assert Recipe.model_validate(recipe.as_json()) == recipe
    assert recipe.batch.unlabeled_fraction == Fraction(plain["batch"]["unlabeled_fraction"])


def test_what_a_recipe_leaves_out_has_its_default(tmp_path):
    recipe = load_recipe(write(tmp_path))
    assert (recipe.batch.size, recipe.batch.unlabeled_fraction) == (256, Fraction(1, 4))
    assert (recipe.labels, recipe.seed, recipe.unlabeled) == ("keep", 0, ())


def test_how_batches_are_drawn_is_read_exactly(tmp_path):
    recipe = load_recipe(
        write(
            tmp_path,
            batch={"size": 128, "by": {"weights": {"vgg": 0.1}}, "grouping": "sub_batches"},
            epochs={"steps": 500},
        )
    )
    assert recipe.batch.by == Weights({"vgg": Fraction(1, 10)})
    assert (recipe.batch.grouping, recipe.epochs) == ("sub_batches", Steps(500))
    assert recipe.as_json()["batch"]["by"] == {"weights": {"vgg": "1/10"}}
    recipe = load_recipe(write(tmp_path, batch={"by": {"temperature": "5/2"}}))
    assert recipe.batch.by == Temperature(Fraction(5, 2))
    sampler = {"identities": 64, "images": 4, "datasets": ["vgg"], "min_images": 4}
    recipe = load_recipe(write(tmp_path, sampler=sampler))
    assert recipe.sampler == SamplerSettings(**sampler)
    assert recipe.as_json()["sampler"] == sampler


def test_the_recipes_that_the_explanation_shows_load(tmp_path):
    page = Path(__file__).parents[2] / "docs/explanation/order.md"
    shown = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(shown) == 2
    for text in shown:
        sources = {"labeled": [{"dataset": "vgg"}, {"dataset": "ms1m"}]}
        sources["unlabeled"] = [{"dataset": "crawl"}]
        load_recipe(write(tmp_path, **sources | yaml.safe_load(text)))


def test_a_recipe_without_these_keys_has_the_json_it_had_before_them(tmp_path):
    plain = load_recipe(write(tmp_path)).as_json()
    assert set(plain) == {"name", "labeled", "unlabeled", "batch", "labels", "template", "seed"}
    assert plain["batch"] == {"size": 256, "unlabeled_fraction": "1/4"}
    said = load_recipe(write(tmp_path, epochs="cycle", sampler=None, batch={"grouping": "mixed"}))
    assert said.as_json() == plain
    said = load_recipe(write(tmp_path, exclude=None, dedup=False, overlap=None))
    assert said.as_json() == plain
    said = load_recipe(write(tmp_path, labeled=[{"dataset": "vgg", "clean": False}]))
    assert said.as_json() == plain


def test_true_means_the_defaults_of_a_rule(tmp_path):
    recipe = load_recipe(write(tmp_path, labeled=[{"dataset": "vgg", "clean": True}], dedup=True))
    assert recipe.labeled[0].clean == Clean(unsure="keep", split="largest")
    assert recipe.dedup == Dedup(across=True, conflicts="drop")
    assert Recipe.model_validate(recipe.as_json()) == recipe


def test_identities_of_a_recipe_are_compared_in_composed_letters(tmp_path):
    exclude = {"identities": {"vgg": ["Andre\u0301"]}}
    recipe = load_recipe(write(tmp_path, exclude=exclude))
    assert recipe.exclude.identities == {"vgg": ("Andr\u00e9",)}


def test_without_an_unlabeled_dataset_batches_are_labeled_only(tmp_path):
    assert load_recipe(write(tmp_path)).unlabeled_fraction == 0
    recipe = load_recipe(write(tmp_path, unlabeled=[{"dataset": "crawl"}]))
    assert recipe.unlabeled_fraction == Fraction(1, 4)


@pytest.mark.parametrize(
    ("share", "exact"),
    [
        (0.25, Fraction(1, 4)), (0.1, Fraction(1, 10)), ("1/3", Fraction(1, 3)), (0, Fraction(0)),
        ("0.125", Fraction(1, 8)), (0.0, Fraction(0)), (" 2/8 ", Fraction(1, 4)),
    ],
)  # fmt: skip
def test_a_share_is_taken_exactly_as_written(tmp_path, share, exact):
    recipe = load_recipe(write(tmp_path, batch={"unlabeled_fraction": share}))
    assert recipe.batch.unlabeled_fraction == exact


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"labelled": []}, "ten.yaml: unknown key 'labelled'; did you mean 'labeled'?"),
        (
            {"labeled": [{"dataset": "a"}, {"dataset": "b"}, {"dataset": "c", "min_image": 3}]},
            "ten.yaml: labeled[2]: unknown key 'min_image'; did you mean 'min_images'?",
        ),
        ({"labeled": [{}]}, "ten.yaml: labeled[0]: the key 'dataset' is missing"),
        ({"labeled": []}, "ten.yaml: labeled: []"),
        ({"labeled": [{"dataset": "VGG"}]}, "ten.yaml: labeled[0].dataset: 'VGG'"),
        ({"labeled": [{"dataset": "../x"}]}, "ten.yaml: labeled[0].dataset: '../x'"),
        (
            {"labeled": [{"dataset": "a"}, {"dataset": "a"}]},
            "ten.yaml: the dataset 'a' is there twice",
        ),
        ({"unlabeled": [{"dataset": "vgg"}]}, "ten.yaml: the dataset 'vgg' is there twice"),
        (
            {"labeled": [{"dataset": "a", "min_images": 5, "max_images": 4}]},
            "ten.yaml: labeled[0]: min_images 5 is over max_images 4",
        ),
        ({"labeled": [{"dataset": "a", "min_images": 0}]}, "labeled[0].min_images: 0; expected"),
        ({"labeled": [{"dataset": "a", "where": 5}]}, "labeled[0].where: 5; expected a valid str"),
        ({"labeled": [{"dataset": "a", "where": "x" * 10_001}]}, "at most 10000 characters"),
        (
            {"unlabeled": [{"dataset": "a", "finding": "abcd"}]},
            "unlabeled[0]: finding without max_activation or drop filters nothing",
        ),
        (
            {"unlabeled": [{"dataset": "a", "max_activation": 1.5}]},
            "unlabeled[0].max_activation: 1.5; expected less than or equal to 1",
        ),
        ({"labels": "none"}, "labels: 'none'; expected 'keep', 'naive' or 'merge'"),
        ({"overlap": "xyz"}, "overlap: 'xyz'"),
        ({"exclude": {}}, "exclude: names nobody; expected evaluation: [DATASET] or identities"),
        ({"exclude": {"evaluation": ["lfw"], "unsre": "keep"}}, "did you mean 'unsure'?"),
        ({"exclude": {"evaluation": ["lfw", "lfw"]}}, "the evaluation set 'lfw' is there twice"),
        (
            {"exclude": {"identities": {"vgg": ["a"]}, "finding": "abcd"}},
            "exclude: finding without evaluation excludes nobody; add evaluation",
        ),
        (
            {"exclude": {"identities": {"vgf": ["a"]}}},
            "exclude.identities: no labeled dataset is named 'vgf'; did you mean 'vgg'?",
        ),
        (
            {"labeled": [{"dataset": "a", "clean": {"splt": "drop"}}]},
            "ten.yaml: labeled[0].clean: unknown key 'splt'; did you mean 'split'?",
        ),
        ({"labeled": [{"dataset": "a", "clean": 3}]}, "labeled[0].clean: 3"),
        (
            {"labeled": [{"dataset": "a", "clean": {"split": "half"}}]},
            "labeled[0].clean.split: 'half'; expected 'largest', 'drop', 'keep' or 'split'",
        ),
        (
            {"dedup": {"conflict": "drop"}},
            "dedup: unknown key 'conflict'; did you mean 'conflicts'",
        ),
        ({"dedup": {"across": 1}}, "dedup.across: 1; expected a valid boolean"),
        (
            {"unlabeled": [{"dataset": "a", "drop": ["lowquality"]}]},
            "unlabeled[0].drop[0]: 'lowquality'; expected 'low-quality' or 'duplicate'",
        ),
        ({"seed": -1}, "seed: -1; expected greater than or equal to 0"),
        ({"seed": True}, "seed: True; expected a valid integer"),
        ({"name": "Ten"}, "ten.yaml: name: 'Ten'"),
        ({"batch": {"size": 0}}, "batch.size: 0; expected greater than or equal to 1"),
        ({"batch": {"unlabeled_fraction": 1}}, "unlabeled_fraction: 1 is no share; expected 0 <="),
        ({"batch": {"unlabeled_fraction": -0.1}}, "-0.1 is no share; expected 0 <= share < 1"),
        ({"batch": {"unlabeled_fraction": "x"}}, "'x' is no share; expected 0.25 or 1/4"),
        ({"batch": {"unlabeled_fraction": "1/0"}}, "'1/0' is no share"),
        ({"batch": {"unlabeled_fraction": "1e999999999"}}, "'1e999999999' is no share"),
        ({"batch": {"unlabeled_fraction": True}}, "True is no number"),
        ({"batch": {"unlabeled_fraction": 0.1 + 0.2}}, "too many digits; write it as p/q"),
        ({"batch": {"by": "image"}}, "ten.yaml: batch.by: 'image'; did you mean 'images'?"),
        ({"batch": {"by": 3}}, "batch.by: 3; expected 'images', 'identities', {weights: {dataset"),
        ({"batch": {"by": {"temp": 2}}}, "batch.by: unknown key 'temp'; expected 'images', "),
        (
            {"batch": {"by": {"temperatur": 2}}},
            "batch.by: unknown key 'temperatur'; did you mean 'temperature'?",
        ),
        ({"batch": {"by": {"temperature": -1}}}, "batch.by: -1 is no temperature; expected 2, 0.5"),
        ({"batch": {"by": {"weights": {"vgg": 0}}}}, "batch.by: 0 is no weight of vgg; expected a"),
        (
            {"batch": {"by": {"weights": {"vgg": 1, "vg": 1}}}},
            "batch.by.weights: no labeled dataset is named 'vg'; did you mean 'vgg'?",
        ),
        (
            {
                "labeled": [{"dataset": "a"}, {"dataset": "b"}],
                "batch": {"by": {"weights": {"a": 1}}},
            },
            "batch.by.weights: the labeled dataset 'b' has no weight; expected one of every",
        ),
        ({"batch": {"grouping": "one"}}, "batch.grouping: 'one'; expected 'mixed', 'sub_batches'"),
        ({"epochs": 10}, "epochs: 10 is no end of an epoch; expected 'cycle', 'stop_first' or {st"),
        ({"epochs": {"steps": True}}, "epochs: steps is True; expected an integer from 1 on"),
        ({"epochs": {"stops": 3}}, "epochs: unknown key 'stops'; did you mean 'steps'?"),
        ({"epochs": {}}, "epochs: {}; expected 'cycle', 'stop_first' or {steps: number}"),
        (
            {"sampler": {"identity": 64, "images": 4}},
            "sampler: unknown key 'identity'; did you mean 'identities'?",
        ),
        (
            {"sampler": {"identities": 32, "images": 4}},
            "sampler: 32 identities x 4 images are 128 rows; expected 256, the labeled part of a "
            "batch of 256",
        ),
        (
            {
                "unlabeled": [{"dataset": "crawl"}],
                "batch": {"size": 30},
                "sampler": {"identities": 5, "images": 4},
            },
            "sampler: the labeled part of a batch of 30 with 1/4 unlabeled is 45/2 rows, no whole "
            "number; make the batch a multiple of 4",
        ),
        (
            {"sampler": {"identities": 64, "images": 4, "datasets": ["vg"]}},
            "sampler.datasets: no labeled dataset is named 'vg'; did you mean 'vgg'?",
        ),
        (
            {"batch": {"by": "images"}, "sampler": {"identities": 64, "images": 4}},
            "ten.yaml: sampler draws identities whatever their dataset; leave out batch.by",
        ),
        (
            {"batch": {"grouping": "one_dataset"}, "sampler": {"identities": 64, "images": 4}},
            "ten.yaml: sampler does not go with batch.grouping one_dataset; sampler.datasets can",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_line(tmp_path, more, message):
    with pytest.raises(RecipeError) as error:
        load_recipe(write(tmp_path, **more))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "an anchor or alias"),
        ("name: a\nname: b\n", "the key 'name' a second time"),
        ("name: !!python/object:os.system {}\n", "expected plain YAML"),
        ("- 1\n", "holds a list"),
        ("", "holds nothing"),
        ("name: [\n", "expected plain YAML"),
        ("# " + "x" * 300_000, "is larger than"),
    ],
)
def test_yaml_that_is_no_plain_recipe_is_refused(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"r.yaml") as error:
        load_recipe(path)
    assert message in str(error.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none.yaml: there is no such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=r"no recipe has this name.*did you mean 'ten-datasets'"):
        load_recipe("ten-dataset")


def test_missing_recipes_of_an_installation_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.shipped.__file__", str(tmp_path / "a/b/c.py"))
    with pytest.raises(RecipeError, match="pipelines: fusekit's recipes are not installed"):
        recipe_paths()


@pytest.mark.parametrize("name", sorted(recipe_paths()))
def test_every_recipe_of_fusekit_loads_under_its_own_name(name):
    assert load_recipe(name).name == name


def test_the_ten_datasets_are_the_ten_with_an_index():
    recipe = load_recipe("ten-datasets")
    indexes = [load_card(source.dataset).index for source in recipe.labeled]
    assert indexes == list(range(10))
    assert recipe.unlabeled_fraction == 0


def test_the_crawl_recipe_is_three_to_one_and_filtered():
    recipe = load_recipe("ms1mv2-crawl")
    assert recipe.unlabeled_fraction == Fraction(1, 4)
    assert [source.max_activation for source in recipe.unlabeled] == [0.9]
    assert [source.dataset for source in recipe.labeled] == ["ms1m"]
