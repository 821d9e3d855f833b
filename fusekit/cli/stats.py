"""``fusekit stats``: who is in a dataset or a mixture, how deep, and how the faces are."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fusekit.cli.complete import complete_known
from fusekit.cli.options import AsJson, Store
from fusekit.cli.show import show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from fusekit.report.spread import Depth
    from fusekit.report.stats import Stats

_BLOCKS: Final = "·▁▂▃▄▅▆▇█"
_EIGHTHS: Final = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_BAR: Final = 30


def stats(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A dataset or a mixture.", autocompletion=complete_known
        ),
    ],
    *,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Count who is in a dataset or a mixture, and how the faces are.

    Images per identity, face size, yaw, sharpness, brightness, JPEG quality, splits and
    rejects: all from the manifests, no crop is read.

    \b
    Example:
      fusekit stats vggface2 --store faces
    """
    from fusekit.report.stats import collect_stats

    found = collect_stats(name, store)
    if as_json:
        show_json(found.as_json())
    else:
        show_stats(found)


def show_stats(found: "Stats") -> None:
    """Show statistics as tables with small histograms in them."""
    facts = {
        found.what: found.name, "kind": found.kind, "samples": found.samples,
        "identities": found.identities, "items": found.items,
        "faces left out": found.faces_left_out, "grey": _percent(found.grey_share),
    }  # fmt: skip
    show_pairs({name: value for name, value in facts.items() if value is not None})
    if found.parts:
        _show_parts(found)
    if found.depth:
        _show_depth(found.depth)
    show_line()
    rows = [
        (
            s.name,
            *(_short(q) for q in (s.quantiles or (None,) * 7)[::3]),
            _spark(s.histogram.counts),
        )
        for s in found.spreads
        if s.samples
    ]
    show_table(("of the samples", "least", "median", "most", "spread"), rows)
    for column, counts in found.counts.items():
        if len(counts) > 1:
            _show_counts(column, counts)
    if found.rejects:
        _show_counts("rejected items", found.rejects)


def _show_parts(found: "Stats") -> None:
    show_line()
    rows = [
        (p.name, p.kind, p.samples, p.identities or None, p.depth and round(p.depth.mean, 1))
        for p in found.parts
    ]
    show_table(("source", "kind", "samples", "identities", "images each"), rows)


def _show_depth(depth: "Depth") -> None:
    show_line()
    show_pairs({
        "images per identity": f"{depth.mean:,.1f} on average, {depth.quantiles[0]:,.0f} to "
        f"{depth.quantiles[-1]:,.0f}, median {depth.quantiles[3]:,.0f}",
        "of one image": f"{depth.singletons:,} identities",
        "the tenth with most": f"{_percent(depth.top_decile)} of the images",
        "gini": round(depth.gini, 3),
    })  # fmt: skip
    show_line()
    edges, counts = depth.histogram.edges, depth.histogram.counts
    most = max(counts)
    used = [place for place, count in enumerate(counts) if count]
    rows = [
        (_range(int(edges[i]), int(edges[i + 1]) - 1), counts[i], _bar(counts[i], most))
        for i in range(used[0], used[-1] + 1)
    ]
    show_table(("images", "identities", ""), rows)


def _show_counts(title: str, counts: dict[str, int]) -> None:
    show_line()
    most = max(counts.values())
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    show_table((title, "count", ""), [(name, n, _bar(n, most)) for name, n in ordered])


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _bar(count: int, most: int) -> str:
    eighths = -(-count * _BAR * 8 // most) if most else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8]


def _spark(counts: tuple[int, ...]) -> str:
    """Draw a histogram in a line; a bin with anything in it shows at least a trace."""
    most = max(counts)
    return "".join(_BLOCKS[-(-count * 8 // most)] for count in counts) if most else ""


def _short(value: float | None) -> Any:  # noqa: ANN401 - a cell
    if value is None:
        return None
    return int(value) if float(value).is_integer() else value


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share * 100:.1f} %"
