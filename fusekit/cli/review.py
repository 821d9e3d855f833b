"""``fusekit review``: lay out what a finding is unsure of, and take a person's decisions back."""

from typing import TYPE_CHECKING, Annotated

import typer

from fusekit.cli.options import AsJson, Store
from fusekit.cli.progress import progress
from fusekit.cli.show import remark, show_json, show_pairs, show_table
from fusekit.errors import UsageError

if TYPE_CHECKING:
    from fusekit.store.reviews import Reviewable


def review(
    finding: Annotated[
        str | None,
        typer.Argument(
            metavar="FINDING",
            help="First digits of its fingerprint, or its kind; without: lists them.",
        ),
    ] = None,
    *,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="A new or empty folder; else review-FINDING."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All rows, instead of the unsure ones.")
    ] = False,
    apply: Annotated[
        str | None,
        typer.Option("--apply", metavar="CSV", help="Take back the file that was filled in."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who decided; without: the login name."),
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Decide what a finding is unsure of.

    Writes contact sheets and decisions.csv; fill in its column decision and give it
    back with --apply. That makes a new finding, which recipes take instead of the old.

    \b
    Example:
      fusekit review --store faces
    """
    from fusekit.curate.review import apply_review
    from fusekit.report.review_folder import export_review
    from fusekit.store.layout import open_store
    from fusekit.store.reviews import list_reviewable

    _check(finding, out, apply, by, every=every)
    if finding is None:
        _show_list(list_reviewable(open_store(store)), as_json=as_json)
    elif apply is not None:
        result = apply_review(finding, apply, by=by, store=store)
        _show(result.as_json(), as_json=as_json)
    else:
        with progress() as report:
            folder = export_review(finding, out=out, every=every, store=store, report=report)
        _show(folder.as_json(), as_json=as_json)
        remark(
            f"look at the sheets, write {', '.join(folder.answers)} into decisions.csv, then "
            f"fusekit review {folder.finding[:12]} --apply {folder.folder}/decisions.csv"
        )


def _check(
    finding: str | None, out: str | None, apply: str | None, by: str | None, *, every: bool
) -> None:
    given = {"--out": out, "--all": every or None, "--apply": apply, "--by": by}
    named = [option for option, value in given.items() if value is not None]
    if finding is None and named:
        raise UsageError(named[0], "needs a finding", None, "fusekit review lists them")
    if apply is not None and (out is not None or every):
        raise UsageError("--apply", f"and {named[0]} together", "one of them")
    if apply is None and by is not None:
        raise UsageError("--by", "says who decided", "--apply with it")


def _show_list(findings: "list[Reviewable]", *, as_json: bool) -> None:
    if as_json:
        show_json({"findings": [each.as_json() for each in findings]})
        return
    if not findings:
        remark("no finding has decisions: overlap, decontaminate, clean and dedup make them")
        return
    rows = [
        (
            each.finding.kind, each.finding.fingerprint[:12], each.finding.datasets, each.rows,
            each.unsure, each.finding.review.get("by"), "yes" if each.stale else None,
        )
        for each in findings
    ]  # fmt: skip
    show_table(("kind", "finding", "datasets", "rows", "unsure", "reviewed by", "stale"), rows)


def _show(about: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        show_json(about)
    else:
        show_pairs(about)
