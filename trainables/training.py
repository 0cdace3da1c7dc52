"""The training loop: one problem, one method, one row per epoch.

The loop serves the needs that a method declares and knows no method by name. Keys of a row:

==============================  ================================================================
``epoch``                       counted from 1
``train_loss.<task>``           mean over the items of the epoch, before each step
``validation_loss.<task>``      mean over the items of the validation split
``validation.<task>.<metric>``  the metrics of the validation split
``validation.delta_mtm``        mean relative gain over tasks, percent; with a reference only
``validation.delta_m``          mean relative drop over metrics, percent; with a reference only
``selection``                   what the best epoch is chosen by, higher is better
``weight.<task>``               mean effective weight over steps; absent for methods without
``grad_cosine``                 mean cosine of task gradients to their mean; where computed anyway
``grad_norm.<task>``            mean norm of the task's gradient; where computed anyway
``grad_norm``                   mean norm of the whole model's gradient, before clipping
``grad_norm_clipped``           fraction of the steps that were clipped; with clipping only
``solver_residual``             largest residual of the weight solver; where there is one
``solve_seconds``               seconds spent on finding weights
``train_seconds``               seconds of all training steps, solving included
``lr``                          learning rate of the model during the epoch
``event.<name>``                how often a rare event of the method happened in the epoch
==============================  ================================================================

Validation metrics of tasks that are not trained (weight 0 in every step) are left out where there
is no reference: they would be those of a head with its initial parameters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mtl_methods import Need
from mtl_methods.errors import NonFiniteGradientError, NonFiniteLossError
from trainables.data import SplitTensors, count_items, iterate
from trainables.divergence import suspect
from trainables.epoch_statistics import EpochStatistics
from trainables.errors import DivergedError
from trainables.evaluation import evaluate
from trainables.inner_validation import InnerValidation
from trainables.needs import check_needs
from trainables.optimizers import (
    align_gradients,
    clear_gradients,
    clip_gradients,
    make_optimizer,
    total_norm,
)
from trainables.problem import Task
from trainables.randomness import RandomStreams, derive_seed
from trainables.replay import ForwardReplay
from trainables.selection import (
    MetricValues,
    delta_m,
    delta_mtm,
    metric_drops,
    selection_value,
    task_drops,
)
from trainables.spec import TrialSpec

__all__ = ["Row", "Trainer"]

Row: TypeAlias = dict[str, float | int]
"""One epoch, flat; see the module's docstring."""


