"""YAML from outside to plain values, in bounded time and memory.

Invariant: a text of a few lines stands for no more than a few lines' worth of values. PyYAML's safe loader builds no
objects, but it follows aliases into aliases, and itself into brackets, as deep as they go.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

MAX_CHARACTERS: Final = 1 << 20
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 20_000  # counted wherever an alias stands, too; PyYAML takes a second for them
MAX_SCALAR: Final = 64 << 10  # a longer number would take seconds to become one


class TooMuchError(yaml.MarkedYAMLError):
    """The text is too long, too deep, or stands for too many values; `problem` says which."""


def parse(text: str) -> Any:
    """The values of one YAML document; None where it is empty.

    Raises yaml.YAMLError, whose text may quote the document, and ValueError for what looks like a date or a number and
    is none.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooMuchError(problem=f"it has more than {MAX_CHARACTERS:,} characters")
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """The safe loader, with what each node stands for counted while nodes are composed, before any value is made."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._sizes: dict[yaml.Node, int] = {}  # of the nodes that are whole

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As the loader's own."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        before, self._depth = self._values, self._depth + 1
        if self._depth > MAX_DEPTH:
            raise TooMuchError(problem=f"it is nested more than {MAX_DEPTH} deep", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias and node not in self._sizes:
            raise TooMuchError(problem="an alias stands within what it names", problem_mark=mark)
        self._values += self._sizes[node] if is_alias else 1
        if self._values > MAX_VALUES:
            raise TooMuchError(problem=f"it has more than {MAX_VALUES:,} values", problem_mark=mark)
        if isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_SCALAR:
            raise TooMuchError(problem=f"a value has more than {MAX_SCALAR:,} characters", problem_mark=mark)
        if not is_alias:
            self._sizes[node] = self._values - before
        return node
