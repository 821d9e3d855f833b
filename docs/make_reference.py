"""Make the pages of docs/reference/ from the code; with --check only say whether they are fresh."""

import dataclasses
import inspect
import json
import os
import re
import sys
from functools import cached_property
from pathlib import Path
from typing import get_args

import typer.main
from typer.testing import CliRunner

import fusekit
from fusekit import schema
from fusekit.cards.card import Card, CardForm, Overlap, list_cards
from fusekit.cli.main import app
from fusekit.models.catalogue import MODELS
from fusekit.readers.options import Options
from fusekit.readers.registry import reader_names, reader_type
from fusekit.store.views import VIEWS

FOLDER = Path(__file__).parent / "reference"
FORM_TEST = "tests/datasets/test_every_form.py"
MADE = "<!-- made by `make docs`; change the code, not this page -->\n"

TABLES = {
    "Manifest": (
        "`datasets/<dataset>/manifest/part-*.parquet`, and compacted `samples-*.parquet`: "
        "one row per sample.",
        schema.MANIFEST,
    ),
    "Rejects": (
        "`datasets/<dataset>/rejects/part-*.parquet`, and compacted `rejects-*.parquet`: "
        "one row per item without a sample, and per face left out.",
        schema.REJECTS,
    ),
    "Plan": (
        "`datasets/<dataset>/plan/part-*.parquet`: the items of a unit, fixed before work starts.",
        schema.PLAN,
    ),
    "Identities": ("`datasets/<dataset>/plan/identities.parquet`.", schema.IDENTITIES),
    "Pairs": (
        "`datasets/<dataset>/pairs.parquet`: what an evaluation set compares, in its own order; "
        "as released, without keys, in `plan/pairs.parquet`.",
        schema.PAIRS,
    ),
    "Templates": (
        "`datasets/<dataset>/templates.parquet`: sets of images that are compared as one; "
        "without keys in `plan/templates.parquet`.",
        schema.TEMPLATES,
    ),
    "Template pairs": (
        "`datasets/<dataset>/plan/template_pairs.parquet`.",
        schema.TEMPLATE_PAIRS,
    ),
    "Searches": (
        "`datasets/<dataset>/plan/searches.parquet`: galleries and probes of 1:N search.",
        schema.SEARCHES,
    ),
    "Embeddings": (
        "`datasets/<dataset>/embeddings/<model>-<sha8>/part-*.parquet`, row by row as the "
        "manifest's part.",
        schema.EMBEDDINGS,
    ),
    "Activations": (
        "`findings/activation/<fingerprint>/table.parquet`: what `fusekit filter` found.",
        schema.ACTIVATIONS,
    ),
    "Overlap": (
        "`findings/overlap/<fingerprint>/table.parquet`: pairs of identities of two datasets that "
        "`fusekit overlap` looked at.",
        schema.OVERLAP,
    ),
    "Contamination": (
        "`findings/contamination/<fingerprint>/table.parquet`: training identities that "
        "`fusekit decontaminate` found in evaluation sets.",
        schema.CONTAMINATION,
    ),
    "Label noise": (
        "`findings/label-noise/<fingerprint>/table.parquet`: samples that `fusekit clean` flagged.",
        schema.LABEL_NOISE,
    ),
    "Clusters": (
        "`findings/clusters/<fingerprint>/table.parquet`: pseudo-identities of `fusekit cluster`.",
        schema.CLUSTERS,
    ),
    "Duplicates": (
        "`findings/duplicates/<fingerprint>/table.parquet`: copies that `fusekit dedup` found, "
        "the best of each group among them.",
        schema.DUPLICATES,
    ),
    "Tombstones": (
        "`tombstones/<fingerprint>.parquet`: what `fusekit forget` erased, so that no later ingest "
        "brings it back.",
        schema.TOMBSTONES,
    ),
    "Mixture rows": (
        "`mixtures/<mixture>/labeled.parquet` and `unlabeled.parquet`: the manifest's columns and "
        "these.",
        tuple(c for c in schema.MIXTURE_ROWS if c not in schema.MANIFEST),
    ),
    "Classes": ("`mixtures/<mixture>/classes.parquet`.", schema.CLASSES),
    "Members": ("`mixtures/<mixture>/members.parquet`: who is in a class.", schema.MEMBERS),
    "Shards": ("`mixtures/<mixture>/shards.parquet`: the tars of the index.", schema.SHARDS),
    "Index": (
        "`mixtures/<mixture>/index.arrow`, one uncompressed record batch that the loader maps.",
        schema.INDEX,
    ),
}


