"""The re-associated layer of QM9's network against the same layer edge by edge, side by side.

``python benchmarks/nnconv.py``: forward and backward pass on one thread, complete graphs of 18
atoms, 64 channels, edge networks of 128, in one process; prints the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of this checkout

import torch

from trainables.architectures.nnconv import DenseNNConv


def seconds(layer: DenseNNConv, inputs: tuple[torch.Tensor, ...]) -> float:
    started = time.process_time()
    layer(*inputs).square().mean().backward()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=24)
    parser.add_argument("--atoms", type=int, default=18)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = options.atoms
    inputs = (
        torch.randn(options.graphs, size, 64, requires_grad=True),
        torch.randn(options.graphs, size, size, 5),
        (~torch.eye(size, dtype=torch.bool)).expand(options.graphs, size, size),
    )
    layers = {kind: DenseNNConv(64, 64, 5, reassociated=kind) for kind in (True, False)}
    layers[False].load_state_dict(layers[True].state_dict())
    difference = (layers[True](*inputs) - layers[False](*inputs)).abs().max().item()
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(options.repeats):
        for kind, layer in layers.items():
            times[kind].append(seconds(layer, inputs))
    fast, slow = (statistics.median(times[kind]) for kind in (True, False))
    print(f"{options.graphs} graphs of {size} atoms, largest difference {difference:.1e}")
    print(f"re-associated {fast:.3f} s, edge by edge {slow:.3f} s: {slow / fast:.1f} times faster")


if __name__ == "__main__":
    main()
