"""The solvers beside other ways of solving the same equations, in one process, on one thread.

    python benchmarks/solver.py [--quick]

First table: the α-fair equation ``G w = w^(-1/α)`` against ``scipy.optimize.least_squares`` on
``G x - x^(-1/α)`` from x = 1/K with bounds (0, inf). Second table: the other problems, and other
ways of solving them; a package that is not installed is skipped and named. Gradients are standard
normal in 2K + 4 dimensions; "unequal" multiplies their norms by 10**uniform(-3, 3). Times are
medians over matrices (of the median over repetitions of ours; other solvers run once or a few
times a matrix, in turns with ours). Residuals are the worst over the matrices.

Third table, for information: inputs that take our solvers longest, pairs that oppose each other to
1e-3 and 40 tasks in fewer dimensions. No bar applies to them.

Bars: time ratio to ``least_squares`` at least 10 and our residual at most 1e-8 in every case; none
of our solvers above 1 ms at K = 40; with cvxpy at hand, the α-fair solver at least 100 times
faster than a sequence of convex problems at K = 11 and 40. The process exits with 1 and names the
bars that were missed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import least_squares, minimize
from threadpoolctl import threadpool_limits

from mtl_methods.solvers.alpha_fair import solve_alpha_fair
from mtl_methods.solvers.cagrad import solve_cagrad
from mtl_methods.solvers.cone_projection import solve_cone_projection
from mtl_methods.solvers.min_norm import solve_min_norm

TASKS = (2, 3, 11, 40)
ALPHAS = (1.0, 2.0, 10.0)
RANKS = (5, 10, 20, 30)
RATIO_BAR, RESIDUAL_BAR, MILLISECOND_BAR, CVXPY_BAR = 10.0, 1e-8, 1.0, 100.0
RADIUS = 0.4

Array = np.ndarray[Any, np.dtype[np.float64]]


def grams(k: int, unequal: bool, count: int) -> list[Array]:
    rng = np.random.default_rng([k, unequal])
    matrices = []
    for _ in range(count):
        rows = rng.normal(size=(k, 2 * k + 4))
        if unequal:
            rows *= 10.0 ** rng.uniform(-3.0, 3.0, size=(k, 1))
        matrices.append(rows @ rows.T)
    return matrices


def milliseconds(action: Callable[[], Any], repetitions: int) -> tuple[float, Any]:
    """Median time of the action, and what it returned last; slow actions run less often."""
    times, result = [], None
    for _ in range(repetitions):
        begin = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - begin)
        if sum(times) > 0.5:
            break
    return 1e3 * statistics.median(times), result


# --- measures of how well a problem is solved, the same for everyone ---


def alpha_fair_residual(gram: Array, weights: Array, p: float) -> float:
    """``max_i |(G w)_i w_i^p - 1|``."""
    if not (weights > 0.0).all():
        return float("inf")
    return float(np.max(np.abs((gram @ weights) * weights**p - 1.0)))


def min_norm_gap(gram: Array, weights: Array) -> float:
    """``(||d||² - min_i g_i'd) / ||d||²``, which bounds how far ||d|| is above the minimum."""
    products = gram @ (weights / weights.sum())
    squared = float(weights @ products / weights.sum())
    return max(squared - float(products.min()), 0.0) / squared


def cagrad_gap(gram: Array, weights: Array) -> float:
    """``g_w'd - min_i g_i'd`` for the update d of these weights, over ``||g_w|| ||d||``.

    By duality it bounds how far the dual objective is above the minimum.
    """
    w = weights / weights.sum()
    k = len(gram)
    length = float(np.sqrt(max(w @ gram @ w, 1e-300)))
    radius = RADIUS * float(np.sqrt(gram.mean()))
    update = 1.0 / k + radius / length * w
    products = gram @ update
    gap = float(w @ products) - float(products.min())
    return max(gap, 0.0) / (length * float(np.sqrt(update @ products)))


def cone_violation(gram: Array, weights: Array) -> float:
    """Conflict ``-min_i (G v)_i`` relative to ``||g_i|| Σ_j v_j ||g_j||``."""
    lengths = np.sqrt(gram.diagonal())
    rows = np.atleast_2d(weights)
    return max(float(np.max(-(rows @ gram) / (lengths * (rows @ lengths)[:, None]))), 0.0)


# --- other ways, written from their descriptions ---


def by_least_squares(gram: Array, p: float) -> Array:
    k = len(gram)
    found = least_squares(lambda x: gram @ x - x**-p, x0=np.full(k, 1.0 / k), bounds=(0.0, np.inf))
    weights: Array = found.x
    return weights


def by_frank_wolfe(gram: Array, steps: int = 250) -> Array:
    """MGDA's usual solver: steps towards the task of least inner product, exact line search."""
    weights = np.full(len(gram), 1.0 / len(gram))
    for _ in range(steps):
        products = gram @ weights
        task = int(products.argmin())
        squared = float(weights @ products)
        span = squared - 2.0 * products[task] + gram[task, task]
        if span <= 0.0:
            break
        step = min(max((squared - products[task]) / span, 0.0), 1.0)
        if step < 1e-6:
            break
        weights *= 1.0 - step
        weights[task] += step
    return weights


def by_slsqp(gram: Array) -> Array:
    """CAGrad's usual solver."""
    k = len(gram)
    inner = gram.mean(axis=1)
    radius = RADIUS * np.sqrt(inner.mean() + 1e-8)
    found = minimize(
        lambda w: w @ inner + radius * np.sqrt(w @ gram @ w + 1e-8),
        np.full(k, 1.0 / k),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * k,
        constraints={"type": "eq", "fun": lambda w: 1.0 - w.sum()},
    )
    weights: Array = found.x
    return weights


def nash_by_cvxpy(gram: Array, steps: int = 20) -> Array:
    """Nash-MTL's usual solver: a sequence of convex problems around the last weights.

    ``min Σ_i (G w)_i + ∇φ(w_last)'w`` subject to ``log w_i + log (G w)_i >= 0``, with
    ``φ = Σ_i log w_i + log (G w)_i``, on the Gram matrix over its Frobenius norm.
    """
    cvxpy = importlib.import_module("cvxpy")
    k = len(gram)
    size = np.linalg.norm(gram)
    scaled = gram / size
    weights, slope = cvxpy.Variable(k, nonneg=True), cvxpy.Parameter(k)
    products = scaled @ weights
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum(products) + slope @ weights),
        [cvxpy.log(weights) + cvxpy.log(products) >= 0.0],
    )
    last = np.ones(k)
    for _ in range(steps):
        slope.value = 1.0 / last + scaled @ (1.0 / (scaled @ last))
        try:
            problem.solve(warm_start=True)
        except cvxpy.error.SolverError:
            break
        if weights.value is None or not np.isfinite(weights.value).all():
            break
        moved = np.linalg.norm(weights.value - last)
        last = weights.value
        if moved < 1e-6:
            break
    scaled_back: Array = last / np.sqrt(size)
    return scaled_back


