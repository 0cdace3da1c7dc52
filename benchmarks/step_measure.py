"""Time and memory of one training step, measured in turns so that noise hits all alike."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from step_cases import Case
from torch.profiler import ProfilerActivity, profile

__all__ = ["Contender", "Timing", "measure", "peak_bytes", "timed"]

Clock = tuple[float, float, float]


@dataclass
class Contender:
    """A step to be measured.

    Attributes:
        name: Its row in the table.
        kind: ``"floor"``, ``"loss"``, ``"gram"``, ``"features"``, ``"gradients"``, ``"bilevel"``
            or ``"peer"``; decides which bar applies.
        step: Takes one step on a case and returns the seconds of (forward, backward, serving),
            serving being the passes that a declared need costs whoever takes them.
    """

    name: str
    kind: str
    step: Callable[[Case], Clock]


@dataclass
class Timing:
    """Seconds of one contender, one entry per round."""

    steps: list[float] = field(default_factory=list)
    backwards: list[float] = field(default_factory=list)
    serving: list[float] = field(default_factory=list)

    def ratio_to(self, floor: Timing) -> float:
        """Median over rounds of step time against the floor's in the same round."""
        return statistics.median(a / b for a, b in zip(self.steps, floor.steps, strict=True))

    def backward_ratio_to(self, floor: Timing) -> float:
        """The same for the backward part alone."""
        return statistics.median(
            a / b for a, b in zip(self.backwards, floor.backwards, strict=True)
        )


def timed(function: Callable[[], object]) -> tuple[object, float]:
    """The result of a call and the processor seconds of this thread, free of other jobs."""
    started = time.thread_time()
    result = function()
    return result, time.thread_time() - started


def measure(
    case: Case, contenders: Iterable[Contender], *, seconds: float, least: int, most: int
) -> dict[str, Timing]:
    """Runs all contenders in turns, in a new order each round, until the time is spent."""
    contenders = list(contenders)
    timings = {contender.name: Timing() for contender in contenders}
    shuffler = random.Random(0)
    for contender in contenders:
        contender.step(case)  # warm-up: buffers, caches of the allocator
    gc.collect()
    gc.disable()
    try:
        started, rounds = time.perf_counter(), 0
        while rounds < least or (rounds < most and time.perf_counter() - started < seconds):
            shuffler.shuffle(contenders)
            for contender in contenders:
                forward, backward, serving = contender.step(case)
                timing = timings[contender.name]
                timing.steps.append(forward + backward)
                timing.backwards.append(backward)
                timing.serving.append(serving)
            rounds += 1
            gc.collect()
    finally:
        gc.enable()
    return timings


def peak_bytes(case: Case, contender: Contender) -> int:
    """The most bytes of tensors that one step holds beyond those held before it."""
    case.zero_grad()
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        contender.step(case)
    kineto = profiler.profiler
    assert kineto is not None
    assert kineto.kineto_results is not None
    events = [e for e in kineto.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
