"""Gram matrices that are hard to solve with, 40 tasks each, and what our solvers make of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from solver_measures import RADIUS, Array, milliseconds

from mtl_methods.solvers.alpha_fair import solve_alpha_fair
from mtl_methods.solvers.cagrad import solve_cagrad
from mtl_methods.solvers.cone_projection import solve_cone_projection
from mtl_methods.solvers.min_norm import solve_min_norm

__all__ = ["hard_table"]

TASKS = 40
MATRICES, PASSES = 40, 7
RANKS = (5, 10, 15, 18, 20, 22, 25, 30)
DOUBLE, SINGLE = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)


def hard_gradients(count: int) -> dict[str, list[Array]]:
    """Gradients by what is hard about them, as rows."""
    rng = np.random.default_rng(40)
    half, wide = TASKS // 2, 2 * TASKS + 4
    inputs: dict[str, list[Array]] = {}

    def normal(columns: int) -> Array:
        return rng.normal(size=(TASKS, columns))

    def opposing(columns: int) -> Array:
        rows = rng.normal(size=(half, columns))
        return np.concatenate([rows, 1e-3 * rng.normal(size=rows.shape) - rows])

    def twice() -> Array:
        rows = rng.normal(size=(half, wide))
        return np.concatenate([rows, rows])

    def collinear(signs: Array) -> Array:
        rows: Array = signs * rng.normal(size=(1, wide)) + 1e-3 * rng.normal(size=(TASKS, wide))
        return rows

    def nearly_balanced() -> Array:
        rows = rng.normal(size=(TASKS, wide))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        centred: Array = rows - 0.9999 * rows.mean(axis=0)
        return centred

    def scaled(columns: int) -> Array:
        rows: Array = rng.normal(size=(TASKS, columns))
        return rows * 10.0 ** rng.uniform(-3.0, 3.0, size=(TASKS, 1))

    makers: dict[str, Callable[[], Array]] = {
        "generic": lambda: normal(wide),
        **{f"rank {rank}": partial(normal, rank) for rank in RANKS},
        "rank 20, common part": lambda: normal(20) + 0.5 * rng.normal(size=(1, 20)),
        "collinear": lambda: collinear(np.ones((TASKS, 1))),
        "collinear, both signs": lambda: collinear(np.sign(rng.normal(size=(TASKS, 1)))),
        "opposing pairs": lambda: opposing(wide),
        "opposing pairs, rank 20": lambda: opposing(half),
        "every task twice": twice,
        "mean almost 0": nearly_balanced,
        "norms over 6 decades": lambda: scaled(wide),
        "the same, rank 20": lambda: scaled(20),
    }
    for name, make in makers.items():
        inputs[name] = [make() for _ in range(count)]
    return inputs


def hard_inputs(count: int) -> dict[str, tuple[list[Array], float]]:
    """Gram matrices and their precision: exact ones, and those of float32 gradients."""
    found: dict[str, tuple[list[Array], float]] = {}
    for name, many in hard_gradients(count).items():
        found[name] = [rows @ rows.T for rows in many], DOUBLE
        single = [rows.astype(np.float32) for rows in many]
        found[f"{name}; float32"] = [(r @ r.T).astype(np.float64) for r in single], SINGLE
    return found


def hard_table(bar: float, *, count: int = MATRICES, passes: int = PASSES) -> list[str]:
    """Print the table.

    The machine's speed may change by a factor of two for seconds, which says nothing about a
    solver: all inputs are gone through several times, and the fastest run of a matrix is shown
    beside the median run, which is what the bar is for.

    Args:
        bar: Milliseconds that the median run may take, as a median over the matrices of a kind.
        count: Matrices of each kind: many, as times within a kind differ by up to ten times.
        passes: How often the inputs are gone through.

    Returns:
        What missed the bar, a sentence each.
    """
    uniform = np.full(TASKS, 1.0 / TASKS)
    identity = np.eye(TASKS)
    solvers: dict[str, Callable[[Array, float], Any]] = {
        "α-fair, p = 0.5": lambda g, p: solve_alpha_fair(g, 0.5, precision=p),
        "MGDA": lambda g, p: solve_min_norm(g, precision=p),
        f"CAGrad, c = {RADIUS}": lambda g, p: solve_cagrad(g, RADIUS, precision=p),
        "DualProj": lambda g, p: solve_cone_projection(g, uniform, precision=p),
        "UPGrad": lambda g, p: solve_cone_projection(g, identity, precision=p),
    }
    inputs = hard_inputs(count)
    times: dict[tuple[str, str], list[list[float]]] = {}
    solutions: dict[tuple[str, str], list[Any]] = {}
    for _ in range(passes):
        for name, (matrices, precision) in inputs.items():
            for label, solve in solvers.items():
                # The first of two runs finds another solver's data in the caches.
                runs = [
                    milliseconds(partial(solve, gram, precision), 1)
                    for gram in matrices
                    for _ in range(2)
                ]
                solutions[name, label] = [solution for _, solution in runs[::2]]
                once = [spent for spent, _ in runs[1::2]]
                times.setdefault((name, label), []).append(once)
    missed = []
    print(f"\nHard inputs, K = {TASKS}: ours only, {count} matrices, {passes} runs")
    print(
        f"{'input':>32} {'ms':>9} {'typical':>9} {'worst ms':>9} {'residual':>9}  "
        "solver: what it says"
    )
    for (name, label), once_each in times.items():
        spent = [min(runs) for runs in zip(*once_each, strict=True)]
        typical = statistics.median(
            statistics.median(runs) for runs in zip(*once_each, strict=True)
        )
        said = sorted({solution.status for solution in solutions[name, label]})
        residual = max(solution.residual for solution in solutions[name, label])
        median = statistics.median(spent)
        print(
            f"{name:>32} {median:9.3f} {typical:9.3f} {max(spent):9.3f} {residual:9.1e}  "
            f"{label}: {', '.join(said)}"
        )
        if typical > bar:
            missed.append(f"{label}, {name}: {typical:.2f} ms, bar {bar:g} ms")
        if "inaccurate" in said:
            missed.append(f"{label}, {name}: inaccurate, residual {residual:.1e}")
    return missed