def cagrad_by_cvxpy(gram: Array) -> Array:
    cvxpy = importlib.import_module("cvxpy")
    k = len(gram)
    values, vectors = np.linalg.eigh(gram / np.trace(gram))
    factor = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    mean = factor.mean(axis=1)
    weights = cvxpy.Variable(k, nonneg=True)
    combined = factor @ weights
    cost = mean @ combined + RADIUS * np.linalg.norm(mean) * cvxpy.norm(combined, 2)
    cvxpy.Problem(cvxpy.Minimize(cost), [cvxpy.sum(weights) == 1.0]).solve()
    if weights.value is None:
        return np.full(k, 1.0 / k)
    found: Array = np.maximum(weights.value, 0.0)
    return found


def upgrad_by_quadprog(gram: Array) -> Array:
    """One quadratic program a task, on the Gram matrix over its trace plus 1e-4 (else singular)."""
    quadprog = importlib.import_module("quadprog")
    k = len(gram)
    regular = gram / np.trace(gram) + 1e-4 * np.eye(k)
    identity, nothing = np.eye(k), np.zeros(k)
    rows = [quadprog.solve_qp(regular, nothing, identity, row)[0] for row in identity]
    return np.array(rows)


def by_torchjd(name: str, **settings: Any) -> Callable[[Array], Array]:
    """A weighting of torchjd; CAGrad's is turned back into its w, from 1/K + λ w."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    weighting = getattr(importlib.import_module("torchjd.aggregation"), name)(**settings)

    def solve(gram: Array) -> Array:
        weights: Array = weighting(torch.from_numpy(gram)).numpy()
        if name == "CAGradWeighting":
            weights = weights - 1.0 / len(gram)
        return weights

    return solve


# --- the tables ---


@dataclass
class Tally:
    """Missed bars, and packages that are not installed."""

    missed: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    def bar(self, holds: bool, sentence: str) -> None:
        """Note a bar that does not hold."""
        if not holds:
            self.missed.append(sentence)

    def has(self, package: str) -> bool:
        """Whether a package is installed; its absence is noted."""
        if importlib.util.find_spec(package) is None:
            self.absent.add(package)
            return False
        return True


def alpha_fair_table(tally: Tally, count: int, quick: bool) -> None:
    print("α-fair equation: ours against scipy.optimize.least_squares")
    print(
        f"{'K':>3} {'α':>4} {'scales':>8} {'ours ms':>9} {'scipy ms':>9} {'ratio':>7} "
        f"{'our residual':>13} {'scipy residual':>15}"
    )
    for k in TASKS:
        for alpha in ALPHAS:
            for unequal in (False, True):
                p = 1.0 / alpha
                ours_ms, theirs_ms, ours_bad, theirs_bad = [], [], [], []
                for gram in grams(k, unequal, count):
                    once, solution = milliseconds(partial(solve_alpha_fair, gram, p), 21)
                    ours_ms.append(once)
                    ours_bad.append(alpha_fair_residual(gram, solution.weights, p))
                    once, weights = milliseconds(
                        partial(by_least_squares, gram, p), 1 if quick else 3
                    )
                    theirs_ms.append(once)
                    theirs_bad.append(alpha_fair_residual(gram, weights, p))
                ours, theirs = statistics.median(ours_ms), statistics.median(theirs_ms)
                name = "unequal" if unequal else "equal"
                print(
                    f"{k:3d} {alpha:4g} {name:>8} {ours:9.3f} {theirs:9.2f} "
                    f"{theirs / ours:7.1f} {max(ours_bad):13.1e} {max(theirs_bad):15.1e}"
                )
                case = f"α-fair, K = {k}, α = {alpha:g}, {name} scales"
                tally.bar(
                    theirs / ours >= RATIO_BAR,
                    f"{case}: ratio {theirs / ours:.1f} to least_squares, bar {RATIO_BAR:g}",
                )
                tally.bar(
                    max(ours_bad) <= RESIDUAL_BAR,
                    f"{case}: residual {max(ours_bad):.1e}, bar {RESIDUAL_BAR:g}",
                )
                tally.bar(
                    ours <= MILLISECOND_BAR,
                    f"{case}: {ours:.2f} ms, bar {MILLISECOND_BAR:g} ms",
                )


@dataclass(frozen=True)
class Rival:
    """Another way of solving a problem."""

    label: str
    solve: Callable[[Array], Array]
    unequal: bool = True


@dataclass(frozen=True)
class Problem:
    """A problem, our solver of it, and the others."""

    title: str
    measure: str
    ours: Callable[[Array], Array]
    error: Callable[[Array, Array], float]
    rivals: tuple[Rival, ...]


def problems(tally: Tally) -> list[Problem]:
    cvxpy, torchjd = tally.has("cvxpy"), tally.has("torchjd")
    quadprog = tally.has("quadprog")
    nash = [Rival("sequence of convex problems (cvxpy)", nash_by_cvxpy)] if cvxpy else []
    cagrad = [Rival("SLSQP", by_slsqp)]
    if cvxpy:
        cagrad.append(Rival("second-order cone program (cvxpy)", cagrad_by_cvxpy))
    if torchjd:
        cagrad.append(Rival("torchjd", by_torchjd("CAGradWeighting", c=RADIUS)))
    mgda = [Rival("Frank-Wolfe, 250 steps", by_frank_wolfe)]
    if torchjd:
        mgda.append(Rival("torchjd", by_torchjd("MGDAWeighting")))
    upgrad = [Rival("K quadratic programs (quadprog)", upgrad_by_quadprog)] if quadprog else []
    dual = []
    if torchjd:
        upgrad.append(Rival("torchjd (sum over tasks)", by_torchjd("UPGradWeighting")))
        dual.append(Rival("torchjd", by_torchjd("DualProjWeighting")))
    return [
        Problem(
            "Nash-MTL: the α-fair equation with α = 1",
            "max |(Gw)_i w_i - 1|",
            lambda g: solve_alpha_fair(g, 1.0).weights,
            lambda g, w: alpha_fair_residual(g, w, 1.0),
            tuple(nash),
        ),
        Problem(
            "MGDA: minimum norm in the hull",
            "duality gap, relative",
            lambda g: solve_min_norm(g).weights,
            min_norm_gap,
            tuple(mgda),
        ),
        Problem(
            f"CAGrad, c = {RADIUS}",
            "duality gap, relative",
            lambda g: solve_cagrad(g, RADIUS).weights,
            cagrad_gap,
            tuple(cagrad),
        ),
        Problem(
            "UPGrad: K projections on the dual cone",
            "worst conflict left, relative",
            lambda g: solve_cone_projection(g, np.eye(len(g))).weights,
            cone_violation,
            tuple(upgrad),
        ),
        Problem(
            "DualProj: one projection on the dual cone",
            "worst conflict left, relative",
            lambda g: solve_cone_projection(g, np.full(len(g), 1.0 / len(g))).weights,
            cone_violation,
            tuple(dual),
        ),
    ]


def problem_table(tally: Tally, problem: Problem, count: int, quick: bool) -> None:
    print(f"\n{problem.title} (error: {problem.measure})")
    print(f"{'K':>3} {'scales':>8} {'ms':>9} {'ratio':>7} {'error':>9}  solver")
    for k in TASKS:
        for unequal in (False, True):
            name = "unequal" if unequal else "equal"
            matrices = grams(k, unequal, count)
            rivals = problem.rivals
            times: list[list[float]] = [[] for _ in range(1 + len(rivals))]
            errors: list[list[float]] = [[] for _ in range(1 + len(rivals))]
            for gram in matrices:
                for position, solve in enumerate(
                    (problem.ours, *(rival.solve for rival in rivals))
                ):
                    repetitions = 1 if position and (quick or k > 3) else 11
                    once, weights = milliseconds(partial(solve, gram), repetitions)
                    times[position].append(once)
                    errors[position].append(problem.error(gram, weights))
            ours = statistics.median(times[0])
            labels = ("ours", *(rival.label for rival in rivals))
            for label, spent, error in zip(labels, times, errors, strict=True):
                median = statistics.median(spent)
                print(
                    f"{k:3d} {name:>8} {median:9.3f} {median / ours:7.1f} {max(error):9.1e}  "
                    f"{label}"
                )
                if "sequence of convex" in label and k >= 11:
                    tally.bar(
                        median / ours >= CVXPY_BAR,
                        f"{problem.title}, K = {k}, {name} scales: ratio {median / ours:.0f} "
                        f"to {label}, bar {CVXPY_BAR:g}",
                    )
            tally.bar(
                ours <= MILLISECOND_BAR,
                f"{problem.title}, K = {k}, {name} scales: {ours:.2f} ms, "
                f"bar {MILLISECOND_BAR:g} ms",
            )
            tally.bar(
                max(errors[0]) <= RESIDUAL_BAR,
                f"{problem.title}, K = {k}, {name} scales: error {max(errors[0]):.1e}, "
                f"bar {RESIDUAL_BAR:g}",
            )


def hard_inputs(count: int) -> dict[str, list[Array]]:
    """Gram matrices that need many exchanges or cancel, by what they are."""
    rng = np.random.default_rng(40)
    pairs = []
    for _ in range(count):
        first = rng.normal(size=5)
        rows = np.stack([first, 1e-3 * rng.normal(size=5) - first])
        pairs.append(rows @ rows.T)
    inputs = {"K = 2, opposing to 1e-3": pairs}
    for rank in RANKS:
        factors = [rng.normal(size=(40, rank)) for _ in range(count)]
        inputs[f"K = 40, rank {rank}"] = [rows @ rows.T for rows in factors]
    return inputs


def hard_table(count: int) -> None:
    solvers: dict[str, Callable[[Array], Any]] = {
        "α-fair, p = 0.5": lambda g: solve_alpha_fair(g, 0.5),
        f"CAGrad, c = {RADIUS}": lambda g: solve_cagrad(g, RADIUS),
        "UPGrad": lambda g: solve_cone_projection(g, np.eye(len(g))),
    }
    print("\nHard inputs, for information (no bar)")
    print(f"{'input':>24} {'ms':>9} {'worst ms':>9} {'residual':>9}  solver: what it says")
    for name, matrices in hard_inputs(count).items():
        for label, solve in solvers.items():
            measured = [milliseconds(partial(solve, gram), 5) for gram in matrices]
            times = [once for once, _ in measured]
            said = sorted({solution.status for _, solution in measured})
            residual = max(solution.residual for _, solution in measured)
            print(
                f"{name:>24} {statistics.median(times):9.3f} {max(times):9.3f} {residual:9.1e}  "
                f"{label}: {', '.join(said)}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmark of the Gram matrix solvers.")
    parser.add_argument("--quick", action="store_true", help="fewer matrices and repetitions")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    count = 3 if arguments.quick else 7
    tally = Tally()
    with threadpool_limits(1):
        alpha_fair_table(tally, count, arguments.quick)
        for problem in problems(tally):
            problem_table(tally, problem, count if arguments.quick else 5, arguments.quick)
        hard_table(count)
    print()
    for package in sorted(tally.absent):
        print(f"skipped: the ways of solving that need {package}, which is not installed")
    for sentence in tally.missed:
        print(f"MISSED  {sentence}")
    if not tally.missed:
        print("every bar is met")
    return 1 if tally.missed else 0


if __name__ == "__main__":
    sys.exit(main())
