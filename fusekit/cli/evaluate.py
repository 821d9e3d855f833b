"""``fusekit evaluate``: what a model reaches on evaluation sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fusekit.cli.complete import complete_stored
from fusekit.cli.options import AsJson, Store, Workers
from fusekit.cli.progress import progress
from fusekit.cli.show import remark, show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from fusekit.evaluation.evaluate import EvaluationResult


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model's name, insightface/PACK or a .onnx file."),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MORE",
            help="More sets of --on, written behind its first.",
            autocompletion=complete_stored,
        ),
    ] = None,
    *,
    on: Annotated[
        list[str],
        typer.Option(
            "--on",
            metavar="SET",
            help="An evaluation set, or SET:PROTOCOL; or several.",
            autocompletion=complete_stored,
        ),
    ],
    template: Annotated[
        Literal["N0F0", "N0F1", "N1F0", "N1F1"],
        typer.Option("--template", help="N1: unit length before sums; F1: with mirror images."),
    ] = "N0F0",
    far: Annotated[
        list[float] | None,
        typer.Option("--far", metavar="RATE", help="A rate for TAR; 0.1 to 1e-6 without."),
    ] = None,
    missing: Annotated[
        Literal["wrong", "left-out"],
        typer.Option("--missing", help="What a pair is of which an item gave no sample."),
    ] = "wrong",
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN", help="Judge groups apart: split, protocol, media."),
    ] = None,
    gallery: Annotated[
        int | None,
        typer.Option("--gallery", metavar="N", min=1, help="Say what N images would meet with."),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            "--neighbours", metavar="K", min=1, help="Identify images by their K nearest others."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HEAD", help="Tabulate a trained head's activations."),
    ] = None,
    mixture: Annotated[
        str | None,
        typer.Option("--mixture", metavar="NAME", help="What the model was trained on."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw ROC and DET, .svg.")
    ] = None,
    store: Store = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on evaluation sets, by their own protocols.

    Accuracy over the protocol's folds, each by the threshold that suits the others best; TAR at
    FAR; templates and 1:N where the set has them.

    \b
    Example:
      fusekit evaluate model.onnx --on lfw cfp-fp agedb-30 --store faces
      fusekit evaluate dlib-resnet-v1 --on lfw --gallery 30 --json --store faces
    """
    from fusekit.evaluation.evaluate import evaluate as evaluate_model
    from fusekit.evaluation.rates import FARS

    with progress() as report:
        result = evaluate_model(
            model, on=(*on, *(more or ())), template=template, fars=far or FARS, by=by,
            gallery=gallery, neighbours=neighbours, head=head, missing=missing, mixture=mixture,
            plot=plot, store=store, workers=workers, report=report,
        )  # fmt: skip
    show_evaluation(result, as_json=as_json)


def show_evaluation(result: "EvaluationResult", *, as_json: bool) -> None:
    """Show what a model reached, in percent."""
    for name in result.unchecked:
        remark(f"warning: the mixture was not checked against {name}: its people may be in it")
    about = result.as_json()
    if as_json:
        show_json(about)
        return
    show_rates({"set": list(about)}, list(about.values()))
    for name, figures in about.items():
        show_more(name, figures)


def show_rates(head: dict[str, list[str]], rows: list[dict[str, Any]]) -> None:
    """Show accuracy and TAR at FAR, a line a set or group; * marks what hangs on few pairs."""
    fars = list(dict.fromkeys(far for row in rows for far in row["tar"]))
    columns = (*head, "pairs", "missing", "accuracy %", "std", "stderr")
    lines = [
        [
            *names, row.get("pairs"), row.get("missing"),
            *(_percent(row[key]) for key in ("accuracy", "std", "stderr")),
            *(_percent(row["tar"].get(far), "*" if far in row.get("few", ()) else "")
              for far in fars),
        ]
        for names, row in zip(zip(*head.values(), strict=True), rows, strict=True)
    ]  # fmt: skip
    show_table((*columns, *(f"TAR@{far}" for far in fars)), lines)
    if any(
        far in row.get("few", ()) and row["tar"][far] is not None for row in rows for far in fars
    ):
        show_line("* the rate allows fewer than ten impostor pairs")


def show_more(name: str, figures: dict[str, Any]) -> None:
    """Show the further tables of a set."""
    if figures.get("by"):
        show_line()
        show_rates({name: list(figures["by"])}, list(figures["by"].values()))
        rows = [
            [group, far, _percent(at["far"], places=4), _percent(at["tar"])]
            for group, row in figures["by"].items()
            for far, at in row.get("at_whole", {}).items()
        ]
        if rows:
            show_line()
            show_table((name, "at the set's FAR", "group's FAR %", "group's TAR %"), rows)
    for gallery, found in figures.get("identification", {}).items():
        _show_identification(f"{name} {gallery}", found)
    if figures.get("neighbours"):
        found = figures["neighbours"]
        _show_identification(f"{name}, {found['neighbours']} neighbours", found)
        votes = {"closed": found["closed"]} | {f"FAR {f}": v for f, v in found["open"].items()}
        rows = [[at, _percent(v["right"]), _percent(v["named"])] for at, v in votes.items()]
        show_line()
        show_table(("vote", "rightly named %", "strangers named %"), rows)
    if figures.get("gallery"):
        _show_gallery(name, figures["gallery"])
    if figures.get("open_set"):
        about = figures["open_set"]
        show_line()
        edges = [f"<{edge}" for edge in about["below"]]
        shares = [_percent(share) for share in about["below"].values()]
        line = [about["head"], about["samples"], *shares, about["mean"], about["centre_distance"]]
        show_table((f"{name}, %", "samples", *edges, "mean", "centre distance"), [line])


def _show_identification(title: str, found: dict[str, Any]) -> None:
    show_line()
    show_pairs(
        {title: f"{found['mated']:,} probes with a mate, {found['strangers']:,} strangers"}
        | {f"rank {rank}": _percent(share) for rank, share in found["rank"].items()}
        | {f"TPIR@FPIR {fpir}": _percent(share) for fpir, share in found["tpir"].items()}
    )


def _show_gallery(name: str, about: dict[str, Any]) -> None:
    rows = [
        [at, *(errors[kind][what] for kind in ("search", "all_pairs")
               for what in ("expected", "chance"))]
        for at, errors in ({f"FAR {far}": e for far, e in about["far"].items()}
                           | {"accuracy": about["accuracy"]}).items()
        if errors
    ]  # fmt: skip
    show_line()
    show_table(
        (f"{name}, {about['size']:,} images", "errors of a search", "chance of one",
         "errors of all pairs", "chance of one or more"),
        rows,
    )  # fmt: skip


def _percent(share: float | None, mark: str = "", *, places: int = 2) -> str | None:
    return None if share is None else f"{100 * share:.{places}f}{mark}"