def main() -> int:
    """Write the pages, or with --check name those that are stale."""
    stale = [name for name, text in pages().items() if read(name) != text]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/reference/{name} is stale; run make docs")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Give every generated page by its file name."""
    return {
        "cards.md": cards_page(),
        "cli.md": cli_page(),
        "datasets.md": datasets_page(),
        "models.md": models_page(),
        "python.md": python_page(),
        "schema.md": schema_page(),
        "sql.md": sql_page(),
    }


def read(name: str) -> str | None:
    """Read a page as it stands."""
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def cli_page() -> str:
    parts = [
        MADE,
        "# Command line\n",
        "Results go to stdout; progress and messages to stderr. Exit codes: 0 done; 1 an error, or "
        "anything failed; 2 usage; 130 interrupted.\n",
        f"```\n{help_of([])}```\n",
    ]
    parts += [f"## fusekit {' '.join(w)}\n\n```\n{help_of(w)}```\n" for w in commands()]
    return "\n".join(parts)


def commands() -> list[list[str]]:
    """List every command, a group's own ones after it."""
    found = []
    for name, command in typer.main.get_command(app).commands.items():
        found.append([name])
        found += [[name, inner] for inner in getattr(command, "commands", {})]
    return found


def help_of(words: list[str]) -> str:
    """Give a command's help as an 80-column terminal shows it."""
    os.environ["COLUMNS"] = "80"
    os.environ.pop("FUSEKIT_STORE", None)
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="fusekit")
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n"


def schema_page() -> str:
    parts = [
        MADE,
        "# Tables\n",
        "Every table is written with these columns, at 0 rows too; no type is inferred. "
        "Coordinates are pixels of the source image, x to the right and y down.\n",
    ]
    for title, (where, columns) in TABLES.items():
        parts.append(f"## {title}\n\n{where}\n\n{column_table(columns)}")
    reasons = [f"| `{name}` | {meaning} |" for name, meaning in schema.REJECT_REASONS.items()]
    parts.append("## Reasons of rejects\n\n" + grid("reason", "meaning", rows=reasons))
    return "\n".join(parts)


def sql_page() -> str:
    parts = [
        MADE,
        "# Views of `fusekit sql`\n",
        "`fusekit.query` and `fusekit sql` run one SELECT over these views. A dataset that is not "
        "finished, and samples that were erased, are not in them.\n",
    ]
    for view, columns in VIEWS.items():
        names = [c.name for c in columns]
        shown = column_table(columns)
        if [c.name for c in schema.MANIFEST] == names[-len(schema.MANIFEST) :]:
            extra = columns[: -len(schema.MANIFEST)]
            shown = "The columns of the [manifest](schema.md#manifest).\n"
            shown += f"\n{column_table(extra)}" if extra else ""
        parts.append(f"## {view}\n\n{shown}")
    return "\n".join(parts)


def column_table(columns: tuple[schema.Column, ...]) -> str:
    rows = [
        f"| `{c.name}` | {str(c.type).replace('element', 'item')} | {'yes' if c.nullable else ''} "
        f"| {c.meaning} |"
        for c in columns
    ]
    return grid("column", "type", "null", "meaning", rows=rows)


