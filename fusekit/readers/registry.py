"""Which readers there are, and which of a card's forms lies on disk.

A new reader is a file of its own and a line in ``_READERS``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from fusekit.cards.checking import nearest
from fusekit.errors import CardError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from fusekit.cards.card import Card, Form
    from fusekit.readers.item import Reader, ReaderType

#: Reader to its class in a module of this package, imported when a card asks for it.
_READERS: Final = {
    "agedb": "agedb:AgedbReader",
    "calfw": "calfw:CalfwReader",
    "celeba": "celeba:CelebaReader",
    "cfp": "cfp:CfpReader",
    "csv": "table:CsvReader",
    "facescrub": "facescrub:FacescrubReader",
    "folders": "folders:FoldersReader",
    "frames": "frames:FramesReader",
    "ijb": "ijb:IjbReader",
    "img2dataset": "img2dataset:Img2datasetReader",
    "imdb-face": "imdb_face:ImdbFaceReader",
    "jsonl": "jsonl:JsonlReader",
    "lfw": "lfw:LfwReader",
    "lmdb": "lmdb:LmdbReader",
    "megaface": "megaface:MegafaceReader",
    "pair-bin": "pair_bin:PairBinReader",
    "parquet": "parquet:ParquetReader",
    "recordio": "recordio:RecordioReader",
    "rfw": "rfw:RfwReader",
    "tfrecord": "tfrecord:TfrecordReader",
    "trillion-pairs": "trillion_pairs:TrillionPairsReader",
    "tsv": "tsv:TsvReader",
    "umdfaces": "umdfaces:UmdfacesReader",
    "unlabeled": "unlabeled:UnlabeledReader",
    "vggface": "vggface:VggfaceReader",
    "video": "video:VideoReader",
    "webdataset": "webdataset:WebdatasetReader",
}


def reader_names() -> list[str]:
    """Give the names of the readers that there are, sorted."""
    return sorted(_READERS)


def reader_type(name: str) -> ReaderType:
    """Give a reader by its name; only then is its module imported."""
    module, _, found = _READERS[name].partition(":")
    return cast("ReaderType", getattr(import_module(f"fusekit.readers.{module}"), found))


def open_reader(card: Card, raw: Path, form: str | None = None) -> Reader:
    """Open raw data by its card.

    Args:
        card: The dataset's.
        raw: A folder, or a file such as a ``.rec``.
        form: Name of the card's form; None: the first one that the raw data looks like.

    Returns:
        The reader; ``reader.form`` says which form was found.

    Raises:
        CardError: The card has no such form, or names a reader or an option that is unknown.
        SourceError: The raw data is not there, or has none of the card's forms.
    """
    forms = (card.form(form),) if form else card.resolved()
    _check_known(card, forms)
    if not raw.exists():
        raise SourceError(raw, "there is no such file or folder", f"the raw data of {card.name}")
    if not (raw.is_dir() or raw.is_file()):
        raise SourceError(raw, "is neither a file nor a folder", f"the raw data of {card.name}")
    here = raw.resolve()
    if len(forms) == 1:
        # With one way to read it, the reader itself says best what does not fit.
        return reader_type(forms[0].reader)(here, card.kind, forms[0])
    for each in forms:
        if reader_type(each.reader).fits(here, each):
            return reader_type(each.reader)(here, card.kind, each)
    raise SourceError(
        raw, f"holds no form of {card.name}", _looked_for(forms),
        "give the folder that holds one with --from",
    )  # fmt: skip


def _looked_for(forms: tuple[Form, ...]) -> str:
    """Say what each form is known by, those that are known by the same thing together."""
    alike: dict[str, list[str]] = {}
    for form in forms:
        alike.setdefault(reader_type(form.reader).looks_for, []).append(form.name)
    return "; ".join(f"{what} ({', '.join(names)})" for what, names in alike.items())


def _check_known(card: Card, forms: tuple[Form, ...]) -> None:
    for form in forms:
        if form.reader not in _READERS:
            near = nearest(form.reader, _READERS)
            raise CardError(
                card.name, f"there is no reader {form.reader!r}", " or ".join(reader_names()),
                f"did you mean {near!r}?" if near else None,
            )  # fmt: skip
