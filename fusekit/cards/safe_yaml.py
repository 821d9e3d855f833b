"""YAML that people wrote, read without trusting it.

Plain data only: no tags, no anchors (a few lines of which can grow to gigabytes), no key twice,
no file above a size that no card or recipe comes near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from fusekit.errors import FusekitError

MAX_BYTES: Final = 1 << 18
_MAX_DEPTH: Final = 32


class _Refused(yaml.MarkedYAMLError):
    """Something that YAML allows and fusekit does not."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without anchors, repeated keys, dates and deep nesting."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Refused(problem="an anchor or alias", problem_mark=event.start_mark)
        if self._depth == _MAX_DEPTH:
            raise _Refused(problem="nested too deep", problem_mark=event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False  # noqa: FBT001, FBT002 - PyYAML's
    ) -> dict[Hashable, Any]:  # fmt: skip
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(problem="a key that is no text", problem_mark=key.start_mark)
            if key.value in seen:
                raise _Refused(
                    problem=f"the key {key.value!r} a second time", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# A date stays text, as JSON would have it.
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, error: type[FusekitError]) -> Any:  # noqa: ANN401 - any plain value
    """Read a YAML file of plain values.

    Args:
        path: The file.
        error: The class of what is raised: a card's or a recipe's error.

    Returns:
        Dicts, lists, text, numbers, booleans, None.

    Raises:
        FusekitError: Of the class given: the file can't be read, is too large or no UTF-8, is no
            YAML, or holds an anchor, a tag, a repeated key or values nested too deep.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as reason:
        raise error(path, f"can't be read ({reason.strerror})") from None
    if len(data) > MAX_BYTES:
        raise error(path, f"is larger than {MAX_BYTES} bytes", "a file written by hand")
    try:
        return yaml.load(data.decode("utf-8"), _PlainLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError:
        raise error(path, "is no UTF-8 text") from None
    except yaml.MarkedYAMLError as reason:
        mark = reason.problem_mark or reason.context_mark
        place = f"{path}:{mark.line + 1}" if mark else path
        expected = "plain YAML without it" if isinstance(reason, _Refused) else "plain YAML"
        raise error(place, reason.problem or "is no YAML", expected) from None
    except (yaml.YAMLError, ValueError) as reason:
        raise error(path, str(reason).splitlines()[0], "plain YAML") from None
