"""One training step per method beside what it must cost.

    python benchmarks/step.py [--quick] [--model mlp ...] [--k 2 11 40] [--methods fairgrad ...]
        [--kinds loss features ...]

Floors, measured in turns with the methods in the same process, on one thread and in its processor
time: LS (one backward pass of the summed losses) and the bare K-backward (``torch.autograd.grad``
per task), both plain PyTorch. A step is: clear gradients, forward, losses, backward. Passes that a
declared need costs whoever takes them (FAMO's losses after the step, further batches) are shown as
"serve" and counted in no ratio; moving a method's own parameters is not part of a step. Ratios are
medians over rounds: what is held against LS takes part in all of them, Gram-matrix methods and the
rest in fewer, as they take longer; the heading says in how many. "extra memory" is the peak of a
method's first step above that of its floor (LS for methods with one pass, else the larger of LS and
the K-backward), in units of one (K, m) buffer. On the wide model methods that keep matrices from
step to step are left out and one method stands for the plain path: they would not fit in memory.

The process exits with 1 and names the bars that were missed. ``results.md`` holds a measured run.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Iterable

import torch
from step_cases import MODELS, Case, backward_floor, make_case, sum_floor
from step_measure import Clock, Contender, Timing, measure, peak_bytes, timed
from step_peers import peer_contenders

from mtl_methods import Method, Need, list_methods, make_method

LS, K_BACKWARD = "[LS]", "[K-backward]"
BARS = {
    "loss": (LS, 1.05),
    "gram": (K_BACKWARD, 1.10),
    "features": (LS, 1.3),
}
SMALL = ("lenet", "mlp", "conv")  # models of the bars; the others are for the exact Gram path
EXACT_BAR, PLAIN_BAR, MEMORY_BAR = 0.35, 1.05, 1.10
PLAIN_SUFFIX = " (plain)"
KINDS = ("loss", "gram", "plain", "features", "gradients", "bilevel", "peer")


def floor_contender(name: str, backward) -> Contender:
    def step(case: Case) -> Clock:
        case.zero_grad()
        (_, losses), forward = timed(case.forward)
        return forward, timed(lambda: backward(case, losses))[1], 0.0

    return Contender(name, "floor", step)


def method_contender(name: str, kind: str, case: Case, **settings: object) -> Contender:
    """A step of a method, all its declared needs served."""
    method = make_method(name, **settings)
    method.setup(case.tasks, feature_dim=case.spec.features)
    if Need.PERFORMANCE_DROPS in method.needs:
        drops = {task: float(k) for k, task in enumerate(case.tasks)}
        method.end_epoch(
            epoch=0, train_losses=dict.fromkeys(case.tasks, 1.0), performance_drops=drops
        )
    label = name + ("" if kind not in ("features", "plain") else f" ({kind})")
    return Contender(label, kind, lambda c: method_step(method, c))


def method_step(method: Method, case: Case) -> Clock:
    case.zero_grad()
    for parameter in method.own.parameters():
        parameter.grad = None
    handles = method.attach(case.heads_by_task())
    (features, losses), forward = timed(case.forward)
    for handle in handles:
        handle.remove()
    extra: dict = {}
    serving = 0.0
    if Need.EXTRA_BATCHES in method.needs:
        count = getattr(method, "extra_batches", 1)
        extra["extra_losses"], serving = timed(lambda: case.fresh_losses(count))
    if Need.VALIDATION_BATCH in method.needs:
        extra["closure"] = case.closure
        extra["named_parameters"] = dict(case.module.named_parameters())
        extra["lr"] = 0.01
    _, backward = timed(
        lambda: method.backward(losses, shared=case.shared, features=features, **extra)
    )
    if Need.LOSSES_AFTER_STEP in method.needs:
        with torch.no_grad():
            (_, after), spent = timed(case.forward)
        serving += spent
        _, told = timed(lambda: method.after_step(after))
        backward += told
    with torch.no_grad():
        for parameter in method.own.parameters():  # as an optimiser would, out of the time
            if parameter.grad is not None:
                parameter -= 1e-6 * parameter.grad
    return forward, backward, serving


def contenders_of(case: Case, names: Iterable[str]) -> list[Contender]:
    found = [floor_contender(LS, sum_floor), floor_contender(K_BACKWARD, backward_floor)]
    plain_once = False
    for name, info in list_methods().items():
        if name not in names:
            continue
        settings = {parameter.name for parameter in info.hyperparameters}
        kind = info.family if info.family in ("loss", "bilevel") else "gradients"
        if Need.VALIDATION_BATCH in info.needs:
            kind = "bilevel"
        elif kind == "gradients" and Need.GRAM in info.needs:
            kind = "gram"
        if case.spec.wide and kind not in ("loss", "gram"):
            continue  # each holds matrices of its own from step to step: more than memory
        found.append(method_contender(name, kind, case))
        if kind == "gram" and "gram_path" in settings and not (case.spec.wide and plain_once):
            found.append(method_contender(name, "plain", case, gram_path="plain"))
            plain_once = True
        if kind == "gram" and "gradients_on" in settings:
            found.append(method_contender(name, "features", case, gradients_on="features"))
    return found


def in_groups(contenders: Iterable[Contender]) -> list[list[Contender]]:
    """What is held against LS, what against K passes, and the rest, which no bar is for."""
    groups: list[list[Contender]] = [[], [], []]
    for contender in contenders:
        if contender.name == LS or contender.kind in ("loss", "features"):
            groups[0].append(contender)
        elif contender.name == K_BACKWARD or contender.kind in ("gram", "plain"):
            groups[1].append(contender)
        else:
            groups[2].append(contender)
    if len(groups[0]) == 1:  # LS alone would be run far more often than what it is a floor of
        groups[1] += groups.pop(0)
    return [group for group in groups if group]


def memory_of(case: Case, contenders: list[Contender]) -> dict[str, float]:
    """Peak of a step above its floor's, in (K, m) buffers."""
    buffer = case.count * case.size * 4
    peaks = {contender.name: peak_bytes(case, contender) for contender in contenders}
    one, several = peaks[LS], max(peaks[LS], peaks[K_BACKWARD])
    return {
        contender.name: (peaks[contender.name] - (one if one_pass(contender) else several)) / buffer
        for contender in contenders
    }


