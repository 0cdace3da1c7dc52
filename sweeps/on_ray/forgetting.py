"""Letting go of what Tune keeps of a trial that has ended.

Tune keeps every trial to the end of a sweep: its configuration three times over, its last result,
and statistics of each number that it ever reported. Nobody asks for any of it again, since the
ledger holds the truth; over thousands of trials it is most of what the driver's memory grows by.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Forgetting"]


class Forgetting:
    """Slims trials of Tune's that have ended, to what Tune itself still looks at.

    Trials ask for the same resources over and over; those that ended share one request.
    """

    def __init__(self) -> None:
        self._requests: dict[Any, Any] = {}

    def forget(self, trial: Any) -> None:
        """Lets go of the configuration, the results and the resource request of a trial.

        Args:
            trial: A ``ray.tune.experiment.Trial`` whose end everybody has been told of. Its state,
                its name and its folder stay.
        """
        kept = trial.run_metadata
        for content in (kept.last_result, kept.metric_analysis, kept.metric_n_steps):
            content.clear()
        kept.invalidate_cache()
        # Tune keeps the very same object under a second name, so that a new one would not do.
        trial.config.clear()
        trial.evaluated_params.clear()
        trial.experiment_tag = ""
        request = trial.placement_group_factory
        trial.placement_group_factory = self._requests.setdefault(request, request)
