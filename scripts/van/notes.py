"""What is told of a move: what needs a hand, what was changed on the way, what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS = {
    "hand": "By hand",
    "changed": "Changed on the way",
    "left": "Left out",
}


@dataclass
class Notes:
    """Notes in their order, each once."""

    found: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, kind: str, where: str, service: str, text: str) -> None:
        """A note of ``kind`` (key of KINDS) on a service, at ``file:line``."""
        note = (kind, where, service, text)
        if note not in self.found:
            self.found.append(note)

    def of(self, kind: str) -> list[tuple[str, str, str]]:
        """``(where, service, text)`` of one kind."""
        return [(where, service, text) for one, where, service, text in self.found if one == kind]
