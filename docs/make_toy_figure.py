"""Draws the trajectories of the toy problem: ``python docs/make_toy_figure.py``.

One panel per method, as in Figure 1 of FairGrad. 50,000 steps from five starting points take
minutes to an hour per method; `--steps 1000 --lr 0.05` is a quick look.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of this checkout

import torch

from analysis.figures.objective_space import draw_trajectories
from analysis.figures.style import look, save
from mtl_methods import make_method
from trainables.toy_objectives import (
    FLOOR,
    FORMS,
    STARTS,
    pareto_front,
    trajectories,
)

METHODS = {
    "LS": ("ls", {}),
    "FairGrad, alpha = 1": ("fairgrad", {"alpha": 1.0}),
    "FairGrad, alpha = 2": ("fairgrad", {"alpha": 2.0}),
    "FairGrad, alpha = 10": ("fairgrad", {"alpha": 10.0}),
    "MGDA": ("mgda", {}),
    "FAMO": ("famo", {"loss_floor": FLOOR}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    parser.add_argument("--starts", choices=STARTS, default="fairgrad")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "problems")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        title: trajectories(
            functools.partial(make_method, name, **settings),
            starts=STARTS[options.starts],
            form=options.form,
            steps=options.steps,
            lr=options.lr,
            record_every=max(1, options.steps // 500),
        ).values
        for title, (name, settings) in METHODS.items()
    }
    with look():
        figure = draw_trajectories(found, pareto_front(form=options.form)[1])
        for path in save(figure, options.out, "toy"):
            print(path)


if __name__ == "__main__":
    main()