def datasets_page() -> str:
    cards = list_cards()
    rows = [
        f"| [`{card.name}`](#{card.name}) | {card.kind} | {number(card.index)} "
        f"| {number(card.identities)} | {number(card.images)} "
        f"| {', '.join(f'`{form.name}`' for form in card.resolved())} |"
        for card in cards
    ]
    parts = [
        MADE,
        "# Datasets that fusekit knows\n",
        "A card in `manifests/` says how a release lies on disk; [cards](cards.md) tells what can "
        "stand in one. `fusekit ingest NAME --from RAW` tries a dataset's forms in the order "
        "below and says which one it took; `--form` overrules. Numbers are the published ones: "
        "they are compared with what is there and never enforced. fusekit downloads no dataset: "
        "each comes from its makers, under their terms.\n",
        grid("dataset", "kind", "index", "identities", "images", "forms", rows=rows),
        f"Each form is laid out small, exactly as it is released, and ingested end to end by "
        f"`pytest {FORM_TEST} -k NAME`; the last column names the case.\n",
    ]
    parts += [dataset_section(card) for card in cards]
    return "\n".join(parts)


def overlaps(card: Card) -> str:
    """List what is known of people that other datasets show too."""
    lines = []
    for other in card.overlaps:
        count = other.identities
        known = "" if count is None else f"{number(count)} identities" if count else "none"
        said = "; ".join(part for part in (known, " ".join(other.note.split())) if part)
        lines.append(f"- with `{other.dataset}`: {said}")
    return "\n".join(("Overlaps:", "", *lines)) if lines else ""


def dataset_section(card: Card) -> str:
    about = [f"**{card.title}**" if card.title else ""]
    about.append(f"Terms: {card.terms}." if card.terms else "")
    about.append(f"Figures: {card.figures}." if card.figures else "")
    about.append(" ".join(card.notes.split()))
    about.append(overlaps(card))
    about.append(" ".join(f"<{url}>" for url in card.urls))
    rows = []
    for form, spelled in zip(card.resolved(), card.forms, strict=True):
        crops = f"aligned, `{form.template}`" if form.aligned else "detected"
        notes = " ".join(spelled.notes.split())
        looks_for = reader_type(form.reader).looks_for
        rows.append(
            f"| `{form.name}` | `{form.reader}`: {looks_for}{'. ' + notes if notes else ''} "
            f"| {crops} | {number(form.identities)} | {number(form.images)} "
            f"| `{card.name}-{form.name}` |"
        )
    text = "\n\n".join(part for part in about if part)
    head = ("form", "reader", "crops", "identities", "images", "test")
    return f"## {card.name}\n\n{text}\n\n{grid(*head, rows=rows)}"


def cards_page() -> str:
    parts = [
        MADE,
        "# Cards\n",
        "A card is a YAML file of words, numbers and file names: no code, no class paths. "
        "[Add a dataset](../how-to/add-a-dataset.md) writes one. fusekit's own are in "
        "`manifests/`; [the datasets](datasets.md) are made from them.\n",
    ]
    for title, model in (("Card", Card), ("Form", CardForm), ("Overlap", Overlap)):
        parts.append(f"## {title}\n\n{attributes_table(model)}")
    parts.append(
        "## Readers and their options\n\n"
        "A form's `options` are those of its reader. On the command line "
        "`--option NAME=VALUE` goes over the card's.\n"
    )
    for name in reader_names():
        reader = reader_type(name)
        doc = (inspect.getdoc(reader) or "").split("\n", 1)[0]
        table = f"\n{attributes_table(reader.options)}" if reader.options.model_fields else ""
        parts.append(f"### {name}\n\n{doc} Looks for {reader.looks_for}.\n{table}")
    return "\n".join(parts)


def attributes_table(model: type) -> str:
    """Show a model's fields with what its docstring says of each."""
    found = re.findall(
        r"^    (\w+): (.*?)(?=^    \w+: |\Z)",
        (inspect.getdoc(model) or "").partition("Attributes:\n")[2],
        flags=re.DOTALL | re.MULTILINE,
    )
    meanings = {name: " ".join(text.split()) for name, text in found}
    return grid("key", "default", "meaning", rows=attribute_rows(model, meanings))