class Trainer:
    """Trains one specification epoch by epoch; can be saved after any epoch and restored.

    A trainer that was restored goes on exactly as one that was never interrupted: on the CPU its
    rows (times apart) and parameters are equal to the last bit.

    Args:
        spec: What to train.
        data: The tensors of the specification's problem, see :func:`trainables.data.to_tensors`.
        device: Where to train; the tensors must live there.
        on_progress: Called after every optimiser step and every batch that is evaluated.

    Attributes:
        spec: The specification.
        model: The model.
        method: The method.
        rows: The rows of all epochs so far.
        best_epoch: The epoch of the best selection measure, ``None`` before the first.
        counters: How often each rare event of the method happened.

    Raises:
        ConfigurationError: If the method has a need that this loop or the specification does not
            serve.
    """

    def __init__(
        self,
        spec: TrialSpec,
        data: SplitTensors,
        *,
        device: torch.device | str = "cpu",
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self._on_progress = on_progress
        self.problem = spec.make_problem()
        self.method = spec.make_method()
        self.rows: list[Row] = []
        self.best_epoch: int | None = None
        self.counters: dict[str, int] = {}
        self._data = data
        self._tasks = [task.name for task in self.problem.tasks]
        self._random = RandomStreams(spec.seed)
        self.model = self.problem.build_model(
            dropout=spec.training.dropout, seed=derive_seed(spec.seed, "model")
        ).to(device)
        check_needs(self.method, self.model.heads, reference=spec.reference is not None)
        self._inner = self._hold_out()
        with self._random.active():
            self.method.setup(
                self._tasks, device=torch.device(device), feature_dim=self.model.feature_dim
            )
            self.method.seed(derive_seed(spec.seed, "method"))
        self.method.attach(dict(self.model.heads.items()))
        self._shared = self.model.shared_parameters()
        self._parameters = list(self.model.parameters())
        self._own = self.method.parameters()
        self._optimizer = make_optimizer(spec.training, self._parameters, self._own)
        self._learning_rate = spec.training.schedule.start(self._optimizer, spec.training.epochs)
        self._metrics = self.problem.make_metrics()
        for collection in self._metrics.values():
            collection.to(device)
        self._best_parameters: dict[str, Tensor] = {}
        self._best_own: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return len(self.rows)

    @property
    def complete(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.spec.epochs

    @property
    def best_row(self) -> Row | None:
        """The row of the best epoch."""
        return None if self.best_epoch is None else self.rows[self.best_epoch - 1]

    # ----------------------------------------------------------------- an epoch

    def run_epoch(self) -> Row:
        """Trains one epoch, evaluates the validation split, and returns the epoch's row.

        Raises:
            DivergedError: If a loss, a gradient, a parameter or a validation result is not
                finite. The trainer cannot go on then.
        """
        with self._random.active():
            statistics = EpochStatistics(self._tasks)
            started = time.perf_counter()
            steps = self._train(statistics)
            train_seconds = time.perf_counter() - started
            self._check_parameters(steps)
            row: Row = {"epoch": self.epoch + 1}
            row.update(statistics.row(clipping=self.spec.training.clip_grad_norm is not None))
            row["train_seconds"] = train_seconds
            row["lr"] = self._optimizer.param_groups[0]["lr"]
            drops = self._validate(row, statistics.trained, steps)
            wants_drops = Need.PERFORMANCE_DROPS in self.method.needs
            self.method.end_epoch(
                epoch=self.epoch,
                train_losses=statistics.mean_losses(),
                performance_drops=drops if wants_drops else None,
            )
            row.update(self._count_events())
            self._learning_rate.step(row["selection"])
            self._remember(row)
        return row

    def _train(self, statistics: EpochStatistics) -> int:
        """Trains one epoch; returns its number of steps."""
        self.model.train()
        step = 0
        batches = iterate(
            self.problem,
            self._data["train"],
            self.spec.training.batch_size,
            self._random.loader,
            items=None if self._inner is None else self._inner.kept,
        )
        for step, (items, batch) in enumerate(batches, start=1):
            try:
                self._step(batch, items, step, statistics)
            except NonFiniteLossError as error:
                raise self._diverged("loss", str(error), error.task, step) from error
            except NonFiniteGradientError as error:
                raise self._diverged("gradient", str(error), error.task, step) from error
            self._on_progress()
        return step

    def _step(
        self, batch: Mapping[str, Tensor], items: int, step: int, statistics: EpochStatistics
    ) -> None:
        needs = self.method.needs
        replay = ForwardReplay(self.model) if Need.LOSSES_AFTER_STEP in needs else None
        inner = None if self._inner is None else self._inner.begin_step(self.model, batch)
        features, outputs = self.model(batch)
        losses = self.problem.losses(outputs, batch)
        if replay is not None:
            replay.end_forward()
        clear_gradients(self._parameters)
        clear_gradients(self._own)
        extra: dict[str, Any] = {}
        if Need.EXTRA_BATCHES in needs:
            extra["extra_losses"] = self._extra_losses()
        if inner is not None:
            extra.update(inner.inputs(self._optimizer.param_groups[0]["lr"]))
        self.method.backward(
            losses, self._shared, features=features if Need.FEATURES in needs else None, **extra
        )
        values = {task: loss.item() for task, loss in losses.items()}
        grad_norm, clipped = self._clip(step, values)
        self._optimizer.step()
        statistics.add_step(
            values, items, self.method.last_step, grad_norm=grad_norm, clipped=clipped
        )
        if replay is not None:
            with torch.no_grad(), replay:
                after = self.problem.losses(self.model(batch)[1], batch)
            self.method.after_step(after)

    def _extra_losses(self) -> list[dict[str, Tensor]]:
        """Losses of further batches at the same parameters, each drawn independently.

        The trial's own generator of torch draws them, not the loader's: methods that need none
        see the same batches as those that do.
        """
        split, size = self._data["train"], self.spec.training.batch_size
        kept = None if self._inner is None else self._inner.kept
        count = count_items(split) if kept is None else len(kept)
        device = next(iter(split.values())).device
        found = []
        for _ in range(getattr(self.method, "extra_batches", 1)):
            chosen = torch.randint(count, (size,))
            if kept is not None:
                chosen = kept[chosen]
            batch = self.problem.make_batch(split, chosen.to(device))
            found.append(dict(self.problem.losses(self.model(batch)[1], batch)))
        return found

    def _hold_out(self) -> InnerValidation | None:
        """The training items that are for validation batches, if the method needs some."""
        fraction = self.spec.training.inner_validation
        if fraction is None:
            return None
        return InnerValidation(
            self.problem,
            self._data["train"],
            fraction,
            batch_size=self.spec.training.batch_size,
            seed=self.spec.seed,
        )

    def _clip(self, step: int, losses: Mapping[str, float]) -> tuple[float, bool]:
        """Norm of the model's gradient and whether it was clipped."""
        gradients = align_gradients(self._parameters)
        norm = total_norm(gradients)
        if not math.isfinite(norm):
            task, why = suspect(self.model.head_parameters(), losses, self.method.last_step)
            reason = f"the norm of the model's gradient is {norm}" + (f"; {why}" if why else "")
            raise self._diverged("gradient", reason, task, step)
        limit = self.spec.training.clip_grad_norm
        return norm, limit is not None and clip_gradients(gradients, norm, limit)

    def _check_parameters(self, steps: int) -> None:
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                reason = f"the parameter {name} is not finite"
                raise self._diverged("parameter", reason, None, steps)
        for position, parameter in enumerate(self._own):
            if not bool(torch.isfinite(parameter).all()):
                raise self._diverged(
                    "parameter", f"parameter {position} of the method is not finite", None, steps
                )

    def _count_events(self) -> dict[str, int]:
        """The events since the last call, as a part of a row."""
        now = dict(self.method.counters)
        row = {
            f"event.{event}": count - self.counters.get(event, 0)
            for event, count in now.items()
            if count != self.counters.get(event, 0)
        }
        self.counters = now
        return row

    # --------------------------------------------------------------- validation

    def _validate(self, row: Row, trained: tuple[str, ...], steps: int) -> dict[str, float] | None:
        """Adds the validation split's part to a row; returns the drop of each task if known."""
        losses, values = self._evaluate("validation")
        reference = self.spec.reference
        tasks = self.problem.tasks if reference is not None else self.problem.choose(trained)
        for task in tasks:
            self._check_validation(task, losses[task.name], values[task.name], steps)
            row[f"validation_loss.{task.name}"] = losses[task.name]
            for name, value in values[task.name].items():
                row[f"validation.{task.name}.{name}"] = value
        drops = None
        if reference is not None:
            by_metric = metric_drops(tasks, values, reference)
            row["validation.delta_mtm"] = delta_mtm(by_metric)
            row["validation.delta_m"] = delta_m(by_metric)
            drops = task_drops(by_metric)
        row["selection"] = selection_value(self.spec.selection, tasks, values, losses, reference)
        return drops

    def _check_validation(
        self, task: Task, loss: float, values: Mapping[str, float], steps: int
    ) -> None:
        for name, value in (("loss", loss), *values.items()):
            if not math.isfinite(value):
                raise self._diverged(
                    "validation",
                    f"the validation {name} of task {task.name!r} is {value}",
                    task.name,
                    steps,
                )

    def _remember(self, row: Row) -> None:
        best = self.best_row
        self.rows.append(row)
        if best is None or row["selection"] > best["selection"]:
            self.best_epoch = self.epoch
            self._best_parameters = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }
            self._best_own = {
                name: value.detach().clone() for name, value in self.method.own.state_dict().items()
            }

    def load_best(self) -> None:
        """Gives the model the parameters of the best epoch; training cannot go on after it.

        The method's own parameters too, since heads may read features through the method.
        """
        self.model.load_state_dict(self._best_parameters)
        self.method.own.load_state_dict(self._best_own)

    def evaluate_test(self) -> MetricValues:
        """The metrics of the test split with the model as it is.

        Returns:
            Metrics by task, of the tasks whose validation metrics are in the best epoch's row.
        """
        row = self.best_row or {}
        _, values = self._evaluate("test")
        return {task: got for task, got in values.items() if f"validation_loss.{task}" in row}

    def _evaluate(self, split: str) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        return evaluate(
            self.problem,
            self.model,
            self._data[split],
            self._metrics,
            on_progress=self._on_progress,
        )

    # -------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values."""
        return {
            "model": dict(self.model.state_dict()),
            "method": self.method.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "learning_rate": self._learning_rate.state_dict(),
            "random": self._random.state_dict(),
            "inner_validation": None if self._inner is None else self._inner.state_dict(),
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best_parameters": self._best_parameters,
            "best_own": self._best_own,
            "counters": self.counters,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict` of the same specification."""
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["method"])
        self._optimizer.load_state_dict(dict(state["optimizer"]))
        self._learning_rate.load_state_dict(state["learning_rate"])
        self._random.load_state_dict(state["random"])
        if self._inner is not None:
            self._inner.load_state_dict(state["inner_validation"])
        self.rows = [dict(row) for row in state["rows"]]
        self.best_epoch = state["best_epoch"]
        self._best_parameters = dict(state["best_parameters"])
        self._best_own = dict(state["best_own"])
        self.counters = dict(state["counters"])

    def _diverged(
        self, kind: str, reason: str, task: str | None, step: int | None
    ) -> DivergedError:
        return DivergedError(kind, reason, task=task, epoch=self.epoch + 1, step=step)
