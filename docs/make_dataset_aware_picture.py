"""Draw docs/images/dataset-aware-softmax.svg: python docs/make_dataset_aware_picture.py MIXTURE

Left, the labeled rows of a mixture's first batch as they come; they are sorted by dataset. Right,
rows against classes: what is multiplied, each row's own class, and the classes that cross.
"""

import argparse
from pathlib import Path

import numpy as np

from fusekit import Mixture, MixtureLoader
from fusekit.losses.class_sets import ClassSets
from fusekit.losses.crossing import Crossing
from fusekit.losses.row_plan import Meeting, plan_rows

PICTURE = Path(__file__).parent / "images/dataset-aware-softmax.svg"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#666666")
TOP, LEFT, CELL, MATRIX, WIDTH = 62, 24, 9, 190, 720
EXPECTED = 2.0  # classes that cross, a row
FONT = "ui-sans-serif, system-ui, Helvetica, Arial, sans-serif"


def rect(x, y, width, height, colour, opacity=1.0, about=""):
    title = f"<title>{about}</title>" if about else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{colour}" fill-opacity="{opacity:g}">{title}</rect>'
    )


def text(x, y, words, anchor="start", weight=400):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="12" fill="#3c4043">{words}</text>'
    )


def draw(mixture, labels, names):
    sets = ClassSets(mixture.class_ranges)
    owner = np.searchsorted(mixture.class_ranges[:, 0], labels, side="right") - 1
    plan = plan_rows(labels, owner, sets, Meeting(Crossing(expected=EXPECTED)))
    unit = WIDTH / sets.num_classes
    height = TOP + CELL * len(labels) + 44

    def x_of(label):
        return MATRIX + label * unit

    def y_of(row):
        return TOP + CELL * row

    parts = [rect(0, 0, MATRIX + WIDTH + 24, height, "#fafaf8")]
    parts.append(text(LEFT, 24, "one batch", weight=600))
    parts.append(text(LEFT, 42, "as it comes, then by dataset"))
    parts.append(text(MATRIX, 24, "rows x classes of the mixture", weight=600))
    parts.append(rect(MATRIX, TOP, WIDTH, CELL * len(labels), "#e8eaed"))
    for row, k in enumerate(owner.tolist()):
        place = int(np.flatnonzero(plan.order == row)[0])
        colour = COLOURS[k % len(COLOURS)]
        parts.append(rect(LEFT, y_of(row) + 1, CELL, CELL - 2, colour, about=names[k]))
        parts.append(
            f'<path d="M{LEFT + CELL + 2} {y_of(row) + CELL / 2}C{LEFT + 70} '
            f"{y_of(row) + CELL / 2} {MATRIX - 80} {y_of(place) + CELL / 2} {MATRIX - 6} "
            f'{y_of(place) + CELL / 2}" stroke="{colour}" stroke-opacity="0.55" fill="none"/>'
        )
    start, multiplied = 0, 0
    for part in plan.parts:
        k = int(owner[plan.order[start]])
        first, end = mixture.class_ranges[k].tolist()
        multiplied += part.rows * (end - first)
        about = f"{names[k]}: {part.rows} rows x {end - first} classes"
        parts.append(rect(
            x_of(first), y_of(start), max(1.5, (end - first) * unit), CELL * part.rows,
            COLOURS[k % len(COLOURS)], 0.35, about,
        ))  # fmt: skip
        start += part.rows
    raised = 0
    for k, (first, end) in enumerate(mixture.class_ranges.tolist()):
        if (end - first) * unit < 7 * len(names[k]):
            raised += 14  # above its narrow neighbour's
        parts.append(text(x_of((first + end) / 2), TOP - 6 - raised, names[k], "middle"))
    for place, label in enumerate(labels[plan.order].tolist()):
        colour = COLOURS[int(owner[plan.order[place]]) % len(COLOURS)]
        parts.append(rect(x_of(label) - 1, y_of(place) + 1, 3, CELL - 2, colour))
    for place, label in plan.crossing.T.tolist():
        parts.append(
            f'<circle cx="{x_of(label):.1f}" cy="{y_of(place) + CELL / 2:.1f}" r="2" '
            'fill="none" stroke="#202124"/>'
        )
    share = (multiplied + plan.crossing.shape[1]) / (len(labels) * sets.num_classes)
    parts.append(text(
        MATRIX, height - 16,
        f"coloured: multiplied, {share:.0%} of {len(labels)} x {sets.num_classes}; dark: the "
        f"row's own class; rings: {EXPECTED:g} classes of others a row that cross",
    ))  # fmt: skip
    label = (
        "Each row of a batch is multiplied with the classes of its own dataset, and a few others."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {MATRIX + WIDTH + 24} {height}" '
        f'font-family="{FONT}" role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("mixture", type=Path, help="the folder of a mixture of few classes")
    parser.add_argument("--out", type=Path, default=PICTURE)
    asked = parser.parse_args()
    mixture = Mixture.open(asked.mixture)
    with MixtureLoader(asked.mixture, mixture.batch_size) as loader:
        rows = loader.plan(0).rows
    labels = np.asarray(mixture.index.label)[rows].astype(np.int64)
    names = [source.name for source in mixture.sources if source.kind == "labeled"]
    asked.out.write_text(draw(mixture, labels[labels >= 0], names))


if __name__ == "__main__":
    main()
