"""How fast is the loader, beside its limit and its peers? Prints one table.

    PYTHONPATH=tests python tests/bench/loader.py [--quick] [--json FILE] [--markdown]

Every side gets the same JPEG crops (each in its own format, converted before), keeps the page
cache warm, and hands out stacked uint8 batches of 256 with their labels; nothing is done with
them. Each stands in a process of its own and all take turns, so that other work on the machine
falls on all of them. A peer is tried with several counts of workers first and keeps its best.
The first run installs the peers into ``.bench-venv``.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from support.bench_crops import draw_jpeg, draw_raw
from support.bench_peers import PeerError, Side, make_environment
from support.benchmarks import machine, replace_section, table, today, versions
from support.stores import make_dataset

from fusekit import build_mixture
from fusekit.store.layout import open_store

PEERS = {
    "webdataset": "webdataset",
    "mosaic": "MosaicML Streaming",
    "litdata": "LitData",
    "huggingface": "HF datasets (Parquet)",
    "spdl": "SPDL",
    "folders": "torch DataLoader, folders",
}
RECIPE = """
name: {name}
labeled: [{{dataset: {name}-labeled}}]
unlabeled: [{{dataset: {name}-crawl}}]
batch: {{size: 256, unlabeled_fraction: 0.25}}
"""
PER_PERSON = 20
REST_S = 0.3  # between two runs: what a side still does in the background ends


def make_mixture(folder, name, images, fmt):
    """Three quarters labeled, the rest unlabeled; gives every image's label."""
    storage = open_store(folder / "store", create=True)
    people = {f"p{k:05d}": PER_PERSON for k in range(len(images) * 3 // 4 // PER_PERSON)}
    labeled = PER_PERSON * len(people)
    parts = (
        ("labeled", people, images[:labeled]),
        ("crawl", len(images) - labeled, images[labeled:]),
    )
    for seed, (part, identities, mine) in enumerate(parts):
        make_dataset(
            storage, f"{name}-{part}", identities, unit_size=2000, seed=seed, images=mine, fmt=fmt
        )
    recipe = folder / f"{name}.yaml"
    recipe.write_text(RECIPE.format(name=name))
    build_mixture(recipe, folder / "store")
    people_of = np.repeat(np.arange(len(people)), PER_PERSON)
    return np.concatenate([people_of, np.full(len(images) - labeled, -1)])


def prepare(folder, count, raw_count):
    """Draw the crops; build the mixtures, and the pile that the peers convert."""
    with ProcessPoolExecutor() as pool:
        jpegs = list(pool.map(draw_jpeg, range(count), chunksize=500))
    labels = make_mixture(folder, "jpeg", jpegs, "jpg")
    make_mixture(folder, "raw", [draw_raw(seed) for seed in range(raw_count)], "raw")
    order = np.random.default_rng(0).permutation(count)
    pile = folder / "crops"
    pile.mkdir()
    with (pile / "images.bin").open("wb") as file:
        file.writelines(jpegs[at] for at in order)
    ends = np.cumsum([len(jpegs[at]) for at in order])
    np.savez(pile / "table.npz", ends=ends, labels=labels[order])
    np.save(pile / "raw.npy", raw_count)
    return float(ends[-1] / count)


class Row:
    """A line of the table: one side with one choice of its settings."""

    def __init__(self, title, side, variant, about=""):
        self.title, self.side, self.variant, self.about = title, side, variant, about
        self.runs, self.error = [], None

    def run(self):
        """Run once, unless it has failed before."""
        if self.error is None:
            try:
                answer = self.side.ask("run")
                self.runs.append(
                    (answer["count"] / answer["seconds"], answer["cpu"] / answer["count"])
                )
            except PeerError as error:
                self.error = str(error)

    @property
    def rate(self):
        return statistics.median(rate for rate, _ in self.runs) if self.runs else 0.0

    @property
    def cpu_us(self):
        return 1e6 * statistics.median(cpu for _, cpu in self.runs) if self.runs else 0.0

    def beside(self, other):
        """The median of the ratios of each turn: what else the machine does falls on both."""
        pairs = zip(self.runs, other.runs, strict=True)
        return statistics.median(mine / theirs for (mine, _), (theirs, _) in pairs)


def own_rows(folder):
    """The limits and fusekit: every variant is a row in a process of its own."""
    titles = {
        "decode": "limit: decode from memory", "read": "limit: read and decode",
        "copy": "limit: memcpy of decoded crops",
    }  # fmt: skip
    rows = []
    for name in ("limits", "fusekit"):
        probe = Side(name, folder)
        try:
            probe.ask("convert")
            variants = probe.ask("about")["variants"]
        finally:
            probe.close()
        for variant in variants:
            shown = {k: v for k, v in variant.items() if k not in ("threads", "what")}
            title = titles.get(variant.get("what")) or "MixtureLoader " + describe(shown)
            row = Row(title, Side(name, folder), variant)
            row.side.ask("open", variant=variant)
            rows.append(row)
    return rows


def describe(variant):
    """Name a loader's settings in words."""
    layout = variant.get("layout", "chw")
    flip = "" if variant.get("augment") == "none" else ", flip"
    process = ", process=True" if variant.get("process") else ""
    kind = "raw crops, " if variant.get("mixture") == "raw" else ""
    kind = "decoded cache, " if variant.get("cache") else kind
    slow = "" if variant.get("compiled", True) else ", nothing compiled"
    return f"{kind}{layout}{flip}{process}{slow}"


def peer_row(name, title, folder, python, most, note):
    """Convert, try every variant on a part of a pass, keep the best one open."""
    row = Row(title, None, {})
    side = Side(name, folder, python)
    tried, errors = [], []
    try:
        row.title = f"{title} {side.ask('about')['version']}"
        side.ask("convert")
        for variant in side.ask("about")["variants"]:
            try:
                side.ask("open", variant=variant)
                trial = side.ask("run", most=most)
            except PeerError as error:
                errors.append(str(error))
                note(f"  {title} {variant}: {error}")
                side.close()
                side = Side(name, folder, python)
            else:
                tried.append((trial["count"] / trial["seconds"], variant))
                note(f"  {title} {variant}: {tried[-1][0]:,.0f} images/s")
    except PeerError as error:
        errors.append(str(error))
    side.close()
    if not tried:
        row.error = errors[0]
        return row
    tried.sort(key=lambda pair: pair[0], reverse=True)
    row.variant = tried[0][1] if len(tried) == 1 else final(name, folder, python, tried[:2])
    row.about = ", ".join(
        f"{value} workers" if key == "workers" else str(value) for key, value in row.variant.items()
    )
    # In a process of its own, free of what the other variants left behind.
    row.side = Side(name, folder, python)
    try:
        row.side.ask("open", variant=row.variant)
    except PeerError as error:
        row.error = str(error)
    return row


def final(name, folder, python, tried):
    """Give the better of two variants over whole passes; the trials have seen a part of one."""
    rates = []
    for _, variant in tried:
        side = Side(name, folder, python)
        try:
            side.ask("open", variant=variant)
            whole = side.ask("run")
            rates.append(whole["count"] / whole["seconds"])
        except PeerError:
            rates.append(0.0)
        finally:
            side.close()
    return tried[rates.index(max(rates))][1]


def measure(rows, repeats, note):
    """Let all rows take turns; the first turn warms up and is not counted."""
    for turn in range(repeats + 1):
        note(f"turn {turn} of {repeats}")
        for row in rows:
            row.run()
            time.sleep(REST_S)
        if not turn:
            for row in rows:
                row.runs.clear()


def is_memory(row):
    """Rows that decode nothing are compared with a copy, not with decoding."""
    return row.variant.get("what") == "copy" or row.title.startswith(
        ("MixtureLoader raw", "MixtureLoader decoded")
    )


def show(rows):
    """Give the table: every row beside the limit of its kind, and beside the fastest peer."""
    limits = {
        memory: next(row for row in rows if row.variant.get("what") == what)
        for memory, what in ((False, "decode"), (True, "copy"))
    }
    peers = [row for row in rows if row.error is None and row.side.name in PEERS]
    best = max(peers, key=lambda row: row.rate, default=None)
    lines = []
    for row in sorted(rows, key=is_memory):
        title = row.title + (f" ({row.about})" if row.about else "")
        if row.error is not None:
            lines.append([f"{title}: {row.error[:100]}", "", "", "", ""])
            continue
        other = "" if best is None or is_memory(row) else f"{row.beside(best):.2f}"
        lines.append([
            title, f"{row.rate:,.0f}", f"{row.beside(limits[is_memory(row)]):.3f}", other,
            f"{row.cpu_us:.1f}",
        ])  # fmt: skip
    return table(["", "images/s", "of its limit", "of the best peer", "CPU µs/image"], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--raw", type=int, default=20_000, help="raw crops")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the crops, two turns")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--markdown", action="store_true", help="the section of the docs alone")
    parser.add_argument("--into", type=Path, help="rewrite the section in this document")
    asked = parser.parse_args()
    if asked.quick:
        asked.images, asked.raw, asked.repeats = asked.images // 10, asked.raw // 10, 2

    def note(text):
        if not asked.markdown:
            print(text, file=sys.stderr, flush=True)

    python = make_environment() if asked.peers else ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = prepare(folder, asked.images, asked.raw)
        rows = []
        try:
            rows += own_rows(folder)
            for peer in asked.peers:
                rows.append(
                    peer_row(peer, PEERS[peer], folder, python, asked.images * 3 // 10, note)
                )
            measure(rows, asked.repeats, note)
        finally:
            for row in rows:
                if row.side is not None:
                    row.side.close()
    text = (
        f"{machine()}; {versions('fusekit', 'simplejpeg', 'numpy', 'torch')}; {today()}.\n"
        f"{asked.images:,} JPEG crops of {size / 1024:.1f} KiB on average, {asked.raw:,} raw crops;"
        f" batches of 256; median of {asked.repeats} runs that take turns.\n\n{show(rows)}\n"
    )
    print(text)
    if asked.into:
        replace_section(asked.into, "loader", text)
    if asked.json:
        figures = {
            row.title: {
                "images_per_s": row.rate, "cpu_us": row.cpu_us, "runs": [r for r, _ in row.runs],
                "variant": row.variant, "error": row.error,
            }
            for row in rows
        }  # fmt: skip
        asked.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
