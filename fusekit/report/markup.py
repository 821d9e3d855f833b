"""HTML that is safe by its type: text is escaped unless it is markup already."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final

from fusekit.faces.image import encode_crop
from fusekit.report.contact_sheet import fit_crop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fusekit.store.crops import RgbImage

_VOID: Final = ("img", "meta")
_QUALITY: Final = 82
_UNITS: Final = (" %", " px")
_LONG: Final = 30  # letters of a cell whose words are folded


class Html(str):
    """Markup; what is no :class:`Html` is text and gets escaped where it becomes part of one."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | None) -> Html:
    """Make an element.

    Args:
        name: Of the element.
        children: Markup, or text that is escaped.
        attributes: Their values are escaped; those of None are left out. A trailing underscore
            goes, and other ones become hyphens: ``class_``, ``aria_label``.

    Example:
        >>> tag("p", "a < b", tag("b", "!"), class_="note", id=None)
        '<p class="note">a &lt; b<b>!</b></p>'
    """
    spelt = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{spelt}>")
    return Html(f"<{name}{spelt}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Join markup and text; text is escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str | float | None]], caption: str
) -> Html:
    """Make a table that scrolls sideways where it is too wide.

    Args:
        headings: Of the columns; the first names the row.
        rows: Text, markup, numbers (thousands marked, to the right) or None (a hyphen).
        caption: What it shows, for those who can't see it.
    """
    right = [any(_is_number(row[at]) for row in rows) for at in range(len(headings))]
    kinds = ["number" if each else None for each in right]
    head = [tag("th", h, scope="col", class_=k) for h, k in zip(headings, kinds, strict=True)]
    body = [
        tag("tr", tag("th", cell(row[0]), scope="row"), *map(_cell, row[1:], right[1:]))
        for row in rows
    ]
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return scrolling(whole, caption)


def scrolling(inner: Html, caption: str) -> Html:
    """Put a table under its caption, into a box that scrolls sideways where it is too wide."""
    box = tag("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")
    return tag("figure", tag("figcaption", caption), box, class_="table")


def cell(value: str | float | None) -> str:
    """Spell a value of a table.

    Example:
        >>> [cell(v) for v in (1234, 0.5, None, "x")]
        ['1,234', '0.5', '-', 'x']
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def pairs(values: Mapping[str, str | float | None]) -> Html:
    """Make a list of names and values."""
    items = [tag("div", tag("dt", name), tag("dd", cell(value))) for name, value in values.items()]
    return tag("dl", *items, class_="facts")


def picture(crop: RgbImage, alt: str, side: int, *, class_: str | None = None) -> Html:
    """Make an image that carries its own bytes.

    Args:
        crop: uint8 ``(H, W, 3)`` RGB.
        alt: What it shows.
        side: Its longer side in the page, pixels.
        class_: For the style sheet.
    """
    fitted = fit_crop(crop, side)
    data = base64.b64encode(encode_crop(fitted, "jpg", _QUALITY)).decode()
    return tag(
        "img", src=f"data:image/jpeg;base64,{data}", alt=alt, title=alt,
        width=str(fitted.shape[1]), height=str(fitted.shape[0]), class_=class_,
    )  # fmt: skip


def _cell(value: str | float | None, right: bool) -> Html:  # noqa: FBT001 - mapped over columns
    spelt = cell(value)
    kind = "number" if right else "wide" if len(spelt) > _LONG else None
    return tag("td", spelt, class_=kind)


def _is_number(value: str | float | None) -> bool:
    return value is not None and (not isinstance(value, str) or value.endswith(_UNITS))