def one_pass(contender: Contender) -> bool:
    return contender.kind in ("loss", "features") or contender.name == LS


def missed_bars(
    case: Case, contenders: list[Contender], times: dict[str, Timing], memory: dict[str, float]
) -> list[str]:
    where = f"{case.model}, K = {case.count}"
    missed = []
    for contender in contenders:
        name, kind = contender.name, contender.kind
        if kind in BARS:
            floor, bar = BARS[kind]
            ratio = times[name].ratio_to(times[floor])
            free = kind == "features" and (case.count != 40 or case.model not in SMALL)
            if ratio > bar and not free:
                missed.append(f"{where}: {name} took {ratio:.2f} x {floor}, bar {bar:.2f}")
        if kind == "gram" and case.spec.wide and case.count in (11, 40):
            ratio = times[name].backward_ratio_to(times[K_BACKWARD])
            if ratio > EXACT_BAR:
                missed.append(f"{where}: {name} took {ratio:.2f} x floor, bar {EXACT_BAR:.2f}")
        plain = times.get(name + PLAIN_SUFFIX)
        if kind == "gram" and plain is not None:
            ratio = times[name].ratio_to(plain)
            if ratio > PLAIN_BAR:
                missed.append(f"{where}: {name} took {ratio:.2f} x its plain path")
        if kind in ("gram", "loss", "features") and memory.get(name, 0.0) > MEMORY_BAR:
            missed.append(f"{where}: {name} held {memory[name]:.2f} (K, m) buffers")
    return missed


def report(
    case: Case, contenders: list[Contender], times: dict[str, Timing], memory: dict[str, float]
) -> None:
    rounds = sorted({len(timing.steps) for timing in times.values()}, reverse=True)
    print(
        f"\n{case.model}: m = {case.size:,}, batch {case.spec.batch}, K = {case.count}, "
        f"{' / '.join(map(str, rounds))} rounds"
    )
    print(
        f"{'method':28} {'kind':10} {'step ms':>9} {'serve ms':>9} {'x LS':>7} {'x K-bwd':>8} "
        f"{'bwd x LS':>9} {'bwd x K-bwd':>12} {'x plain':>8} {'extra memory':>13}"
    )
    for contender in contenders:
        timing = times[contender.name]
        plain = times.get(contender.name + PLAIN_SUFFIX)
        against = f"{timing.ratio_to(plain):8.2f}" if plain else " " * 8
        extra = f"{memory[contender.name]:13.2f}" if contender.name in memory else ""
        print(
            f"{contender.name:28} {contender.kind:10} "
            f"{1e3 * statistics.median(timing.steps.values()):9.2f} "
            f"{1e3 * statistics.median(timing.serving.values()):9.2f} "
            f"{timing.ratio_to(times[LS]):7.2f} {timing.ratio_to(times[K_BACKWARD]):8.2f} "
            f"{timing.backward_ratio_to(times[LS]):9.2f} "
            f"{timing.backward_ratio_to(times[K_BACKWARD]):12.2f} {against} {extra}"
        )
    sys.stdout.flush()


def main() -> int:
    known = list(list_methods())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--k", nargs="*", type=int, default=[2, 11, 40])
    parser.add_argument("--methods", nargs="*", choices=known, default=known)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--seconds", type=float, help="time per table")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    logging.getLogger("mtl_methods").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    seconds = options.seconds or (5.0 if options.quick else 180.0)
    least = 3 if options.quick else 15
    started, missed = time.perf_counter(), []
    for model in options.model:
        for count in options.k:
            case = make_case(model, count)
            contenders = contenders_of(case, options.methods)
            if not options.no_peers:
                contenders += peer_contenders(case)
            contenders = [c for c in contenders if c.kind in ("floor", *options.kinds)]
            memory = {} if options.no_memory else memory_of(case, contenders)
            times = measure(case, in_groups(contenders), seconds=seconds, least=least, most=400)
            report(case, contenders, times, memory)
            missed += missed_bars(case, contenders, times, memory)
    print(f"\n{time.perf_counter() - started:.0f} s; bars missed: {len(missed) or 'none'}")
    for line in missed:
        print(f"  {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
