"""A report as one HTML file that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import UsageError
from fusekit.progress import Report, silent
from fusekit.report.charts import draw_bars, draw_tails, draw_width_and_depth
from fusekit.report.markup import Html, join, pairs, table, tag
from fusekit.report.material import Material, collect_material
from fusekit.report.page_datasets import dataset_section, figure, overview, percent
from fusekit.report.page_findings import finding_section, overlap_matrix
from fusekit.report.remarks import remarks
from fusekit.storage.folder import open_storage

if TYPE_CHECKING:
    import os

    from fusekit.report.signature import Signature

_SUFFIXES: Final = (".html", ".htm")
# Whatever a name or a reason holds, a browser runs nothing and asks for nothing.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class ReportResult:
    """A report that was written.

    Attributes:
        path: The file.
        size: Its bytes.
        sha256: Of the file; the same store gives the same one.
        material: All that it tells.
    """

    path: str
    size: int
    sha256: str
    material: Material

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit report --json`` prints."""
        about = {"report": self.path, "bytes": self.size, "sha256": self.sha256}
        return about | self.material.as_json()


def write_report(
    name: str | None = None,
    store: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] = "report.html",
    pictures: bool = True,
    report: Report = silent,
) -> ReportResult:
    """Write a report of a store, a dataset or a mixture as one self-contained HTML file.

    It can be read with no network, in light and dark, on a telephone and on paper, and holds no
    script. The same store, releases of fusekit and its libraries give the same bytes. Landmarks
    are measured where the detector of ``fusekit ingest`` can be had.

    Args:
        name: A dataset or a mixture; None: the whole store.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        out: The file, ``.html``; replaced when it is there.
        pictures: Whether faces are in it. Names of people are in any case.
        report: Told of progress.

    Raises:
        UsageError: The file's name does not end in .html.
        StoreError: There is no store, nothing of this name or no dataset in it, or it is damaged.
        MixtureError: The mixture is damaged.
        FindingError: A finding's table is missing or damaged.
        StorageError: The file can't be written.

    Example:
        >>> write_report(store="faces", out="faces.html").size  # doctest: +SKIP
        2104233
    """
    file = Path(out)
    if file.suffix.lower() not in _SUFFIXES:
        raise UsageError(str(out), "is no name of a report", "one that ends in .html")
    material = collect_material(name, store, pictures=pictures, report=report)
    text = render(material).encode()
    open_storage(file.absolute().parent).write(file.name, text)
    return ReportResult(str(out), len(text), hashlib.sha256(text).hexdigest(), material)


def render(material: Material) -> str:
    """Give a report's HTML."""
    style = (resources.files("fusekit.report") / "page.css").read_text("utf-8")
    title = _title(material)
    sections = _sections(material)
    links = [tag("li", tag("a", words, href=f"#{key}")) for key, words, _ in sections]
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", _lead(material), class_="lead"),
            tag("nav", tag("ul", *links), aria_label="Sections")),
        tag("main", *(tag("section", tag("h2", words), part, id=key)
                      for key, words, part in sections)),
        tag("footer", f"fusekit {metadata.version('fusekit')}. Faces and names are personal data: "
            "share this file only where the datasets' terms allow it."),
    )  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(style)),
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _title(material: Material) -> str:
    if material.name is None:
        return f"A store of {len(material.datasets)} face datasets"
    return f"{material.what.capitalize()} {material.name}"


def _lead(material: Material) -> str:
    samples = sum(d.stats.samples for d in material.datasets)
    identities = sum(d.info.identities for d in material.datasets)
    if material.mixture:
        record = material.record
        return (
            f"{record['labeled']:,} labeled and {record['unlabeled']:,} unlabeled crops, "
            f"{record['classes']:,} classes, from {len(material.datasets)} datasets"
        )
    return f"{samples:,} crops, {identities:,} identities, {len(material.findings)} findings"


