"""Peers' steps, where they are installed (``pip install fairsweep[bench]``)."""

from __future__ import annotations

from step_cases import Case
from step_measure import Clock, Contender, timed

__all__ = ["peer_contenders"]


def peer_contenders(case: Case) -> list[Contender]:
    """TorchJD's step with aggregators that need little solving; none if it is not installed."""
    try:
        from torchjd.aggregation import Mean, UPGrad
        from torchjd.autojac import jac_to_grad, mtl_backward
    except ImportError:
        return []

    def contender(name: str, aggregator, chunk: int | None) -> Contender:
        def step(case: Case) -> Clock:
            case.zero_grad()
            (features, losses), forward = timed(case.forward)

            def backward() -> None:
                mtl_backward(
                    list(losses.values()),
                    features=features,
                    tasks_params=case.heads,
                    shared_params=case.shared,
                    parallel_chunk_size=chunk,
                )
                jac_to_grad(case.shared, aggregator)

            return forward, timed(backward)[1], 0.0

        return Contender(name, "peer", step)

    found = [contender("torchjd Mean", Mean(), None)]
    try:
        projecting = UPGrad()
    except ImportError as error:  # its quadratic programs are another package's
        print(f"no torchjd UPGrad: {error}")
        return found
    found.append(contender("torchjd UPGrad", projecting, None))
    if case.count > 1:
        found.append(contender("torchjd UPGrad, one by one", projecting, 1))
    return found
