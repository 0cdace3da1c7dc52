"""How a reference case of one peer is put to one of our methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["ADAPTERS", "EXCLUSIONS", "METHOD_OF", "Case", "Exclusion", "adapter", "exclude"]

Case = dict[str, Any]

METHOD_OF = {
    "Aligned-MTL": "aligned_mtl",
    "Auto-Lambda": "auto_lambda",
    "CAGrad": "cagrad",
    "CDTT": "cdtt",
    "ConFIG": "config",
    "DB-MTL": "db_mtl",
    "DWA": "dwa",
    "DualProj": "dualproj",
    "EDM": "edm",
    "ExcessMTL": "excess_mtl",
    "FAMO": "famo",
    "FairGrad": "fairgrad",
    "GLS": "gls",
    "GO4Align": "go4align",
    "GradDrop": "graddrop",
    "GradNorm": "gradnorm",
    "GradVac": "gradvac",
    "IMTL-G": "imtl_g",
    "IMTL-L": "imtl_l",
    "LDC-MTL": "ldc_mtl",
    "LS": "ls",
    "MGDA": "mgda",
    "MoCo": "moco",
    "MoDo": "modo",
    "Nash-MTL": "nash_mtl",
    "PCGrad": "pcgrad",
    "RLW": "rlw",
    "RotoGrad": "rotograd",
    "SDMGrad": "sdmgrad",
    "SI": "si",
    "STCH": "stch",
    "UPGrad": "upgrad",
    "UW": "uw",
}
"""Our name of each method of the reference file; its other cases are no methods."""


@dataclass(frozen=True)
class Exclusion:
    """Cases that are not compared, and why."""

    method: str
    variant: str | None
    reason: str
    when: Callable[[Case], bool]

    def covers(self, case: Case) -> bool:
        return (
            case["method"] == self.method
            and self.variant in (None, case["variant"])
            and self.when(case)
        )


ADAPTERS: dict[tuple[str, str], Callable[[Case], None]] = {}
EXCLUSIONS: list[Exclusion] = []


def adapter(
    method: str, *variants: str
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Registers a function that puts one case to our method and asserts what is comparable."""

    def register(check: Callable[[Case], None]) -> Callable[[Case], None]:
        for variant in variants:
            assert (method, variant) not in ADAPTERS, f"{method} of {variant} has two adapters"
            ADAPTERS[method, variant] = check
        return check

    return register


def exclude(
    method: str,
    variant: str | None = None,
    *,
    reason: str,
    when: Callable[[Case], bool] = lambda case: True,
) -> None:
    """Lists cases as not comparable; ``when`` picks them among the variant's."""
    EXCLUSIONS.append(Exclusion(method, variant, reason, when))
