"""Methods that weight losses. A new one is a file here and a line in ``METHODS``."""

from __future__ import annotations

from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.loss_weighting.dwa import DWA
from mtl_methods.loss_weighting.famo import FAMO
from mtl_methods.loss_weighting.gls import GLS
from mtl_methods.loss_weighting.go4align import GO4Align
from mtl_methods.loss_weighting.imtl_l import IMTLL
from mtl_methods.loss_weighting.ldc_mtl import LDCMTL
from mtl_methods.loss_weighting.ls import LS
from mtl_methods.loss_weighting.ls_course import LSCourse
from mtl_methods.loss_weighting.pivrg_weights import PIVRGWeights
from mtl_methods.loss_weighting.rlw import RLW
from mtl_methods.loss_weighting.si import SI
from mtl_methods.loss_weighting.stch import STCH
from mtl_methods.loss_weighting.stl import STL
from mtl_methods.loss_weighting.uw import UW

__all__ = [
    "DWA",
    "FAMO",
    "GLS",
    "IMTLL",
    "LDCMTL",
    "LS",
    "METHODS",
    "RLW",
    "SI",
    "STCH",
    "STL",
    "UW",
    "GO4Align",
    "LSCourse",
    "PIVRGWeights",
]

METHODS: tuple[type[LossWeighting], ...] = (
    STL,
    LS,
    LSCourse,
    UW,
    FAMO,
    LDCMTL,
    SI,
    RLW,
    DWA,
    IMTLL,
    GLS,
    GO4Align,
    STCH,
    PIVRGWeights,
)
