"""QM9: eleven properties of small molecules from their geometry and bonds."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_methods.configuration import Configurable, hyperparameter
from mtl_methods.errors import ConfigurationError, FairsweepError
from trainables.architectures.mpnn import MPNN
from trainables.datasets import DataFolder, data_root, find
from trainables.datasets.arrays import cached_arrays, cached_splits
from trainables.datasets.molecular_graphs import check_rdkit, molecular_graphs
from trainables.datasets.qm9_csv import ATOM_ENERGIES, CONTRADICTORY, TARGETS, read_molecules
from trainables.graph_batch import EDGE_CHANNELS, NODE_CHANNELS, complete_graphs
from trainables.model import MTLModel
from trainables.problem import SPLITS, Metric, Problem, Splits, Task
from trainables.randomness import derive_seed

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["QM9", "QM9Options"]

logger = logging.getLogger(__name__)

_TRAIN, _HELD = 110_000, 10_000
_ARRAYS_VERSION = 1  # raise it when the same options give other arrays
_DESCRIPTIONS = {
    "mu": "dipole moment",
    "alpha": "isotropic polarisability",
    "homo": "energy of the highest occupied orbital",
    "lumo": "energy of the lowest unoccupied orbital",
    "r2": "electronic spatial extent",
    "zpve": "zero-point vibrational energy",
    "u0": "internal energy at 0 K",
    "u": "internal energy at 298.15 K",
    "h": "enthalpy at 298.15 K",
    "g": "free energy at 298.15 K",
    "cv": "heat capacity at 298.15 K",
}
_TASKS = tuple(
    Task(
        target.name,
        "mse",
        (Metric("mae", higher_is_better=False, unit=target.unit),),
        _DESCRIPTIONS[target.name],
    )
    for target in TARGETS
)
_POSITIONS = {task.name: position for position, task in enumerate(_TASKS)}

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class QM9Options(Configurable):
    """Options of :class:`QM9`."""

    name = "qm9"

    subset: int | None = hyperparameter(
        None,
        kind="int",
        low=2,
        description="Train on the first so many training molecules after the seeded shuffle.",
    )
    held_out: int | None = hyperparameter(
        None,
        kind="int",
        low=1,
        description="Validate and test on the first so many molecules of either split; none for "
        "all of them.",
    )
    energies: str = hyperparameter(
        "atomization",
        choices=("atomization", "total"),
        source="published code of Nash-MTL; the errors in the papers' tables fit no other choice",
        description="Whether u0, u, h and g are counted from the energies of the free atoms.",
    )
    hidden: int = hyperparameter(
        64,
        low=1,
        source="published code of Nash-MTL",
        description="Width of node states and features.",
    )
    layer: str = hyperparameter(
        "dense",
        choices=("dense", "stock"),
        description="The convolution: our re-associated one, or torch_geometric's NNConv, the same "
        "up to rounding.",
    )
    data_seed: int = hyperparameter(
        0, low=0, description="Seed of split and subset, independent of every training seed."
    )


class QM9(Problem[QM9Options]):
    """Eleven properties of molecules of up to nine heavy atoms, from complete graphs.

    Nodes carry 11 features (element, atomic number, aromatic, hybridisation, hydrogens), edges
    between all atoms of a molecule 5 (bond type, distance). A shuffle by ``data_seed`` cuts the
    130,829 molecules into 10,000 for test, 10,000 for validation and 110,000 for training; 829 are
    left over. Two molecules of the files are left out, whose SMILES contradicts their geometry. Of
    fewer molecules (a fixture), a thirteenth is for test, one for validation.

    Targets are standardised with mean and standard deviation of the molecules that are trained on.
    Losses are mean squared errors of standardised targets; the metric is the mean absolute error in
    the units of the papers' tables: mu in D, alpha in a0^3, homo, lumo, zpve, u0, u, h, g in meV,
    r2 in a0^2, cv in cal/(mol K). u0, u, h and g are counted from the free atoms, as in the
    published code: only so can the tables' errors of about 60 meV be reached.

    The network is :class:`trainables.architectures.mpnn.MPNN`; every task has a linear head.

    Source: FairGrad, section 5 and Table 8; LDC-MTL, A.1 and Table 6; PIVRG, Table 9; "Uniform Loss
        vs. Specialized Optimization", section 3.4; Nash-MTL for what these do not say.
    """

    name = "qm9"
    summary = "Eleven quantum-chemical properties of small molecules (QM9)"
    source = (
        "QM9 (R. Ramakrishnan, P. Dral, M. Rupp, A. von Lilienfeld), as packed in qm9pack; "
        "`fairsweep data get qm9`"
    )
    licence = "MIT (the package, by an author of the data set)"
    Options = QM9Options
    protocol: ClassVar[Mapping[str, Any]] = {
        "epochs": 300,
        "batch_size": 120,
        "optimizer": "adam",
        "lr": 0.001,
        "schedule": {"name": "plateau", "factor": 0.7, "patience": 5, "min_lr": 1e-5},
    }

    def __init__(self, options: QM9Options) -> None:
        super().__init__(options)
        self._data_dir: str | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The eleven targets in the order of the papers' tables."""
        return _TASKS

    @property
    def fixture(self) -> bool:
        """Whether the molecules at hand are made up."""
        try:
            return find(self.name, self._data_dir).fixture
        except FairsweepError:
            return False

    def sources(self) -> dict[str, Indices]:
        """The original number of each molecule of a split, from 1.

        Raises:
            DataNotFoundError: If the data set is not there.
        """
        splits = self.load(self._data_dir)
        return {split: arrays["index"].astype(np.int64) for split, arrays in splits.items()}

    def load(self, data_dir: str | None = None) -> Splits:
        """Loads the molecules; graphs and splits are made once per machine, then mapped.

        Args:
            data_dir: The folder of all data sets; the user's by default.

        Returns:
            For each split ``atoms``, ``positions`` and ``bonds`` as in
            :class:`trainables.datasets.molecular_graphs.MolecularGraphs`; ``target`` (n, 11)
            float32, standardised; ``scale`` (n, 11) float32, the units of the tables that one unit
            of the target is; ``index`` (n,) int32, the original number. Edges are made by
            :meth:`make_batch`: 110,000 molecules are 70 MB here, and 1.8 GB with edges.

        Raises:
            DataNotFoundError: If the data set is not there: where, and how to get it.
            CorruptFileError: If a file is not what its checksum says.
            DataFormatError: If a file is not in its format, or a molecule cannot be parsed.
            MissingExtraError: If the graphs must be made and RDKit is not installed.
            ConfigurationError: If ``subset`` or ``held_out`` is more than there is.
        """
        self._data_dir = data_dir
        folder = find(self.name, data_dir)
        root = data_root(data_dir)
        options = self.options
        choices = [options.subset, options.held_out, options.energies, options.data_seed]
        base = [_ARRAYS_VERSION, self.name, folder.identity]

        def molecules() -> Mapping[str, Array]:
            key = json.dumps([*base, "molecules"])
            return cached_arrays(root, key, lambda: _read(folder))

        return cached_splits(
            root, json.dumps([*base, *choices]), lambda: self._split(molecules(), folder)
        )

    def make_batch(self, split: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
        """Gathers molecules as complete graphs, padded to the largest of them.

        Returns:
            ``nodes``, ``edges`` and ``present`` as in
            :func:`trainables.graph_batch.complete_graphs`, ``scale`` (B, 11), and the standardised
            target (B,) of each task by its name.
        """
        batch = super().make_batch(split, index)
        nodes, edges, present = complete_graphs(batch["atoms"], batch["positions"], batch["bonds"])
        targets = {name: batch["target"][:, k] for name, k in _POSITIONS.items()}
        graphs = {"nodes": nodes, "edges": edges, "present": present}
        return {**graphs, "scale": batch["scale"], **targets}

    def build_model(
        self, tasks: Sequence[str] | None = None, *, dropout: float = 0.0, seed: int = 0
    ) -> MTLModel:
        """Builds the network and linear heads.

        See :meth:`trainables.problem.Problem.build_model`; dropout is on the shared features.
        """
        width = self.options.hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "shared"))
            shared = MPNN(
                NODE_CHANNELS,
                EDGE_CHANNELS,
                width=width,
                dropout=dropout,
                stock=self.options.layer == "stock",
            )
            heads = {}
            for task in self.choose(tasks):
                torch.manual_seed(derive_seed(seed, task.name))
                heads[task.name] = nn.Linear(width, 1)
        inputs = ("nodes", "edges", "present")
        return MTLModel(shared, heads, feature_dim=width, input_key=inputs)

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Mean squared error of each standardised target."""
        return {
            task: functional.mse_loss(output[:, 0], batch[task]) for task, output in outputs.items()
        }

    def make_metrics(self, tasks: Sequence[str] | None = None) -> dict[str, MetricCollection]:
        """Mean absolute errors."""
        from torchmetrics import MeanAbsoluteError, MetricCollection

        return {
            task.name: MetricCollection({"mae": MeanAbsoluteError()}) for task in self.choose(tasks)
        }

    def update_metrics(
        self,
        metrics: Mapping[str, MetricCollection],
        outputs: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
    ) -> None:
        """Adds a batch, in the units of the tables (up to a constant, which no error sees)."""
        for task, collection in metrics.items():
            scale = batch["scale"][:, _POSITIONS[task]]
            collection.update(outputs[task][:, 0] * scale, batch[task] * scale)

    def _split(self, molecules: Mapping[str, Array], folder: DataFolder) -> Splits:
        parts = self._parts(len(molecules["index"]))
        values = molecules["target"].astype(np.float64)
        if self.options.energies == "atomization":
            values = values - _atom_energies(molecules["atoms"][..., 0])
        trained = values[parts["train"]]
        mean, scale = trained.mean(axis=0), trained.std(axis=0)
        for task, spread in zip(_TASKS, scale, strict=True):
            if not spread > 0:
                raise ConfigurationError(
                    f"{self.name}: {task.name} is the same for all {len(trained)} training "
                    f"molecules of {folder.path}, so it cannot be standardised; take a larger "
                    "subset"
                )
        kept = ("atoms", "positions", "bonds", "index")
        return {
            split: {name: molecules[name][part] for name in kept}
            | {
                "target": ((values[part] - mean) / scale).astype(np.float32),
                "scale": np.tile(scale.astype(np.float32), (len(part), 1)),
            }
            for split, part in parts.items()
        }

    def _parts(self, count: int) -> dict[str, Indices]:
        """The positions of the molecules of each split."""
        held = min(_HELD, count // 13)
        order = np.random.default_rng(self.options.data_seed).permutation(count)
        test, validation, train = np.split(order, [held, 2 * held])
        train = train[:_TRAIN]
        wanted = {
            "train": self.options.subset,
            "validation": self.options.held_out,
            "test": self.options.held_out,
        }
        parts = dict(zip(SPLITS, (train, validation, test), strict=True))
        for split, part in parts.items():
            size = wanted[split]
            if size is not None and size > len(part):
                option = "subset" if split == "train" else "held_out"
                raise ConfigurationError(
                    f"{self.name}: {option} = {size} is more than the {len(part)} {split} molecules"
                )
        return {split: part[: wanted[split]] for split, part in parts.items()}


def _read(folder: DataFolder) -> Mapping[str, Array]:
    """All molecules, in the order of the files."""
    check_rdkit()
    folder.verify()
    paths = [folder.path / file.name for file in folder.data.files]
    logger.info("making the graphs of all molecules of %s, once on this machine", folder.path)
    molecules = read_molecules(paths, leave_out=CONTRADICTORY)
    graphs = molecular_graphs(molecules)
    return {
        "atoms": graphs.atoms,
        "positions": graphs.positions,
        "bonds": graphs.bonds,
        "target": molecules.targets,
        "index": molecules.index.astype(np.int32),
    }


def _atom_energies(numbers: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What the free atoms of each molecule have of each target, (n, 11); 0 for most targets."""
    found = np.zeros((len(numbers), len(TARGETS)))
    for name, energies in ATOM_ENERGIES.items():
        for number, energy in energies.items():
            found[:, _POSITIONS[name]] += energy * (numbers == number).sum(axis=1)
    return found
