"""QM9's convolution and network beside torch_geometric's ``NNConv``, in one run on one thread.

``python benchmarks/nnconv.py`` (needs the extra [qm9]): forward and backward pass of

* one layer on complete graphs of 18 atoms, 64 channels, an edge network of 128;
* the network, three uses of the layer, on graphs of 9 to 29 atoms, 18 on average as in QM9.

Both compute the same numbers from the same parameters; the largest difference is printed beside the
ratio of process times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of this checkout

import torch
from torch import Tensor, nn

from trainables.architectures.mpnn import MPNN
from trainables.architectures.nnconv import DenseNNConv, StockNNConv

WIDTH, EDGE = 64, 5


def layers(graphs: int, atoms: int) -> tuple[dict[str, nn.Module], tuple[Tensor, ...]]:
    """One layer of either kind and a batch of graphs of one size."""
    made: dict[str, nn.Module] = {}
    for name, kind in (("ours", DenseNNConv), ("stock", StockNNConv)):
        torch.manual_seed(0)
        made[name] = kind(WIDTH, WIDTH, EDGE)
    neighbours = (~torch.eye(atoms, dtype=torch.bool)).expand(graphs, atoms, atoms)
    nodes = torch.randn(graphs, atoms, WIDTH, requires_grad=True)
    return made, (nodes, torch.randn(graphs, atoms, atoms, EDGE), neighbours)


def networks(graphs: int) -> tuple[dict[str, nn.Module], tuple[Tensor, ...]]:
    """The network with either layer and a batch of graphs of different sizes."""
    made: dict[str, nn.Module] = {}
    for name, stock in (("ours", False), ("stock", True)):
        torch.manual_seed(0)
        made[name] = MPNN(11, EDGE, width=WIDTH, stock=stock)
    sizes = (18 + 3 * torch.randn(graphs)).round().clamp(9, 29).long()
    most = int(sizes.max())
    present = torch.arange(most) < sizes[:, None]
    nodes = torch.randn(graphs, most, 11) * present[..., None]
    return made, (nodes, torch.randn(graphs, most, most, EDGE), present)


def seconds(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    module.zero_grad()
    started = time.process_time()
    module(*inputs).square().mean().backward()
    return time.process_time() - started


def compare(what: str, case: tuple[dict[str, nn.Module], tuple[Tensor, ...]], repeats: int) -> None:
    modules, inputs = case
    outputs = [module(*inputs).detach() for module in modules.values()]
    difference = (outputs[0] - outputs[1]).abs().max().item()
    times: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(repeats):
        for name, module in modules.items():
            times[name].append(seconds(module, inputs))
    ours, stock = (statistics.median(times[name]) for name in ("ours", "stock"))
    print(
        f"{what}: ours {ours:.3f} s, torch_geometric {stock:.3f} s, "
        f"{stock / ours:.1f} times faster; largest difference {difference:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases: dict[str, Callable[[], tuple[dict[str, nn.Module], tuple[Tensor, ...]]]] = {
        f"layer, {options.graphs} graphs": lambda: layers(options.graphs, 18),
        f"network, {options.graphs} graphs": lambda: networks(options.graphs),
    }
    for what, case in cases.items():
        compare(what, case(), options.repeats)


if __name__ == "__main__":
    main()