def _sections(material: Material) -> list[tuple[str, str, Html]]:
    """Give the sections that have something to tell: name, heading, content."""
    found = remarks(material)
    sections = [
        ("stands-out", "What stands out", _notes(found)),
        ("mixture", "The mixture", _mixture(material)),
        ("overview", "Overview", _overview(material)),
        ("looks", "Looks and signature", _looks(material)),
        ("overlap", "People in common", _overlap(material)),
        ("findings", "Findings", _findings(material)),
        ("datasets", "Datasets", join(dataset_section(d) for d in material.datasets)),
    ]
    return [section for section in sections if section[2]]


def _notes(notes: list[str]) -> Html:
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else Html("")


def _mixture(material: Material) -> Html:
    if material.mixture is None:
        return Html("")
    record = {key.replace("_", " "): value for key, value in material.record.items()}
    total = max(material.mixture.samples, 1)
    rows = [
        (
            part.name, part.kind, part.samples, part.identities or None,
            round(part.depth.mean, 1) if part.depth else None, percent(part.samples / total),
        )
        for part in material.mixture.parts
    ]  # fmt: skip
    headings = ("source", "kind", "samples", "identities", "images each", "share of the rows")
    return join([pairs(record), table(headings, rows, "Sources of the mixture, in its order")])


def _overview(material: Material) -> Html:
    deep = {d.info.name: d.stats.depth for d in material.datasets if d.stats.depth}
    parts = [overview(material.datasets)]
    if deep:
        width = {name: (depth.identities, depth.mean) for name, depth in deep.items()}
        tails = {name: depth.tail for name, depth in deep.items()}
        drawn = [
            figure("Width against depth", draw_width_and_depth("Width against depth", width),
                   "Wide: many identities. Deep: many images of each."),
            figure("Long tail", draw_tails("Images per identity, by rank", tails),
                   "A flat line has as many images of everybody; a falling one has few of most."),
        ]  # fmt: skip
        parts.append(tag("div", *drawn, class_="grid large"))
    return join(parts)


def _looks(material: Material) -> Html:
    headings = ("dataset", "grey", "JPEG quality", "sharpness", "brightness", "red and blue",
                "off the template", "faces' size", "stretch", "alone in this")  # fmt: skip
    rows = []
    for dataset in material.datasets:
        looks, marks = dataset.looks, dataset.looks.landmarks
        alone = "; ".join(looks.alone) or None
        moved = f"{marks.shift_x:+.1f}, {marks.shift_y:+.1f} px" if marks else None
        rows.append((
            looks.dataset, percent(looks.grey_share), looks.jpeg_quality, looks.sharpness,
            looks.brightness, "swapped" if looks.swapped else "in order", moved,
            marks.scale if marks else None, marks.stretch if marks else None, alone,
        ))  # fmt: skip
    words = "Medians; shift, size and stretch by a detector's landmarks, 1 is usual"
    parts = [table(headings, rows, words)]
    if material.signature:
        parts.append(_signature(material.signature))
    return join(parts)


def _signature(signature: Signature) -> Html:
    recalls = {each.dataset: each.recall for each in signature.datasets}
    drawn = draw_bars(
        "Dataset signature", recalls, most=1.0, line=(signature.chance, "chance"),
        spell=lambda value: f"{value * 100:.0f} %",
    )  # fmt: skip
    words = (
        f"A linear probe on embeddings of {signature.model} names the dataset of people it has "
        f"never seen: right for {signature.accuracy * 100:.0f} % on average over datasets, by "
        f"chance {signature.chance * 100:.0f} %, with people dealt out at random "
        f"{signature.control * 100:.0f} %. Above these, a network can learn which dataset a face "
        "is from."
    )
    return tag("div", figure("Dataset signature", drawn, words), class_="grid large")


def _overlap(material: Material) -> Html:
    if not material.overlaps.same:
        return Html("")
    identities = {d.info.name: d.info.identities for d in material.datasets}
    return overlap_matrix(material.overlaps, identities)


def _findings(material: Material) -> Html:
    told = material.findings
    return join(finding_section(each, pictures=material.pictures) for each in told)
