"""Methods that weight task gradients. A new one is a file here and a line in ``METHODS``."""

from __future__ import annotations

from mtl_methods.core.gradient_weighting import GradientWeighting
from mtl_methods.gradient_weighting.aligned_mtl import AlignedMTL
from mtl_methods.gradient_weighting.bayes_agg import BayesAgg
from mtl_methods.gradient_weighting.cagrad import CAGrad
from mtl_methods.gradient_weighting.cdtt import CDTT
from mtl_methods.gradient_weighting.config import ConFIG
from mtl_methods.gradient_weighting.db_mtl import DBMTL
from mtl_methods.gradient_weighting.dualproj import DualProj
from mtl_methods.gradient_weighting.edm import EDM
from mtl_methods.gradient_weighting.excess_mtl import ExcessMTL
from mtl_methods.gradient_weighting.fairgrad import FairGrad
from mtl_methods.gradient_weighting.graddrop import GradDrop
from mtl_methods.gradient_weighting.gradnorm import GradNorm
from mtl_methods.gradient_weighting.gradvac import GradVac
from mtl_methods.gradient_weighting.imtl import IMTL
from mtl_methods.gradient_weighting.imtl_g import IMTLG
from mtl_methods.gradient_weighting.mgda import MGDA
from mtl_methods.gradient_weighting.moco import MoCo
from mtl_methods.gradient_weighting.modo import MoDo
from mtl_methods.gradient_weighting.nash_mtl import NashMTL
from mtl_methods.gradient_weighting.pcgrad import PCGrad
from mtl_methods.gradient_weighting.pivrg import PIVRG
from mtl_methods.gradient_weighting.rgw import RGW
from mtl_methods.gradient_weighting.rotograd import RotoGrad
from mtl_methods.gradient_weighting.sdmgrad import SDMGrad
from mtl_methods.gradient_weighting.upgrad import UPGrad

__all__ = [
    "CDTT",
    "DBMTL",
    "EDM",
    "IMTL",
    "IMTLG",
    "METHODS",
    "MGDA",
    "PIVRG",
    "RGW",
    "AlignedMTL",
    "BayesAgg",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "ExcessMTL",
    "FairGrad",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "RotoGrad",
    "SDMGrad",
    "UPGrad",
]

METHODS: tuple[type[GradientWeighting], ...] = (
    CAGrad,
    NashMTL,
    FairGrad,
    PIVRG,
    ExcessMTL,
    DBMTL,
    MGDA,
    PCGrad,
    GradVac,
    GradDrop,
    IMTLG,
    IMTL,
    GradNorm,
    EDM,
    CDTT,
    MoCo,
    RGW,
    AlignedMTL,
    SDMGrad,
    MoDo,
    ConFIG,
    UPGrad,
    DualProj,
    RotoGrad,
    BayesAgg,
)
