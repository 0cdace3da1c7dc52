"""One seed per trial, one stream per purpose, and all generators of a trial as saved state."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["RandomStreams", "derive_seed"]


def derive_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose, in [0, 2^63); different purposes are independent.

    Streams depend on the trial's seed alone, so that trials of different methods with one seed
    start from the same parameters and see the same batches: their comparison is paired.
    """
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class RandomStreams:
    """The random generators of one trial: Python's, numpy's, torch's, and the loader's own.

    Python, numpy and torch have one global generator each. Within :meth:`active` they are this
    trial's; outside they are whatever they were, so that trials in one process do not disturb each
    other nor the caller.

    Args:
        seed: The seed of the trial.

    Attributes:
        loader: The generator of the order of batches.
    """

    def __init__(self, seed: int) -> None:
        self.loader = torch.Generator().manual_seed(derive_seed(seed, "loader"))
        before = _capture()
        random.seed(derive_seed(seed, "python"))
        np.random.seed(derive_seed(seed, "numpy") % 2**32)  # noqa: NPY002  (third-party code)
        torch.manual_seed(derive_seed(seed, "torch"))
        self._own = _capture()
        _restore(before)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the global generators this trial's, for the time of a ``with`` block."""
        before = _capture()
        _restore(self._own)
        try:
            yield
        finally:
            self._own = _capture()
            _restore(before)

    def state_dict(self) -> dict[str, Any]:
        """All generators, as tensors and plain values."""
        return {**self._own, "loader": self.loader.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`."""
        self._own = {key: value for key, value in state.items() if key != "loader"}
        self.loader.set_state(state["loader"])


def _capture() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(words), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(state: Mapping[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, keys.numpy().astype(np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
