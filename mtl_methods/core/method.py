"""The contract that every method fulfils, and the state that it keeps."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mtl_methods.configuration import Configurable
from mtl_methods.core.inputs import checked_inputs
from mtl_methods.core.saved_state import check_generator, check_head, check_own, entry
from mtl_methods.core.step import Family, Need, StepInputs, StepRecord
from mtl_methods.errors import ConfigurationError, MissingNeedError, TaskError

__all__ = ["Family", "Method", "Need", "StepInputs", "StepRecord"]

logger = logging.getLogger("mtl_methods")

_LONG = 20_000  # steps; few epochs are longer


class Method(Configurable, ABC):
    """A way of balancing K tasks in a training step.

    Use, in any PyTorch loop::

        method.backward(losses, shared=model.shared.parameters())
        optimizer.step()

    ``backward`` adds to ``.grad`` like ``Tensor.backward`` does, once per step; it never clips and
    hides no scale. What else a method wants is in :attr:`needs`.

    Class attributes:
        summary: What the method does, in one line.
        paper: Its source: authors, title, venue.
        equation: The rule in one line of text.
        needs: What a caller must serve.
        family: ``"loss"``, ``"gradient"``, ``"composed"`` or ``"bilevel"``.
        backward_passes: Cost of a step in backward passes, in words (``"1"``, ``"K"``).
        deviations: Where papers and published code disagree, and what is the default here.
        scale_law: How the effective weights answer to a common factor s on all losses, in words:
            ``"invariant"``, ``"1/s"``, ``"other"`` ...; :attr:`scale_exponent` is the number.
        permutation_equivariant: Whether weights follow their tasks if ``setup`` names these in
            another order (the order of a step's ``losses`` never matters).
        same_as: Names of methods that it coincides with at default settings, by nature.
    """

    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES})
    family: ClassVar[Family] = "loss"
    backward_passes: ClassVar[str] = "1"
    deviations: ClassVar[tuple[str, ...]] = ()
    scale_law: ClassVar[str] = "other"
    permutation_equivariant: ClassVar[bool] = True
    same_as: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tasks: tuple[str, ...] = ()
        self.state: dict[str, Any] = {}
        self.own = nn.Module()
        self.generator = torch.Generator("cpu")
        self.counters: dict[str, int] = {}
        self.last_step = StepRecord()
        self._own_before: list[Tensor] | None = None
        self._own_watched = True
        self._warned: set[str] = set()
        self._steps_taken = 0

    @property
    def scale_exponent(self) -> float | None:
        """The e of the scale law: with all losses of a run times s, weights are times ``s**e``.

        Own parameters held fixed; ``None`` if there is no such law.
        """
        return None

    @property
    def awaits_epoch(self) -> bool:
        """Whether weights stand still until :meth:`end_epoch` is called for the first time."""
        return False

    # ---------------------------------------------------------------- set-up

    def setup(
        self,
        tasks: Sequence[str],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        feature_dim: int | None = None,
    ) -> None:
        """Fixes the tasks and makes the method's state.

        The first ``backward`` does it with the tasks of its losses; call it yourself if that batch
        may lack a task, or to have :meth:`parameters` before the first step.

        Args:
            tasks: All task names, in a fixed order; length K.
            device: Where own parameters live; default CPU.
            dtype: Their type; default ``torch.get_default_dtype()``.
            feature_dim: Size of dimension 1 of the shared features (B, d) or (B, d, ...), for
                methods with ``Need.FEATURES``.

        Raises:
            TaskError: If there are no tasks, if one is named twice, or if the method is already
                set up for other tasks.
            MissingNeedError: If the method needs ``feature_dim``.
        """
        names = tuple(tasks)
        if not names:
            raise TaskError(f"{self.name}: there must be at least one task")
        if len(set(names)) != len(names):
            raise TaskError(f"{self.name}: a task is named twice in {', '.join(names)}")
        if self.tasks:
            if names == self.tasks:
                return
            raise TaskError(
                f"{self.name}: already set up for the tasks {', '.join(self.tasks)}; "
                "make a new method for others"
            )
        self.generator.manual_seed(int(torch.randint(2**62, (), dtype=torch.int64, device="cpu")))
        self.tasks = names
        try:
            self._initialise(
                torch.device(device or "cpu"), dtype or torch.get_default_dtype(), feature_dim
            )
        except Exception:
            self.tasks = ()
            raise

    def seed(self, seed: int) -> None:
        """Seeds the method's own random generator (call after :meth:`setup`)."""
        self.generator.manual_seed(seed)

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        """Makes state and own parameters for ``self.tasks``; nothing by default."""

    # ------------------------------------------------------------------ step

    def backward(
        self,
        losses: Mapping[str, Tensor],
        shared: Iterable[Tensor],
        heads: Iterable[Tensor] | None = None,
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        grad_scale: float = 1.0,
        **extra: Any,
    ) -> None:
        """Adds the balanced gradient to ``.grad`` of shared parameters, heads and own parameters.

        Args:
            losses: One scalar tensor per task of the batch; a task without data in the batch is
                simply not there.
            shared: The shared parameters; frozen and unused ones are left alone.
            heads: The parameters that count as heads; default: every other leaf that the losses
                reach.
            features: The shared features, shape (B, d) or (B, d, ...), for methods that declare
                ``Need.FEATURES`` and for options that take gradients there.
            grad_scale: Factor on all gradients written; weights are found from the unscaled losses
                and gradients. Under mixed precision it is what a ``torch.amp.GradScaler`` makes of
                1, ``scaler.scale(torch.ones((), device=device)).item()``: the scaler must have
                scaled something (``get_scale()`` does not) before ``scaler.step(optimizer)``.
            **extra: Further inputs, only for declared needs: ``closure``, ``named_parameters`` and
                ``lr`` (``Need.VALIDATION_BATCH``), ``extra_losses`` (``Need.EXTRA_BATCHES``).

        Raises:
            NonFiniteLossError: If a loss is NaN or infinite. Nothing is written.
            NonFiniteGradientError: If a task gradient is, with ``grad_scale`` 1. Nothing is
                written but what a composition's loss weighting gave its own parameters before.
            TaskError: If losses are not scalars, have no graph, or name an unknown task.
            MissingNeedError: If an argument that a declared need asks for is missing or something
                else, or heads did not read :meth:`task_features` (``Need.TASK_FEATURES``). What
                comes later is told where it is missing: :meth:`end_epoch` refuses missing
                performance drops; own parameters that never move, losses that :meth:`after_step`
                is not told and an epoch that never ends are warned of once, in the log.
            UnknownNameError: If there is an argument that no need asks for.
        """
        inputs = checked_inputs(self, losses, shared, heads, features, grad_scale, extra)
        self.last_step = StepRecord(tasks=inputs.tasks)
        if self._own_watched:
            self._warn_if_never_updated(inputs.shared)
        self._step(inputs)
        self._tell_in_order_of(losses)
        for event in self.last_step.events:
            self.counters[event] = self.counters.get(event, 0) + 1
        self._steps_taken += 1
        if self._steps_taken == _LONG and self.awaits_epoch:
            logger.warning(
                "%s: %d steps and no epoch has ended: its weights stand still until end_epoch is "
                "called, which the training loop must do after each epoch",
                self.name,
                _LONG,
            )

    @abstractmethod
    def _step(self, inputs: StepInputs) -> None:
        """Writes all gradients and ``self.last_step``."""

    @property
    def weights(self) -> Tensor | None:
        """Effective weights of the last step, shape (K,), in the order of its losses.

        The coefficient of each raw task gradient in the shared update; ``None`` before the first
        step and for methods that have none by nature.
        """
        return self.last_step.weights

    def task_features(self, task: str, features: Tensor) -> Tensor:
        """What the head of a task is to read in place of the shared features.

        The features themselves unless the method declares ``Need.TASK_FEATURES``.
        """
        return features

    def attach(self, heads: Mapping[str, nn.Module]) -> list[RemovableHandle]:
        """Has heads read :meth:`task_features`, in training and in evaluation.

        Does nothing unless the method declares ``Need.TASK_FEATURES``.

        Args:
            heads: For each task the module whose first input is the shared features.

        Returns:
            Handles that undo it.
        """
        if Need.TASK_FEATURES not in self.needs:
            return []

        def reader(task: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
            return lambda _, inputs: (self.task_features(task, inputs[0]), *inputs[1:])

        return [head.register_forward_pre_hook(reader(task)) for task, head in heads.items()]

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Tells the losses of the same batch after the optimiser's step.

        Does nothing unless the method declares ``Need.LOSSES_AFTER_STEP``.
        """

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Tells what an epoch brought; does nothing unless the method uses it.

        Call it after every epoch: :attr:`awaits_epoch` says whether weights wait for it.

        Args:
            epoch: The epoch that ended, counted from 0.
            train_losses: Mean training loss per task.
            performance_drops: Per task, the mean relative drop of its validation metrics against
                single-task training, in percent, positive for worse (``Need.PERFORMANCE_DROPS``).
        """

    def parameters(self) -> list[nn.Parameter]:
        """Own trainable parameters, for the caller's optimiser; empty for most methods.

        Raises:
            TaskError: If the method has some but does not know its tasks yet.
        """
        if Need.OWN_PARAMETERS in self.needs and not self.tasks:
            raise TaskError(
                f"{self.name}: its parameters exist once the tasks are known; "
                "call setup(tasks) first"
            )
        return list(self.own.parameters())

    # ----------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes the next step: plain values and tensors only."""
        return {
            "name": self.name,
            "tasks": list(self.tasks),
            "state": copy.deepcopy(self.state),
            "own": {key: value.clone() for key, value in self.own.state_dict().items()},
            "generator": self.generator.get_state().clone(),
            "counters": dict(self.counters),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`, setting the method up if it was not yet.

        Raises:
            TaskError: If it is no state of this method, or one for other tasks. Nothing is changed.
        """
        self._check_state(state)
        own = state["own"]
        if state["tasks"] and not self.tasks:
            self._setup_like(state["tasks"], own)
        self.own.load_state_dict(dict(own))
        self._own_before = None
        self.state = copy.deepcopy(dict(state["state"]))
        self.generator.set_state(state["generator"].clone())
        self.counters = dict(state["counters"])

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Refuses what :meth:`load_state_dict` cannot restore; changes nothing."""
        check_head(self.name, self.tasks, state)
        own = entry(self.name, state, "own", Mapping)
        entry(self.name, state, "state", Mapping)
        check_generator(self.name, entry(self.name, state, "generator", Tensor))
        known = self
        if state["tasks"] and not self.tasks:
            known = type(self).from_settings(self.settings())
            try:
                with torch.random.fork_rng(devices=[]):
                    known._setup_like(state["tasks"], own)
            except (ConfigurationError, MissingNeedError) as error:
                raise TaskError(
                    f"{self.name}: the own parameters of the state do not fit this method: {error}"
                ) from error
        check_own(self.name, known.own.state_dict(), own)

    def _setup_like(self, tasks: Sequence[str], own: Mapping[str, Tensor]) -> None:
        """Sets the method up as it was when its own parameters were saved."""
        first = next(iter(own.values()), None)
        self.setup(
            tasks,
            device=None if first is None else first.device,
            dtype=None if first is None else first.dtype,
            feature_dim=self._feature_dim_of(own),
        )

    def _feature_dim_of(self, own: Mapping[str, Tensor]) -> int | None:
        """The ``feature_dim`` that own parameters were made with, for restoring."""
        return None

    # --------------------------------------------------------------- helpers

    def _event(self, name: str, message: str) -> None:
        """Records a rare event; the first of its kind is logged as a warning."""
        self.last_step.events.append(name)
        if name not in self._warned:
            self._warned.add(name)
            logger.warning("%s: %s (further ones are only counted)", self.name, message)

    def _require(self, value: Any, what: str) -> Any:
        if value is None:
            raise MissingNeedError(f"{self.name} needs {what}; pass it to backward")
        return value

    def _tell_in_order_of(self, losses: Mapping[str, Tensor]) -> None:
        """Brings ``last_step`` from the order of the method's tasks to that of the losses."""
        record = self.last_step
        told = tuple(losses)
        if told == record.tasks:
            return
        order = [record.tasks.index(task) for task in told]
        record.tasks = told
        if record.weights is not None:
            record.weights = record.weights[order]
        if record.loss_scales is not None:
            record.loss_scales = record.loss_scales[order]
        if record.gram is not None:
            record.gram = record.gram[np.ix_(order, order)]

    def _warn_if_never_updated(self, shared: Sequence[Tensor]) -> None:
        """Warns once if own parameters got gradients but no optimiser has moved them.

        Uncertainty weighting whose variances never reached the optimiser is equal weighting under
        another name; published comparisons contain it.

        Values are compared, since fused optimisers leave versions alone, and only until the first
        change. While the gradients of several batches are being accumulated, no optimiser was to
        move anything: the shared parameters have gradients then.
        """
        own = list(self.own.parameters())
        if not own:
            self._own_watched = False
            return
        before = self._own_before
        if before is None:
            self._own_before = [parameter.detach().clone() for parameter in own]
            return
        moved = any(
            now.device != was.device or now.dtype != was.dtype or not torch.equal(now, was)
            for now, was in zip(own, before, strict=True)
        )
        if not moved and (not _any_gradient(own) or _any_gradient(shared)):
            return
        self._own_watched, self._own_before = False, None
        if not moved:
            logger.warning(
                "%s: its parameters did not change since the last step; "
                "add method.parameters() to the optimiser",
                self.name,
            )


def _any_gradient(parameters: Iterable[Tensor]) -> bool:
    """Whether a parameter has a gradient that is not zero throughout."""
    return any(p.grad is not None and bool(p.grad.any()) for p in parameters)
