"""Small methods that record what a training loop serves them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Method, Need


class Recorder(LossWeighting):
    """Equal weights; keeps everything that the loop hands it."""

    name: ClassVar[str] = "fake_recorder"

    def _initialise(self, device, dtype, feature_dim):
        self.seen = {"backward": [], "after_step": [], "end_epoch": []}
        self.feature_dim = feature_dim

    def backward(self, losses, shared, heads=None, *, features=None, grad_scale=1.0, **extra):
        values = {task: loss.item() for task, loss in losses.items()}
        shared = list(shared)
        self.seen["backward"].append((values, shared, features, extra))
        super().backward(losses, shared, heads, features=features, grad_scale=grad_scale, **extra)

    def coefficients(self, inputs):
        return torch.ones(len(inputs.tasks), dtype=torch.float64)

    def after_step(self, losses):
        self.seen["after_step"].append(
            {task: (loss.item(), loss.requires_grad) for task, loss in losses.items()}
        )

    def end_epoch(self, *, epoch, train_losses, performance_drops=None):
        self.seen["end_epoch"].append((epoch, dict(train_losses), performance_drops))


class AfterStepRecorder(Recorder):
    name: ClassVar[str] = "fake_after_step"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.LOSSES_AFTER_STEP})


class FeaturesRecorder(Recorder):
    name: ClassVar[str] = "fake_features"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.FEATURES})


class DropsRecorder(Recorder):
    name: ClassVar[str] = "fake_drops"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.PERFORMANCE_DROPS})


class BilevelRecorder(Recorder):
    """Evaluates both batches of the closure twice in every step, at the live parameters."""

    name: ClassVar[str] = "fake_bilevel"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.VALIDATION_BATCH})

    def _initialise(self, device, dtype, feature_dim):
        super()._initialise(device, dtype, feature_dim)
        self.seen["closure"] = []

    def backward(self, losses, shared, heads=None, *, features=None, grad_scale=1.0, **extra):
        closure, named = extra["closure"], extra["named_parameters"]
        found = {}
        for split in ("train", "validation", "train", "validation"):
            found.setdefault(split, []).append(
                {task: loss.item() for task, loss in closure(named, split).items()}
            )
        self.seen["closure"].append(found)
        super().backward(losses, shared, heads, features=features, grad_scale=grad_scale, **extra)


class QuietBilevel(Recorder):
    """Has the need and makes no use of it."""

    name: ClassVar[str] = "fake_quiet_bilevel"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.VALIDATION_BATCH})


class Stateful(LossWeighting):
    """Own parameters, own noise, losses after the step and performance drops, all in one."""

    name: ClassVar[str] = "fake_stateful"
    needs: ClassVar[frozenset[Need]] = frozenset(
        {Need.LOSSES, Need.LOSSES_AFTER_STEP, Need.PERFORMANCE_DROPS, Need.OWN_PARAMETERS}
    )

    def _initialise(self, device, dtype, feature_dim):
        self.own.logits = nn.Parameter(torch.zeros(len(self.tasks), device=device, dtype=dtype))
        self.state["after"] = [1.0] * len(self.tasks)
        self.state["drops"] = [0.0] * len(self.tasks)

    def coefficients(self, inputs):
        noise = torch.rand(len(inputs.tasks), generator=self.generator, dtype=torch.float64)
        after = torch.tensor(self.state["after"], dtype=torch.float64)
        drops = torch.tensor(self.state["drops"], dtype=torch.float64)
        grad = self.own.logits.detach() - inputs.values.float()
        self.own.logits.grad = grad if self.own.logits.grad is None else self.own.logits.grad + grad
        logits = self.own.logits.detach().double()
        if noise[0] > 0.5:
            self._event("large_noise", "the noise is large")
        return torch.sigmoid(logits + 0.1 * after + 0.01 * drops) + 0.1 * noise

    def after_step(self, losses):
        self.state["after"] = [loss.item() for loss in losses.values()]

    def end_epoch(self, *, epoch, train_losses, performance_drops=None):
        self.state["drops"] = [performance_drops[task] for task in self.tasks]
        self.counters["epoch_ended"] = self.counters.get("epoch_ended", 0) + 1


class Failing(Recorder):
    """Raises in its third epoch."""

    name: ClassVar[str] = "fake_failing"

    def end_epoch(self, *, epoch, train_losses, performance_drops=None):
        if epoch == 2:
            raise RuntimeError("the fake method fails")


FAKES: tuple[type[Method], ...] = (
    Recorder,
    AfterStepRecorder,
    FeaturesRecorder,
    DropsRecorder,
    BilevelRecorder,
    QuietBilevel,
    Stateful,
    Failing,
)
