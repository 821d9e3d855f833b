"""A dataset's card: what it is, in which forms it lies on disk, how each form is read.

Cards are YAML files. Those of ``manifests/`` come with fusekit; anyone's own card works the same
way, given by its path. A card holds words, numbers and file names only: no code, no class paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from fusekit.cards.checking import checked, nearest
from fusekit.cards.safe_yaml import read_yaml
from fusekit.errors import CardError
from fusekit.shipped import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
Kind: TypeAlias = Literal["labeled", "unlabeled", "evaluation"]
Faces: TypeAlias = Literal["best", "all"]
Template: TypeAlias = Literal["arcface-112", "sphereface-96x112", "dlib-150", "ffhq-1024"]

#: Width and height in pixels of each template's crops.
CROP_SIZES: Final = {
    "arcface-112": (112, 112),
    "sphereface-96x112": (96, 112),
    "dlib-150": (150, 150),
    "ffhq-1024": (1024, 1024),
}
_MAX_INDEX: Final = 32_767  # int16 in the manifest


@dataclass(frozen=True)
class Form:
    """One form of a dataset on disk, and how to read it: a card's form with nothing left open.

    Attributes:
        name: What the card calls it.
        reader: Name of the reader.
        aligned: The images are finished crops: they pass through bit for bit.
        template: What they are, or will be, aligned to.
        crop_size: Width and height of the template's crops, pixels.
        faces: ``best``: one face of a picture is the sample; ``all``: each face is one.
        options: Of the reader; plain values.
        identities: Published number of people in this form; None: not published.
        images: Published number of images in this form; None: not published.
    """

    name: str
    reader: str
    aligned: bool
    template: str
    crop_size: tuple[int, int]
    faces: Faces
    options: Mapping[str, Any]
    identities: int | None = None
    images: int | None = None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class CardForm(_Strict):
    """A form as the card spells it; :meth:`Card.form` resolves it.

    Attributes:
        reader: Name of the reader.
        name: What ``--form`` calls it; None: as the reader.
        aligned: The images are finished crops of ``template``: they pass through bit for bit.
        template: Alignment template of the crops.
        faces: ``best`` or ``all``; None: best, and all where the dataset is unlabeled.
        options: Of the reader.
        identities: Published number of people where this form differs from the card; None: no.
        images: Published number of images; the same.
        notes: What a user should know of this form.
    """

    reader: Name
    name: Name | None = None
    aligned: bool = False
    template: Template = "arcface-112"
    faces: Faces | None = None
    options: dict[str, JsonValue] = {}
    identities: int | None = Field(default=None, ge=0)
    images: int | None = Field(default=None, ge=0)
    notes: str = ""

    @model_validator(mode="after")
    def _others_are_finished(self) -> CardForm:
        if self.template != "arcface-112" and not self.aligned:
            msg = f"template {self.template!r} is for finished crops; add aligned: true"
            raise ValueError(msg)
        return self


class Overlap(_Strict):
    """Published knowledge of people who are in this dataset and in another one.

    Attributes:
        dataset: The other one.
        identities: How many people; None when only the fact is known.
        ids: This dataset's identities in question, where they are known one by one.
        same_people: Everyone of this dataset is in the other one under the same name, so that
            lists made for the other hold for this one.
        note: The fact and where it is from.
    """

    dataset: str
    identities: int | None = Field(default=None, ge=0)
    ids: tuple[str, ...] = ()
    same_people: bool = False
    note: str


class Card(_Strict):
    """What fusekit knows of one dataset.

    Attributes:
        name: Its name, as in commands; for fusekit's own cards the file's stem.
        title: As its makers write it.
        index: Its dataset index; None: the store gives one.
        kind: labeled, unlabeled or evaluation.
        identities: Published number of people; None: not published. Never checked.
        images: Published number of images; the same.
        figures: Where these numbers come from, and whether they were verified.
        terms: What the makers allow, in one line; a record, no legal advice.
        urls: Where to read about it.
        forms: The forms it is found in, in the order they are tried.
        overlaps: Published overlaps with other datasets.
        notes: What a user should know before ingesting it.
    """

    name: Name
    title: str = ""
    index: int | None = Field(default=None, ge=0, le=_MAX_INDEX)
    kind: Kind
    identities: int | None = Field(default=None, ge=0)
    images: int | None = Field(default=None, ge=0)
    figures: str = ""
    terms: str = ""
    urls: tuple[str, ...] = ()
    forms: tuple[CardForm, ...] = Field(min_length=1, max_length=16)
    overlaps: tuple[Overlap, ...] = ()
    notes: str = ""

    @model_validator(mode="after")
    def _names_differ(self) -> Card:
        names = [form.name for form in self.resolved()]
        again = next((name for name in names if names.count(name) > 1), None)
        if again:
            msg = f"two forms are named {again!r}"
            raise ValueError(msg)
        return self

    def resolved(self) -> tuple[Form, ...]:
        """Give the forms with every default filled in, in the card's order."""
        faces: Faces = "all" if self.kind == "unlabeled" else "best"
        return tuple(
            Form(
                name=form.name or form.reader,
                reader=form.reader,
                aligned=form.aligned,
                template=form.template,
                crop_size=CROP_SIZES[form.template],
                faces=form.faces or faces,
                options=form.options,
                identities=self.identities if form.identities is None else form.identities,
                images=self.images if form.images is None else form.images,
            )
            for form in self.forms
        )

    def form(self, name: str) -> Form:
        """Give one form by its name.

        Raises:
            CardError: The card has no such form.
        """
        forms = {form.name: form for form in self.resolved()}
        if name not in forms:
            near = nearest(name, forms)
            fix = f"did you mean {near!r}?" if near else None
            raise CardError(self.name, f"has no form {name!r}", " or ".join(forms), fix)
        return forms[name]


