"""Print what evaluation costs, and what the four forms of templates give on LFW.

    PYTHONPATH=tests python tests/bench/evaluate.py --rows 60000
    PYTHONPATH=tests python tests/bench/evaluate.py --store STORE --model MODEL.onnx

The first compares drawn unit vectors all with all and prints pairs a second, the memory that is
held, and the hours that Trillion-Pairs' 4e11 pairs would take. The second evaluates a model on the
store's lfw by N0F0, N0F1, N1F0 and N1F1.
"""

import argparse
import resource
import time

import numpy as np

from fusekit.evaluation.evaluate import evaluate
from fusekit.evaluation.tails import within_tail
from fusekit.evaluation.templates import FORMS

TRILLION_PAIRS = 274_000 * 1_580_000


def compare_all(rows: int, dim: int, far: float) -> None:
    """Print one line: exact rates of all pairs of drawn vectors."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    people = rng.integers(0, rows // 10, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    tail = within_tail(vectors, people, [far])
    seconds = time.perf_counter() - start
    pairs = tail.impostors + len(tail.genuine)
    held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    hours = TRILLION_PAIRS / pairs * seconds / 3600
    print(
        "| vectors | numbers each | pairs | FAR | kept | s | Mpairs/s | more MB | 4e11 pairs, h |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    print(
        f"| {rows} | {dim} | {pairs} | {far:g} | {len(tail.top)} | {seconds:.1f} "
        f"| {pairs / seconds / 1e6:.0f} | {held:.0f} | {hours:.1f} |"
    )


def four_forms(store: str, model: str) -> None:
    """Print a line a form: accuracy and TAR on LFW, in percent."""
    print("| form | accuracy % | std | stderr | TAR@0.01 % | TAR@0.001 % | s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for form in FORMS:
        start = time.perf_counter()
        about = evaluate(model, on=["lfw"], template=form, fars=[1e-2, 1e-3], store=store)
        lfw = about.as_json()["lfw"]
        figures = [lfw["accuracy"], lfw["std"], lfw["stderr"], *lfw["tar"].values()]
        seconds = time.perf_counter() - start
        print(f"| {form} | {' | '.join(f'{100 * x:.2f}' for x in figures)} | {seconds:.0f} |")


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--far", type=float, default=1e-6)
    parser.add_argument("--store")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    if arguments.store and arguments.model:
        four_forms(arguments.store, arguments.model)
    else:
        compare_all(arguments.rows, arguments.dim, arguments.far)


if __name__ == "__main__":
    main()
