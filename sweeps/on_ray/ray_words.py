"""What Ray says at length, in one sentence; all of it goes to Ray's log."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["brief", "brief_reason", "is_out_of_memory", "is_out_of_space", "messages_to_log"]

logger = logging.getLogger("sweeps")

# What Ray writes when its memory monitor has killed a worker.
_OUT_OF_MEMORY = ("OutOfMemoryError", "running low on memory", "memory monitor", "memory pressure")
# What Python says of a full disk or quota, in the traceback of a worker.
_OUT_OF_SPACE = (f"[Errno {errno.ENOSPC}]", f"[Errno {errno.EDQUOT}]")
_LONGEST = 200


def brief(text: str) -> str:
    """The first sentence of a message of Ray's, or what it comes to."""
    if is_out_of_memory(text):
        return (
            "the machine ran out of memory; lower resources.concurrent or the batch size if it "
            "happens again"
        )
    sentence = re.split(r"(?<=[.!?])\s", text.strip())[0]
    return sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}..."


def brief_reason(text: str) -> str:
    """In one sentence why a worker died, from all that Ray wrote of it."""
    if not text:
        return "no reason was given"
    # Which sign tells is anywhere in the text, the reason itself in its last line.
    return brief(text if is_out_of_memory(text) else text.splitlines()[-1])


def is_out_of_space(text: str) -> bool:
    """Whether a worker died because a disk or a quota was full."""
    return any(sign in text for sign in _OUT_OF_SPACE)


def is_out_of_memory(text: str) -> bool:
    """Whether Ray says that its memory monitor has killed a worker."""
    return any(sign in text for sign in _OUT_OF_MEMORY)


@contextlib.contextmanager
def messages_to_log() -> Iterator[None]:
    """Logs what Ray would print of its own processes to standard output, whatever it is told.

    Ray has no setting for these messages; a Ray without the function that prints them is left as
    it is.
    """
    worker = importlib.import_module("ray._private.worker")
    printing = getattr(worker, "print_to_stdstream", None)
    if printing is None:
        yield
        return

    def log(data: dict[str, Any], *_: Any, **__: Any) -> None:
        text = "\n".join(map(str, data.get("lines") or ()))
        logging.getLogger("ray").warning("%s", text)
        logger.warning("Ray reports: %s", brief(text))

    worker.print_to_stdstream = log  # type: ignore[attr-defined]
    try:
        yield
    finally:
        worker.print_to_stdstream = printing  # type: ignore[attr-defined]
