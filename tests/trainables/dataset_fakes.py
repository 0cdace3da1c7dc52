"""A data set of two small files, and a route to it that needs no network."""

from __future__ import annotations

from dataclasses import dataclass, field

CONTENT = {"a": b"first" * 1000, "b": b"second"}


@dataclass
class FakeRoute:
    """Leaves given files, or fails."""

    content: dict[str, bytes]
    error: BaseException | None = None
    description: str = "a route"
    calls: list[object] = field(default_factory=list)

    def fetch(self, names, folder):
        self.calls.append(folder)
        for name in names:
            if name in self.content:
                (folder / name).write_bytes(self.content[name])
        if self.error:
            raise self.error


def left_behind(root):
    return sorted(path.name for path in root.iterdir())
