"""The part of a report that tells of each dataset: its figures, its crops, where it is from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fusekit.report.charts import draw_bars, draw_histogram
from fusekit.report.markup import Html, join, pairs, picture, table, tag
from fusekit.report.material import record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.report.material import DatasetMaterial
    from fusekit.report.spread import Spread
    from fusekit.report.stats import Stats

_SIDE: Final = 84
_TITLES: Final = {
    "eye_distance": "Face size", "yaw": "Yaw", "sharpness": "Sharpness",
    "brightness": "Brightness", "jpeg_quality": "JPEG quality of the raw pictures",
    "det_score": "Detector's score",
}  # fmt: skip
_UNITS: Final = {"eye_distance": "pixels between the eyes, in the source"}


def overview(datasets: Sequence[DatasetMaterial]) -> Html:
    """Make the table of all datasets."""
    headings = (
        "dataset", "kind", "samples", "identities", "images each", "of one image", "rejected",
        "eyes apart", "sharpness", "grey",
    )  # fmt: skip
    rows = [
        (
            tag("a", d.info.name, href=f"#dataset-{d.info.name}"), d.info.kind, d.stats.samples,
            d.info.identities or None, round(d.stats.depth.mean, 1) if d.stats.depth else None,
            d.stats.depth.singletons if d.stats.depth else None, d.info.rejected,
            _pixels(d.stats.spread("eye_distance")), d.stats.spread("sharpness").median,
            percent(d.stats.grey_share),
        )
        for d in datasets
    ]  # fmt: skip
    return table(headings, rows, "Datasets; eyes apart and sharpness are medians")


def dataset_section(dataset: DatasetMaterial) -> Html:
    """Make the section of one dataset."""
    info, stats = dataset.info, dataset.stats
    facts = {
        "kind": info.kind, "samples": stats.samples, "identities": info.identities or None,
        "raw items": info.items, "rejected": info.rejected,
        "faces left out": info.faces_left_out, "crops": f"{info.crop_size[0]}x{info.crop_size[1]}",
        "aligned": "by its makers" if _aligned(info.card) else "here",
        "erased": info.forgotten.get("samples"),
    }  # fmt: skip
    told = pairs({name: value for name, value in facts.items() if value is not None})
    title = tag("h3", info.name)
    parts = [title, told, _depth(stats), _remarks(dataset), _faces(dataset), _charts(stats)]
    return tag("section", *parts, _provenance(dataset), id=f"dataset-{info.name}")


def percent(share: float | None) -> str | None:
    """Spell a share.

    Example:
        >>> percent(0.0762)
        '7.6 %'
    """
    return None if share is None else f"{share * 100:.1f} %"


def _depth(stats: Stats) -> Html:
    depth = stats.depth
    if depth is None:
        return Html("")
    return tag(
        "p",
        f"{depth.mean:,.1f} images of an identity on average, {depth.quantiles[0]:,.0f} to "
        f"{depth.quantiles[-1]:,.0f}, median {depth.quantiles[3]:,.0f}; {depth.singletons:,} "
        f"identities have one. The tenth with the most has {percent(depth.top_decile)} of the "
        f"images (Gini {depth.gini:.2f}).",
    )


def _remarks(dataset: DatasetMaterial) -> Html:
    if not dataset.looks.alone:
        return Html("")
    return tag("p", "Unlike the others of the store: ", "; ".join(dataset.looks.alone), ".")


def _faces(dataset: DatasetMaterial) -> Html:
    if not dataset.samples:
        return Html("")
    crops = [picture(crop, f"crop {key}", _SIDE) for key, crop in dataset.samples.items()]
    words = tag("h4", f"{len(crops)} crops, chosen at random")
    return join([words, tag("div", *crops, class_="faces")])


def _charts(stats: Stats) -> Html:
    figures = []
    if stats.depth:
        drawn = draw_histogram("Images per identity", stats.depth.histogram, "images, doubling")
        figures.append(figure("Images per identity", drawn))
    for spread in stats.spreads:
        if spread.samples:
            title = _TITLES[spread.name]
            drawn = draw_histogram(title, spread.histogram, _UNITS.get(spread.name, spread.unit))
            figures.append(figure(title, drawn))
    for title, counts in (("Rejected items", stats.rejects or {}), *_splits(stats)):
        if counts:
            ordered = dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
            drawn = draw_bars(title, {k: float(v) for k, v in ordered.items()})
            figures.append(figure(title, drawn))
    return tag("div", *figures, class_="grid")


def figure(title: str, drawn: str, words: str = "") -> Html:
    """Put a chart under its title.

    Args:
        title: Its heading.
        drawn: SVG from :mod:`fusekit.report.charts`.
        words: What a reader should know of it; empty: nothing.
    """
    below = tag("figcaption", words) if words else ""
    return tag("figure", tag("h4", title), Html(drawn), below)


def _splits(stats: Stats) -> list[tuple[str, dict[str, int]]]:
    titles = {"split": "Splits", "media": "Stills and video frames", "channels": "Colour and grey"}
    return [(title, c) for name, title in titles.items() if len(c := stats.counts[name]) > 1]


def _provenance(dataset: DatasetMaterial) -> Html:
    info = dataset.info
    lines = {
        "fingerprint": info.fingerprint, "dataset index": str(info.index), "form": info.form,
        "template": info.template, "embeddings": ", ".join(dataset.embeddings) or "none",
        "card": dataset.card or "none of this name or index",
        "terms": dataset.terms or "not recorded",
    }  # fmt: skip
    record = json.dumps(record_of(info), indent=1, sort_keys=True, ensure_ascii=False)
    body = [pairs(lines), tag("pre", record)]
    return tag("details", tag("summary", "Where it is from, and its terms"), *body)


def _aligned(card: dict[str, Any]) -> bool:
    return bool(card.get("form", {}).get("aligned"))


def _pixels(spread: Spread) -> str | None:
    return None if spread.median is None else f"{spread.median:.0f} px"