def with_options(card: Card, form: str, options: Mapping[str, JsonValue]) -> Card:
    """Give a card whose form has other options of its reader.

    Args:
        card: The card.
        form: Name of one of its forms.
        options: Option to value; the reader checks them.

    Raises:
        CardError: The card has no such form.
    """
    named = card.form(form).name
    forms = [
        each.model_copy(update={"options": {**each.options, **options}})
        if (each.name or each.reader) == named
        else each
        for each in card.forms
    ]
    return card.model_copy(update={"forms": tuple(forms)})


def with_finished_crops(card: Card, form: str) -> Card:
    """Give a card whose form holds finished crops, which pass through as they are.

    Args:
        card: The card.
        form: Name of one of its forms.

    Raises:
        CardError: The card has no such form.
    """
    named = card.form(form).name
    forms = [
        each.model_copy(update={"aligned": True}) if (each.name or each.reader) == named else each
        for each in card.forms
    ]
    return card.model_copy(update={"forms": tuple(forms)})


def load_card(name_or_path: str) -> Card:
    """Load a card of fusekit by its name, or anyone's by its path.

    Args:
        name_or_path: ``vggface2``, or a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        CardError: There is no such card (the nearest name is given), or it is not well formed.

    Example:
        >>> load_card("vggface2").index
        8
    """
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise CardError(path, "there is no such file")
        return _read_card(path)
    paths = _paths()
    if name_or_path not in paths:
        near = nearest(name_or_path, paths)
        fix = f"did you mean {near!r}?" if near else "fusekit's own: " + ", ".join(paths)
        raise CardError(name_or_path, "no card has this name", "a name or a path to a .yaml", fix)
    return _read_card(paths[name_or_path])


def list_cards() -> list[Card]:
    """Load fusekit's own cards: those with an index first, in its order, the others by name.

    Raises:
        CardError: The cards are not installed, or one is not well formed.
    """
    cards = [_read_card(path) for path in _paths().values()]
    return sorted(cards, key=lambda card: (card.index is None, card.index or 0, card.name))


def card_as_used(card: Card, form: Form) -> dict[str, Any]:
    """Give what of a card affects an ingest's result, for the plan's fingerprint.

    Args:
        card: The card.
        form: The form that was read, with the reader's options complete (``reader.form_spec``).

    Returns:
        A JSON object. Titles, figures, terms, notes and the forms not used are left out.
    """
    return {
        "kind": card.kind,
        "form": {
            "name": form.name,
            "reader": form.reader,
            "aligned": form.aligned,
            "template": form.template,
            "crop_size": list(form.crop_size),
            "faces": form.faces,
            "options": dict(form.options),
        },
    }


def _read_card(path: Path) -> Card:
    return checked(Card, read_yaml(path, CardError), path, CardError)


def _paths() -> dict[str, Path]:
    paths = shipped("manifests")
    if not paths:
        raise CardError("manifests", "fusekit's cards are not installed", None, "install it again")
    return paths
