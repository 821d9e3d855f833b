"""Names of people: fold away how datasets spell them, and tell whether two are one name.

A name is evidence and no key: different people share one. Two spellings are the same name when
they are equal after folding (case, accents, separators, numbering), or when they differ by one
typing error in one long word, as ``ben_afflek`` and ``Ben Affleck`` do. Nothing looser: words
keep their order, and a missing word or another initial (George W. and George H. W. Bush) makes
another name.

Reference:
    The typing errors are those of Damerau, "A technique for computer detection and correction of
    spelling errors", CACM 1964: one letter wrong, missing, extra, or two neighbours swapped.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TYPO_LETTERS: Final = 6
"""A word of fewer letters must be equal: Brown and Braun, Maria and Marie are other names."""
VERSION: Final = 1
"""Of the folding: changes with what matches."""

_MARKERS: Final = frozenset({"pins"})  # what releases write before the name: pins_Adriana Lima
_NO_NAMES: Final = _MARKERS | {
    "actor", "actress", "batch", "celeb", "celebrity", "class", "clip", "cluster", "crop", "face",
    "folder", "frame", "group", "id", "identity", "image", "img", "label", "model", "name", "none",
    "null", "part", "people", "person", "photo", "pic", "pid", "sample", "set", "speaker",
    "subject", "test", "track", "train", "uid", "unknown", "unnamed", "user", "val", "vid", "video",
}  # fmt: skip
# Letters that Unicode does not take apart into a base letter and an accent.
_LETTERS: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "æ": "ae",
        "œ": "oe",
        "\u0131": "i",
        "þ": "th",
        "ħ": "h",
    }
)
_LETTERS_OF_A_NAME: Final = 3
_NUMBERED: Final = re.compile(r"\(\s*[ivxlc]+\s*\)\s*$")  # IMDb's (I), (II) behind namesakes
_APOSTROPHES: Final = re.compile(r"['\u2018\u2019\u02bc`\u00b4]")
_SEPARATORS: Final = re.compile(r"[\W_]+")
_LAST_DIGITS: Final = re.compile(r"\d+$")


def name_key(text: str | None) -> str | None:
    """Fold a name to what its spellings in different datasets have in common.

    Case, accents, apostrophes, separators, numbers before and behind the name, and a release's
    own marker (``pins_``) go; the words and their order stay.

    Args:
        text: A display name, or an identity that may be a name.

    Returns:
        Lower-case words with one blank between them; None when the text is no name but a number
        or a code such as ``0000045``, ``n000106``, ``m.0fd6sd`` or ``person_12``.

    Example:
        >>> name_key("pins_Adriana Lima"), name_key("PENÉLOPE_CRUZ_0007"), name_key("Conan O'Brien")
        ('adriana lima', 'penelope cruz', 'conan obrien')
        >>> [name_key(code) for code in ("0000045", "n000106", "m.0fd6sd", "person_12", None)]
        [None, None, None, None, None]
    """
    words = every = _words(text or "")
    while words and (words[0].isdecimal() or words[0] in _MARKERS):
        words = words[1:]
    while words:  # "affleck 7" and "affleck7": a number behind the name, or behind its last word
        bare = _LAST_DIGITS.sub("", words[-1])
        if bare == words[-1]:
            break
        words = [*words[:-1], *([bare] if bare else [])]
    numbered = any(letter.isdecimal() for letter in "".join(every))
    # With a number, short words are a code's parts (id_n_490624), and one word is more often a code
    # (celeb000123) than a name (Madonna 2): taken for a name it would be everyone's in its dataset.
    least = _LETTERS_OF_A_NAME if numbered else 1
    telling = [word for word in words if len(word) >= least and word not in _NO_NAMES]
    letters = "".join(words)
    short = len(letters) < _LETTERS_OF_A_NAME and letters.isascii()
    if not telling or short or any(letter.isdecimal() for letter in letters):
        return None
    return None if numbered and len(words) == 1 else " ".join(words)


def person_name(identity: str, name: str | None) -> str | None:
    """Give the name by which a dataset knows a person, as it is spelt there.

    Args:
        identity: The identity.
        name: Its display name; None: the dataset gives none.

    Returns:
        The display name where it is one, else the identity where that reads as a name, else None.

    Example:
        >>> person_name("7", "Ben Affleck"), person_name("ben_afflek", None), person_name("7", "07")
        ('Ben Affleck', 'ben_afflek', None)
    """
    return next((text for text in (name, identity) if name_key(text) is not None), None)


def names_match(
    a: str | None, b: str | None, aliases: Mapping[str, str] | None = None
) -> bool | None:
    """Tell whether two spellings are the same name.

    Args:
        a: A name.
        b: Another.
        aliases: Other names of people, from :func:`fold_aliases`; None: none.

    Returns:
        None when one of them is no name.

    Example:
        >>> names_match("ben_afflek", "Ben Affleck"), names_match("George_W_Bush", "George HW Bush")
        (True, False)
        >>> names_match("Leonardo DiCaprio", "leonardo_di_caprio"), names_match("n000106", "Cher")
        (True, None)
    """
    key_a, key_b = name_key(a), name_key(b)
    if key_a is None or key_b is None:
        return None
    known = aliases or {}
    return _keys_match(known.get(key_a, key_a), known.get(key_b, key_b))


def match_names(
    left: Sequence[str | None],
    right: Sequence[str | None],
    aliases: Mapping[str, str] | None = None,
) -> list[tuple[int, int]]:
    """Find all pairs of two lists that :func:`names_match`, in time linear in their names.

    Args:
        left: Names; None and codes match nothing.
        right: Names.
        aliases: From :func:`fold_aliases`; None: none.

    Returns:
        Positions in ``left`` and ``right``, ascending.

    Example:
        >>> match_names(["Ben Affleck", None], ["Cher", "BEN_AFFLEK"])
        [(0, 1)]
    """
    known = aliases or {}
    keys_a, keys_b = ([_resolved(name, known) for name in names] for names in (left, right))
    homes: dict[tuple[str, ...], list[int]] = {}
    for j, key in enumerate(keys_b):
        for home in _homes(key):
            homes.setdefault(home, []).append(j)
    return sorted({
        (i, j)
        for i, key in enumerate(keys_a)
        for home in _homes(key)
        for j in homes.get(home, ())
        if _keys_match(key or "", keys_b[j] or "")
    })  # fmt: skip


def fold_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """Fold a table of other names, as :func:`names_match` takes it.

    Args:
        aliases: Another name to the name it stands for, in any spelling; one that is no name is
            left out.

    Returns:
        Folded name to the folded name that a whole chain of them ends in.

    Example:
        >>> fold_aliases({"Stefani Germanotta": "Lady Gaga"})
        {'stefani germanotta': 'lady gaga'}
    """
    keys = {name_key(a): name_key(b) for a, b in aliases.items()}
    known = {a: b for a, b in keys.items() if a is not None and b is not None}
    return {name: _end_of(known, name) for name in known}


def _end_of(known: Mapping[str, str], name: str) -> str:
    chain = [name]
    while (following := known.get(chain[-1], chain[-1])) not in chain:
        chain.append(following)
    # A circle has no end: its least name stands for all of it.
    start = chain.index(known.get(chain[-1], chain[-1]))
    return min(chain[start:])


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(c for c in folded if not unicodedata.combining(c)).translate(_LETTERS)
    bare = _APOSTROPHES.sub("", _NUMBERED.sub("", plain))
    return [word for word in _SEPARATORS.split(bare) if word]


def _resolved(name: str | None, aliases: Mapping[str, str]) -> str | None:
    key = name_key(name)
    return None if key is None else aliases.get(key, key)


def _homes(key: str | None) -> Iterator[tuple[str, ...]]:
    """Give where a name is looked for: its letters, and its words with one left open."""
    if key is None:
        return
    words = key.split(" ")
    yield ("".join(words),)
    for at, word in enumerate(words):
        # One letter shorter: the other word may have the letter that this one lacks.
        if len(word) >= TYPO_LETTERS - 1:
            yield (*words[:at], "*", word[0], *words[at + 1 :])


def _keys_match(a: str, b: str) -> bool:
    # Without blanks, since DiCaprio is Di Caprio and folders are named BenAffleck.
    if a.replace(" ", "") == b.replace(" ", ""):
        return True
    words_a, words_b = a.split(" "), b.split(" ")
    if len(words_a) != len(words_b):
        return False
    differing = [(x, y) for x, y in zip(words_a, words_b, strict=True) if x != y]
    return len(differing) == 1 and _one_typo(*differing[0])


def _one_typo(a: str, b: str) -> bool:
    """Tell whether one typing error, not in the first letter, makes one long word of the other."""
    short, long = sorted((a, b), key=len)
    if len(long) < TYPO_LETTERS or len(long) - len(short) > 1 or short[0] != long[0]:
        return False
    at = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at:][:2][::-1] == long[at:][:2] and short[at + 2 :] == long[at + 2 :]
    return swapped or short[at + 1 :] == long[at + 1 :]