def attribute_rows(model: type, meanings: dict[str, str]) -> list[str]:
    """List a model's fields, those of a model inside it below its own."""
    rows = []
    for name, field in model.model_fields.items():
        default = "" if field.is_required() else f"`{json.dumps(plain(field.default))}`"
        meaning = meanings[name].replace("|", "\\|").replace("``", "`")
        rows.append(f"| `{name}` | {default} | {meaning} |")
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Options):
                kinds = {k: str(f.annotation) for k, f in inner.model_fields.items()}
                rows += [f"| `{name}.{key}` | | {told(kind)} |" for key, kind in kinds.items()]
    return rows


def told(annotation: str) -> str:
    """Say what a value may be: one of some texts, else nothing."""
    choices = re.findall(r"'([^']*)'", annotation) if annotation.startswith("typing.Lit") else []
    return f"one of {', '.join(f'`{choice}`' for choice in choices)}" if choices else "paths"


def plain(value: object) -> object:
    """Give a default as JSON has it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def models_page() -> str:
    rows = []
    for model in MODELS:
        sha256 = f"`{model.sha256[:16]}…`" if model.sha256 else "not pinned"
        rows.append(
            f"| `{model.name}` | {model.task} | {model.provider} | {sha256} | {model.licence} |"
        )
    contracts = [
        f"## {model.name}\n\n{model.about}.\n\n"
        + grid("input", "value", rows=[
            f"| {f.name} | {getattr(model.contract, f.name)} |"
            for f in dataclasses.fields(model.contract)
        ])
        for model in MODELS
        if model.contract is not None
    ]  # fmt: skip
    return "\n".join([
        MADE,
        "# Models\n",
        "`fusekit models` lists these with what is here; `fusekit models get NAME` fetches one "
        "into the user's cache (`FUSEKIT_CACHE` overrides it) and checks its sha256. Commands "
        "fetch what they need. A path of a `.onnx` file works wherever a name does.\n",
        grid("model", "task", "provider", "sha256", "licence", rows=rows),
        *contracts,
    ])  # fmt: skip


def python_page() -> str:
    parts = [MADE, "# Python\n", "Everything public, importable from `fusekit`.\n"]
    for name in fusekit.__all__:
        if name != "__version__":
            value = getattr(fusekit, name)
            parts += [
                f"## {name}\n",
                f"```python\n{spelled(name, value)}\n```\n",
                f"```text\n{inspect.getdoc(value)}\n```\n{members(value)}",
            ]
    return "\n".join(parts)


def spelled(name: str, value: object) -> str:
    """Spell how a function is called, or how an object of a class is made."""
    if isinstance(value, type) and hasattr(value, "open"):
        return spelled(f"{name}.open", value.open)
    signature = inspect.signature(value)
    if isinstance(value, type) and any(p.startswith("_") for p in signature.parameters):
        return name  # made by fusekit alone
    # As the source does: no quoted types, no addresses.
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature))
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text)
    return wrapped(name, text.removesuffix(" -> None"))


def members(value: object) -> str:
    """List the public methods and properties of a class, a line each."""
    if not isinstance(value, type) or issubclass(value, Exception):
        return ""
    rows = []
    for name, member in vars(value).items():
        doc = inspect.getdoc(member)
        kinds = (property, classmethod, cached_property)
        if not name.startswith("_") and doc and (callable(member) or isinstance(member, kinds)):
            rows.append(f"| `{name}` | {doc.splitlines()[0]} |")
    return "\n" + grid("member", "meaning", rows=rows) if rows else ""


def wrapped(name: str, signature: str) -> str:
    """Put each parameter on a line of its own, when one line would be too long."""
    if len(name) + len(signature) <= 88 or not signature:
        return f"{name}{signature}"
    inner, _, result = signature[1:].rpartition(")")
    depth, lines, start = 0, [], 0
    for at, char in enumerate(inner):
        depth += (char in "[(") - (char in "])")
        if char == "," and depth == 0:
            lines.append(inner[start:at].strip())
            start = at + 1
    lines.append(inner[start:].strip())
    return f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){result}"


def grid(*columns: str, rows: list[str]) -> str:
    head = f"| {' | '.join(columns)} |"
    return "\n".join([head, "|" + " --- |" * len(columns), *rows]) + "\n"


def number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main())
