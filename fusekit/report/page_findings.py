"""The part of a report that tells of findings: what each says, and what a person can see of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from fusekit.report.charts import draw_histogram
from fusekit.report.markup import Html, join, pairs, picture, scrolling, table, tag
from fusekit.report.material import settings_of
from fusekit.report.page_datasets import figure, percent
from fusekit.report.spread import Histogram

if TYPE_CHECKING:
    from fusekit.report.evidence import Evidence, Side
    from fusekit.report.material import FindingMaterial
    from fusekit.report.overlaps import Overlaps

_SIDE: Final = 68
_SHOWN: Final = 12
_TITLES: Final = {
    "activation": "Known people in unlabeled data", "clusters": "Pseudo-identities",
    "contamination": "Evaluation people in training data", "duplicates": "Repeated pictures",
    "label-noise": "Label noise", "overlap": "The same people in several datasets",
}  # fmt: skip
_FIRST: Final = {
    "activation": "The least certain on both sides of the threshold",
    "clusters": "The largest first, those of no cluster last",
}
_JUDGED: Final = {
    "activation": "samples", "clusters": "clusters", "contamination": "people",
    "duplicates": "groups", "label-noise": "identities", "overlap": "pairs",
}  # fmt: skip


def finding_section(told: FindingMaterial, *, pictures: bool) -> Html:
    """Make the section of one finding."""
    finding = told.finding
    name = f"{_TITLES.get(finding.kind, finding.kind)}: {', '.join(finding.datasets)}"
    state = told.state if told.state in ("fresh", "superseded") else "stale"
    parts = [
        tag("h3", name, " ", tag("span", state, class_=f"pill {state}")),
        tag("p", told.state, class_="soft") if state == "stale" else Html(""),
        pairs({"finding": f"{finding.kind} {finding.fingerprint[:_SHOWN]}",
               _JUDGED.get(finding.kind, "rows"): told.total, **told.decisions}),
    ]  # fmt: skip
    if told.below:
        parts.append(_activations(told.below))
    if told.evidence:
        rest = told.total - len(told.evidence)
        first = _FIRST.get(finding.kind, "What needs a person comes first")
        words = first + (f"; {rest:,} more are not shown." if rest else ".")
        rows = [_row(evidence, pictures=pictures) for evidence in told.evidence]
        parts += [tag("p", words, class_="soft"), tag("ol", *rows, class_="evidence")]
    settings = json.dumps(settings_of(finding), indent=1, sort_keys=True, ensure_ascii=False)
    parts.append(tag("details", tag("summary", "How it was made"), tag("pre", settings)))
    return tag("section", *parts, id=f"finding-{finding.fingerprint[:_SHOWN]}")


def overlap_matrix(overlaps: Overlaps, identities: dict[str, int]) -> Html:
    """Make the matrix of people in common.

    Args:
        overlaps: Who is in several datasets.
        identities: How many each dataset has, for the shade of a cell.
    """
    columns = overlaps.columns
    head = tag("tr", tag("th", "of", scope="col"), *(tag("th", c, scope="col") for c in columns))
    rows = []
    for row in overlaps.rows:
        cells = [_cell(overlaps, row, column, identities.get(row, 0)) for column in columns]
        rows.append(tag("tr", tag("th", row, scope="row"), *cells))
    words = (
        "Identities of the row's dataset that the column's has too; + those a person must decide"
    )
    return scrolling(tag("table", tag("thead", head), tag("tbody", *rows), class_="matrix"), words)


def _cell(overlaps: Overlaps, row: str, column: str, identities: int) -> Html:
    if (row, column) not in overlaps.same:
        return tag("td", "·" if row != column else "", title="not compared", class_="soft")
    same, unsure = overlaps.same[row, column], overlaps.unsure[row, column]
    share = same / identities if identities else 0.0
    words = f"{same:,}" + (f" + {unsure:,}" if unsure else "")
    shade = f"background: rgba(var(--shade), {min(0.75, share * 1.5 + (0.08 if same else 0)):.2f})"
    title = f"{same:,} of {identities:,} identities of {row} are in {column}, {unsure:,} unsure"
    return tag("td", words, style=shade, title=title)


def _activations(below: tuple[int, ...]) -> Html:
    """Tell of activations as the paper does, cumulatively, and as a histogram."""
    total = below[-1]
    counts = tuple(b - a for a, b in zip((0, *below), below, strict=False))
    edges = tuple(k / 10 for k in range(11))
    drawn = draw_histogram("Largest activation", Histogram(edges, counts), "activation")
    share = [percent(count / total) if total else None for count in below]
    rows = [
        (f"< 0.{k}" if k < 10 else "all", count, share[k - 1]) for k, count in enumerate(below, 1)
    ]
    listed = table(("activation", "samples", "share"), rows, "Samples by their largest activation")
    return tag("div", figure("Largest activation", drawn), listed, class_="grid")


def _row(evidence: Evidence, *, pictures: bool) -> Html:
    said = [tag("p", fact) for fact in evidence.facts]
    if evidence.decision:
        pill = tag("span", evidence.decision, class_=f"pill {evidence.decision}")
        said.insert(0, tag("p", pill))
    parts = [_side(evidence.left, pictures=pictures), tag("div", *said, class_="words")]
    if evidence.right is not None:
        parts.append(_side(evidence.right, pictures=pictures))
    return tag("li", *parts, class_=None if evidence.right is not None else "one")


def _side(side: Side, *, pictures: bool) -> Html:
    items = [
        tag(
            "li",
            picture(
                p.image, f"{p.dataset} {p.key} {p.mark}".rstrip(), _SIDE, class_=p.mark or None
            ),
            p.note,
        )
        for p in side.pictures
    ]
    title = tag("h4", side.title)
    if not items:
        words = tag("p", "no picture in the store", class_="soft") if pictures else Html("")
        return tag("div", title, words, class_="side")
    return tag("div", join([title, tag("ul", *items)]), class_="side")
