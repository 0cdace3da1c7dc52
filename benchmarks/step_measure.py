"""Time and memory of one training step, measured in turns so that noise hits all alike."""

from __future__ import annotations

import gc
import itertools
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from step_cases import Case
from torch.profiler import ProfilerActivity, profile

__all__ = ["Contender", "Timing", "measure", "peak_bytes", "timed"]

Clock = tuple[float, float, float]

_TIMES = 3
"""Runs of a floor in a round."""


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
    """Seconds of one contender, by the rounds that it took part in."""

    steps: dict[int, float] = field(default_factory=dict)
    backwards: dict[int, float] = field(default_factory=dict)
    serving: dict[int, float] = field(default_factory=dict)

    def ratio_to(self, other: Timing) -> float:
        """Median over the rounds of both of step time against the other's in the same round."""
        return _ratio(self.steps, other.steps)

    def backward_ratio_to(self, other: Timing) -> float:
        """The same for the backward part alone."""
        return _ratio(self.backwards, other.backwards)


def _ratio(own: Mapping[int, float], other: Mapping[int, float]) -> float:
    return statistics.median(own[number] / other[number] for number in own if number in other)


def timed(function: Callable[[], object]) -> tuple[object, float]:
    """The result of a call and the processor seconds of this thread, free of other jobs."""
    started = time.thread_time()
    result = function()
    return result, time.thread_time() - started


def measure(
    case: Case,
    groups: Sequence[Sequence[Contender]],
    *,
    seconds: float,
    least: int,
    most: int,
) -> dict[str, Timing]:
    """Runs contenders in turns, in a new order each round, until the time is spent.

    Rounds of contenders of unlike cost would leave little time for the cheap ones, so that each
    group after the first takes part in as many rounds as let it take no longer than the one
    before. A floor runs several times a round, and counts with the median: its noise would be in
    every ratio.

    Args:
        case: What to run them on.
        groups: Contenders that are compared with each other most, cheap groups first; a group
            takes part only in rounds in which the ones before it do.
        seconds: Time after which no round begins.
        least: Rounds of the last group there are at least, whatever the time.
        most: Rounds there are at most.
    """
    timings = {contender.name: Timing() for group in groups for contender in group}
    costs = []
    for group in groups:
        started = time.perf_counter()
        for contender in group:
            contender.step(case)  # warm-up: buffers, caches of the allocator
        costs.append(time.perf_counter() - started)
    strides = [1]
    for before, cost in itertools.pairwise(costs):
        strides.append(strides[-1] * max(round(cost / max(before, 1e-9)), 1))
    shuffler = random.Random(0)
    gc.collect()
    gc.disable()
    try:
        started, number = time.perf_counter(), 0
        while number <= (least - 1) * strides[-1] or (
            number < most and time.perf_counter() - started < seconds
        ):
            turns = [
                contender
                for group, stride in zip(groups, strides, strict=True)
                if number % stride == 0
                for contender in group
                for _ in range(_TIMES if contender.kind == "floor" else 1)
            ]
            shuffler.shuffle(turns)
            clocks: dict[str, list[Clock]] = {}
            for contender in turns:
                clocks.setdefault(contender.name, []).append(contender.step(case))
            for name, spent in clocks.items():
                timing = timings[name]
                timing.steps[number] = statistics.median(f + b for f, b, _ in spent)
                timing.backwards[number] = statistics.median(b for _, b, _ in spent)
                timing.serving[number] = statistics.median(s for _, _, s in spent)
            number += 1
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
