"""Draws the trajectories of the toy problem: ``python docs/make_toy_figure.py --figure fairgrad``.

One panel per method, as in Figure 1 of FairGrad or Figure 1 of LDC-MTL. 50,000 steps from five
starting points take one to three minutes per method; ``--steps 1000 --lr 0.05`` is a quick look.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of this checkout

import torch

from analysis.figures.objective_space import draw_trajectories
from analysis.figures.style import look, save
from mtl_methods import make_method
from trainables.toy_objectives import (
    FORMS,
    STARTS,
    pareto_front,
    trajectories,
)

METHODS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "fairgrad": {
        "LS": ("ls", {}),
        "FairGrad, α = 1": ("fairgrad", {"alpha": 1.0}),
        "FairGrad, α = 2": ("fairgrad", {"alpha": 2.0}),
        "FairGrad, α = 10": ("fairgrad", {"alpha": 10.0}),
    },
    "ldc_mtl": {
        "LS": ("ls", {}),
        "MGDA": ("mgda", {}),
        "FAMO": ("famo", {}),
        "LDC-MTL, rescaled": ("ldc_mtl", {"normalisation": "rescaled"}),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", choices=METHODS, default="fairgrad")
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "problems")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.steps < 1 or not options.lr > 0:
        parser.error("--steps must be an integer >= 1 and --lr a number > 0")
    found = {}
    for title, (name, settings) in METHODS[options.figure].items():
        started = time.perf_counter()
        paths = trajectories(
            functools.partial(make_method, name, **settings),
            starts=STARTS[options.figure],
            form=options.form,
            steps=options.steps,
            lr=options.lr,
            record_every=max(1, options.steps // 500),
            above_floor=True,
        )
        found[title] = paths.values
        ends = "  ".join(f"({l1:.3f}, {l2:.3f})" for l1, l2 in paths.values[:, -1])
        print(f"{title}: ends at {ends}; {time.perf_counter() - started:.0f} s", flush=True)
    with look():
        figure = draw_trajectories(found, pareto_front(form=options.form)[1])
        for path in save(figure, options.out, f"toy_{options.figure}"):
            print(path)


if __name__ == "__main__":
    main()
