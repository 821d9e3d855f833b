"""Every help text ends with an example, and every example runs."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer.main
from support.exports import make_evaluation_set
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate.clusters import ClustersResult
from fusekit.curate.contamination import ContaminationResult
from fusekit.curate.dedup import DedupResult
from fusekit.curate.forget import ForgetResult
from fusekit.curate.label_noise import LabelNoiseResult
from fusekit.curate.noise_thresholds import NoiseThresholds
from fusekit.errors import UsageError
from fusekit.evaluation.evaluate import EvaluationResult
from fusekit.mixture.build import build_mixture
from fusekit.store.layout import open_store

RECIPE = """
name: ten
labeled: [{dataset: vggface2}, {dataset: ms1m, min_images: 2}]
unlabeled: [{dataset: crawl}]
batch: {size: 32, unlabeled_fraction: 0.25}
"""
FILTERED = {"kept": 1, "scale": {"a": 38.04}, "warnings": ["few people"]}
NO_OVERLAP = {
    "warnings": [], "pairs": [], "compared": [], "people": 0, "identities": 0, "finding": "0" * 64,
}  # fmt: skip
CLEAN = LabelNoiseResult(
    "vggface2", 2, 1, 0, (), 0, 0, 0, 0, (), NoiseThresholds(*[0.3] * 8), "0" * 64, (), 1.0
)
ALONE = ClustersResult("crawl", "whispers", 2, 0, 0, 2, (), 0.5, None, "0" * 64, (), 1.0)
NO_COPY = DedupResult(("vggface2",), 2, 0, 0, 0, (), {}, None, 0, "0" * 64, 1.0)
RESULT = {
    "dataset": "vggface2", "items": 2, "kept": 1, "rejected": 1, "samples": 1, "identities": 1,
    "rejects": {"no_face": 1}, "seconds": 0.1, "dry_run": False, "form": "folders", "units": 1,
    "figures": {"images": {"here": 2, "published": None, "difference": None}}, "protocol": {},
    "remarks": [],
}  # fmt: skip


def commands():
    found = []
    for name, command in typer.main.get_command(app).commands.items():
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


def help_of(words):
    return CliRunner().invoke(app, [*words, "--help"], prog_name="fusekit").stdout


def examples(words):
    text = help_of(words).split("  Example:\n")[1]
    return re.findall(r"^    fusekit (.*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    store = open_store(folder / "faces", create=True)
    make_dataset(store, "vggface2", {"n000001": 4, "n000002": 5}, index=8)
    make_dataset(store, "ms1m", {"0": 3, "1": 4}, index=5)
    make_dataset(store, "crawl", 8)
    (folder / "recipes").mkdir()
    (folder / "recipes/ten.yaml").write_text(RECIPE)
    make_evaluation_set(store)
    build_mixture(folder / "recipes/ten.yaml", store.root)
    return folder


@pytest.fixture
def asked(monkeypatch, folder):
    """Work in the folder; what detects, embeds or fetches only notes what it was asked."""
    asked = {}

    def note(where, result):
        def called(*args, **options):
            asked.update(options, args=args)
            return result

        monkeypatch.setattr(where, called)

    monkeypatch.chdir(folder)
    monkeypatch.delenv("FUSEKIT_STORE", raising=False)
    note("fusekit.ingest.dataset.ingest_dataset", SimpleNamespace(as_json=lambda: RESULT))
    note("fusekit.curate.embed.embed_dataset", SimpleNamespace(as_json=lambda: {"samples": 1}))
    note(
        "fusekit.curate.activations.filter_unlabeled",
        SimpleNamespace(as_json=lambda: FILTERED),
    )
    nobody = ContaminationResult((), (), "0" * 64, (), (), 0.1)
    note("fusekit.curate.decontaminate.find_contamination", nobody)
    note("fusekit.curate.overlap.find_overlap", SimpleNamespace(as_json=lambda: NO_OVERLAP))
    note("fusekit.curate.label_noise.find_label_noise", CLEAN)
    note("fusekit.curate.clusters.cluster_dataset", ALONE)
    note("fusekit.curate.dedup.find_duplicates", NO_COPY)
    note("fusekit.curate.forget.forget", ForgetResult((), (), proved=True))
    note("fusekit.evaluation.evaluate.evaluate", EvaluationResult("r50", "N0F0", ()))
    note("fusekit.models.registry.get_model", Path("weights.onnx"))
    note("fusekit.demo.run.run_demo", Path("sheet.png"))
    return asked


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_help_ends_with_an_example(words):
    text = help_of(words)
    shown = text.split("\nArguments:")[0].split("\nOptions:")[0].strip()
    assert shown.splitlines()[-1].startswith("    fusekit "), shown
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("line", [line for words in [(), *commands()] for line in examples(words)])
def test_the_example_runs(line, asked):
    result = CliRunner().invoke(app, shlex.split(line), prog_name="fusekit")
    assert result.exception is None, result.output
    assert result.exit_code == 0


def test_ingest_passes_every_option_on(asked):
    line = (
        "ingest vggface2 --from raw --store s --as mine --workers 2 --unit-size 64 --format png "
        "--detector d.onnx --form folders --faces all --index 3 --min-score 0.5 --dry-run --json "
        "--list a.txt --list b.txt --exclude c.txt --relabel --aligned --landmarks given "
        "--order source --option every_ms=500"
    )
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 0, result.output
    del asked["report"]
    assert asked == {
        "args": ("vggface2",), "raw": "raw", "store": "s", "name": "mine", "workers": 2,
        "unit_size": 64, "fmt": "png", "detector": "d.onnx", "form": "folders", "faces": "all",
        "index": 3, "min_score": 0.5, "dry_run": True, "aligned": True,
        "landmarks": "given", "order": "source",
        "lists": [Path("a.txt"), Path("b.txt")], "exclude": [Path("c.txt")], "relabel": True,
        "options": {"every_ms": 500},
    }  # fmt: skip


def test_filter_passes_every_option_on(asked):
    line = (
        "filter crawl --against a --against b --head h.npz --max-activation 0.8 "
        "--rule activation --embedder m --precision bf16 --truth t.csv --store s"
    )
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [
        "kept",
        "1",
        "compared",
        "with",
        "scale",
        "─" * 21,
        "a",
        "38",
    ]
    assert result.stderr == "fusekit: warning: few people\n"
    del asked["report"]
    assert asked == {
        "args": ("crawl",), "against": ("a", "b"), "head": "h.npz", "max_activation": 0.8,
        "rule": "activation", "model": "m", "precision": "bf16", "truth": Path("t.csv"),
        "store": "s",
    }  # fmt: skip


def test_the_store_may_come_from_the_environment(asked, monkeypatch):
    monkeypatch.setenv("FUSEKIT_STORE", "elsewhere")
    CliRunner().invoke(app, ["embed", "crawl"])
    assert asked["store"] == "elsewhere"


def test_filter_takes_several_datasets_behind_one_against(asked):
    result = CliRunner().invoke(app, shlex.split("filter crawl --against a b c --store s"))
    assert result.exit_code == 0, result.output
    assert (asked["args"], asked["against"]) == (("crawl",), ("a", "b", "c"))
    with pytest.raises(UsageError, match="b: is one dataset too many; expected --against before"):
        CliRunner().invoke(app, ["filter", "crawl", "b"], catch_exceptions=False)
