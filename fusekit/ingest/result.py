"""What an ingest gave: counts that add up, figures beside the published ones, remarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fusekit.readers.item import RemarkingReader

if TYPE_CHECKING:
    from fusekit.cards.card import Form
    from fusekit.readers.item import Reader
    from fusekit.store.datasets import DatasetInfo

#: Items that are rows of a list and no images.
NOT_THERE: Final = ("missing", "not_downloaded")


@dataclass(frozen=True)
class IngestResult:
    """What an ingest gave; ``items == kept + rejected``.

    Attributes:
        dataset: Name in the store.
        items: Raw items.
        kept: Items that gave at least one sample.
        rejected: Items that gave none.
        samples: Stored crops.
        identities: Distinct identities of the source.
        rejects: Reason to count.
        faces_left_out: Faces of kept items that are no samples.
        ignored: What the reader passed over that is no item.
        form: Form of the raw data.
        units: Work units; ``resumed`` of them stood already.
        resumed: Units that an earlier run had done.
        seconds: Of this run.
        figures: ``identities`` and ``images``: how many are ``here``, were ``published`` for this
            form (None: not published), and their ``difference``. Never an error.
        protocol: An evaluation set's tables, each with its number of rows.
        colours: Of aligned crops, how red and blue lie in them; None: not looked at.
        remarks: What a user should know of the raw data, one sentence each.
        dry_run: True when nothing was written and only the listing is known.
    """

    dataset: str
    items: int
    kept: int
    rejected: int
    samples: int
    identities: int
    rejects: dict[str, int]
    seconds: float
    form: str
    faces_left_out: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    units: int = 0
    resumed: int = 0
    figures: dict[str, dict[str, int | None]] = field(default_factory=dict)
    protocol: dict[str, int] = field(default_factory=dict)
    colours: dict[str, Any] | None = None
    remarks: list[str] = field(default_factory=list)
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit ingest --json`` prints."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def compare_figures(form: Form, identities: int, images: int) -> dict[str, dict[str, int | None]]:
    """Compare what is here with what was published for the form."""
    return {
        name: {
            "here": here,
            "published": published,
            "difference": None if published is None else here - published,
        }
        for name, here, published in (
            ("identities", identities, form.identities), ("images", images, form.images),
        )
    }  # fmt: skip


def collect_remarks(reader: Reader, colours: dict[str, Any] | None) -> list[str]:
    """Collect what a user should know of the raw data, one sentence each."""
    remarks = list(reader.remarks()) if isinstance(reader, RemarkingReader) else []
    if colours and colours["swapped"]:
        remarks.append(
            f"red and blue look swapped: {colours['bluer']:.0%} of {colours['images']} crops are "
            "bluer than red, where faces are redder; nothing was changed"
        )
    return remarks


def result_of(info: DatasetInfo, reader: Reader, resumed: int, seconds: float) -> IngestResult:
    """Give the result of a dataset that is finished.

    Args:
        info: The dataset.
        reader: Of its raw data, which has been listed.
        resumed: Units that stood before this run.
        seconds: Of this run.
    """
    images = info.items - sum(info.rejects.get(reason, 0) for reason in NOT_THERE)
    return IngestResult(
        dataset=info.name, items=info.items, kept=info.kept, rejected=info.rejected,
        samples=info.samples, identities=info.identities, rejects=info.rejects, seconds=seconds,
        form=info.form, faces_left_out=info.faces_left_out, ignored=info.ignored,
        units=info.units, resumed=resumed,
        figures=compare_figures(reader.form_spec, info.identities, images), colours=info.colours,
        protocol=info.protocol, remarks=collect_remarks(reader, info.colours),
    )  # fmt: skip
