"""``fusekit dedup``: which samples are copies of one picture."""

from typing import Annotated, Final

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import AsJson, Embedder, Store
from fusekit.cli.progress import progress
from fusekit.cli.sheet import ContactSheet, write_sheet
from fusekit.cli.show import show_json, show_line, show_pairs, show_table

_SHOWN: Final = 20


def dedup(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET...",
            help="Datasets of the store, of any kind.",
            autocompletion=complete_stored,
        ),
    ],
    *,
    exact: Annotated[bool, typer.Option("--exact", help="Compare bytes only, not looks.")] = False,
    distance: Annotated[
        int,
        typer.Option(
            "--distance", metavar="BITS", help="Of 128 bits, in how many copies may differ."
        ),
    ] = 23,
    embedder: Embedder = None,
    contact_sheet: ContactSheet = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Find copies of one picture, inside datasets and between them.

    The result is a finding. Nothing is deleted: build-mixture keeps the best copy only where
    a recipe says dedup. Copies under two identities of one dataset are left for a person.

    \b
    Example:
      fusekit dedup vggface2 ms1m --store faces
    """
    from fusekit.curate.dedup import find_duplicates

    with progress() as report:
        result = find_duplicates(
            datasets, near=not exact, distance=distance, embedder=embedder, store=store,
            report=report,
        )  # fmt: skip
    write_sheet(contact_sheet, "duplicates", result, store)
    if as_json:
        show_json(result.as_json())
        return
    show_pairs({
        "samples": result.samples, "exact copies": result.exact, "near copies": result.near,
        "left out": result.dropped, "conflicts": len(result.conflicts),
        "finding": result.finding,
    })  # fmt: skip
    if result.between:
        show_line()
        rows = [[best, copy, count] for (best, copy), count in result.between.items()]
        show_table(("best copy in", "copy in", "copies"), rows)
    if result.conflicts:
        show_line()
        show_table(
            ("conflict in", "identities", "keys"),
            [
                [", ".join(dict.fromkeys(c.datasets)), " / ".join(c.identities), " / ".join(c.keys)]
                for c in result.conflicts[:_SHOWN]
            ],
        )
        if len(result.conflicts) > _SHOWN:
            show_line(f"and {len(result.conflicts) - _SHOWN:,} more, all in the finding and --json")
