"""What the phases of a study share: the study, its ledger, and each other's results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.definition.identity import digest
from sweeps.definition.resolved import Candidate, ResolvedStudy
from sweeps.definition.spaces import Configuration
from sweeps.definition.study import Budget
from sweeps.folder.ledger import Record
from sweeps.phases.tuning import SearchPlan, Tuning
from sweeps.phases.units import Batch, Blocked
from sweeps.planning.trials import Trial
from sweeps.search.asks import AskLog
from sweeps.search.objectives import Selection
from sweeps.search.pruning import Pruner

__all__ = ["Context", "Reference"]

Reference = Mapping[str, Mapping[str, float]]


@dataclass
class Context:
    """Shared by the phases of one plan.

    Attributes:
        resolved: The study.
        search_folder: Where searches write down what they ask for.
        extend: Whether searches may ask for new configurations now.
        tunings: The search of each variant, single-task ones included.
        replicas: The replicates of each variant, single-task ones included.
        notices: One sentence for each result that is not what the study asked for.
    """

    resolved: ResolvedStudy
    search_folder: Path
    extend: bool = True
    tunings: dict[str, Tuning] = field(default_factory=dict)
    replicas: dict[str, Batch] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    _reference: dict[str, dict[str, float]] | None = None

    # ------------------------------------------------------------------ questions about results

    def best(self, variant: str) -> Configuration | None:
        """The best configuration of a variant; ``None`` while its search goes on.

        Without a search it is the one configuration that the study gives.

        Raises:
            Blocked: If no configuration finished.
        """
        configurations = self.several_best(variant)
        return None if configurations is None else configurations[0]

    def several_best(self, variant: str) -> list[Configuration] | None:
        """The best configurations of a variant, as many as the study replicates, the best first.

        Raises:
            Blocked: If no configuration finished.
        """
        if variant not in self.tunings:
            return [self.resolved.candidate(variant).space.configuration({})]
        attempts = self.tunings[variant].several_best(self.resolved.max_configurations)
        return None if attempts is None else [attempt.configuration for attempt in attempts]

    @property
    def has_reference(self) -> bool:
        """Whether methods are compared with single-task models."""
        return bool(self.resolved.baselines)

    def reference(self) -> Reference | None:
        """Validation metrics of the best single-task models; ``None`` while they are not known.

        Each metric is the mean over the finished replicates of its task's best configuration or,
        without any, over the finished trials of its search; the latter is noted if the study asks
        for replicates.

        Raises:
            Blocked: If a task has no finished single-task model.
        """
        if self._reference is None:
            found: dict[str, dict[str, float]] = {}
            for task, candidate in zip(self.resolved.tasks, self.resolved.baselines, strict=True):
                means = self._baseline_means(
                    candidate.variant, [f"{task.name}.{metric.name}" for metric in task.metrics]
                )
                if means is None:
                    return None
                found[task.name] = {
                    metric.name: mean for metric, mean in zip(task.metrics, means, strict=True)
                }
            self._reference = found
        return self._reference

    def _baseline_means(self, variant: str, measures: Sequence[str]) -> list[float] | None:
        records = self._baseline_records(variant)
        if records is None:
            return None
        means = [math.fsum(r.measure(name) for r in records) / len(records) for name in measures]
        for name, mean in zip(measures, means, strict=True):
            if not math.isfinite(mean) or mean == 0.0:
                raise Blocked(
                    f"the single-task {name} is {mean}, so nothing can be measured relative to it"
                )
        return means

    def _baseline_records(self, variant: str) -> list[Record] | None:
        """The finished trials that a single-task model's metrics are averaged over."""
        tuning, replicas = self.tunings[variant], self.replicas.get(variant)
        if not tuning.done or (replicas is not None and not replicas.done):
            return None
        if replicas is not None and (records := replicas.finished_records()):
            return records
        attempt = tuning.best_finished()
        if attempt is None:
            raise Blocked(
                f"methods are compared with {variant}, of which none of {tuning.ended} search "
                "trials finished with a finite objective"
            )
        records = attempt.finished_records()
        if replicas is not None or attempt is not tuning.leader:
            if replicas is None or replicas.blocked is not None:
                why = f"no configuration of {variant} finished with all its seeds"
            else:
                why = f"none of the {replicas.planned} replicates of {variant} finished"
            notice = (
                f"{why}; methods are compared with the mean of {len(records)} finished search "
                f"{'trial' if len(records) == 1 else 'trials'} of its best configuration instead"
            )
            if notice not in self.notices:
                self.notices.append(notice)
        return records

    # ------------------------------------------------------------------ building units

    def tuning(self, phase: str, candidate: Candidate, *, referred: bool) -> Tuning:
        """The search of a candidate.

        Args:
            phase: The phase it belongs to.
            candidate: Whose search it is.
            referred: Whether its trials are compared with the baselines, and wait for them.
        """
        study = self.resolved.study
        seeds = self.resolved.search_seeds

        def start() -> tuple[AskLog, _Maker] | None:
            reference = None
            if referred and self.has_reference:
                reference = self.reference()
                if reference is None:
                    return None
            maker = _Maker(self.resolved, phase, candidate, seeds, reference)
            identity = {
                "space": candidate.space.as_json(),
                "sampler": study.sampler.model_dump(),
                "seed": study.seed,
                # One trial stands for problem, protocol, selection and reference.
                "trial": maker.example().trial_id,
            }
            if referred:  # what is not given was not known to earlier versions
                identity |= self._given_of_search(candidate)
            return AskLog(self.search_folder, candidate.variant, digest(identity)), maker

        tuning = Tuning(
            phase,
            candidate.variant,
            candidate.space,
            self._search_plan(candidate, referred=referred),
            start=start,
            extend=lambda: self.extend,
        )
        self.tunings[candidate.variant] = tuning
        return tuning

    def _search_plan(self, candidate: Candidate, *, referred: bool) -> SearchPlan:
        resolved, study = self.resolved, self.resolved.study
        start = candidate.space.start()
        given = [point for point in (*candidate.start_from, start) if point]
        pruner = None
        if referred and study.scheduler is not None and study.scheduler.name != "none":
            pruner = Pruner(study.scheduler, int(resolved.protocol["epochs"]))
        return SearchPlan(
            study.budget or Budget(trials=1),
            study.sampler,
            study.seed,
            goals=resolved.objectives if referred else (Selection(study.selection),),
            choose=resolved.choose,
            given=given,
            pruner=pruner,
        )

    def _given_of_search(self, candidate: Candidate) -> dict[str, object]:
        """What a study says of a search beyond space, sampler and seed."""
        study = self.resolved.study
        given = {
            "objectives": study.objectives,
            "start_from": [dict(point) for point in candidate.start_from] or None,
        }
        return {key: value for key, value in given.items() if value is not None}

    def replication(
        self, phase: str, candidate: Candidate, count: int, *, referred: bool, place: int = 0
    ) -> Batch:
        """Fresh seeds of a good configuration of a candidate, with the test split read.

        Args:
            phase: The phase it belongs to.
            candidate: Whose replicates they are.
            count: How many.
            referred: Whether they are compared with the baselines.
            place: 0 for the best configuration, else the place of a further non-dominated one,
                which there may turn out not to be.
        """
        variant = f"{candidate.variant}/{place + 1}" if place else candidate.variant

        def plan() -> list[Trial] | None:
            configurations = self.several_best(candidate.variant)
            reference = self.reference() if referred and self.has_reference else None
            if configurations is None or (referred and self.has_reference and reference is None):
                return None
            if place >= len(configurations):
                return []
            return [
                self.resolved.trial(
                    phase,
                    candidate,
                    configurations[place],
                    seed,
                    reference=reference,
                    evaluate_test=True,
                    variant=variant,
                )
                for seed in self.resolved.fresh_seeds(count)
            ]

        batch = Batch(phase, variant, count, plan, fewer=place > 0)
        self.replicas[variant] = batch
        return batch


@dataclass(frozen=True)
class _Maker:
    """Makes the trials of a configuration in a search."""

    resolved: ResolvedStudy
    phase: str
    candidate: Candidate
    seeds: Sequence[int]
    reference: Reference | None

    def __call__(self, configuration: Configuration) -> list[Trial]:
        return [
            self.resolved.trial(
                self.phase, self.candidate, configuration, seed, reference=self.reference
            )
            for seed in self.seeds
        ]

    def example(self) -> Trial:
        return self(self.candidate.space.configuration(self.candidate.space.corner()))[0]
