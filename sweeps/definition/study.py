"""The study file: what may stand in it, key by key.

These models check form (keys, types, numbers). Whether methods, problems and hyper-parameters of
these names exist and accept these values is checked in :mod:`sweeps.definition.resolve`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from sweeps.definition.places import check_label, check_mirror, check_server
from sweeps.definition.settings import (
    Choices,
    Constant,
    DropoutSetting,
    NonNegativeSetting,
    PositiveSetting,
    Range,
    Setting,
    Simplex,
    parse_setting,
)

__all__ = [
    "Baselines",
    "Budget",
    "Choices",
    "Constant",
    "FixedWeights",
    "MethodChoice",
    "NamedConfiguration",
    "Population",
    "ProblemChoice",
    "Protocol",
    "Range",
    "Replicate",
    "Resources",
    "Sampler",
    "Scheduler",
    "SearchSpace",
    "SensitivitySweep",
    "Setting",
    "Simplex",
    "Study",
    "Trackers",
    "WeightSweep",
    "parse_setting",
]

MAX_TRIALS = 100_000
MAX_SEEDS = 1_000


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are not converted, nothing changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SparseSection(Section):
    """A section whose keys are written out only where they are given.

    What a study without a key was called (its hash, the names of its searches) stays the same when
    a later version knows the key.
    """

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


# ------------------------------------------------------------------ sections


class ProblemChoice(BaseModel):
    """The problem by name, its options beside it."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The options given in the file."""
        return dict(self.__pydantic_extra__ or {})


class MethodChoice(BaseModel):
    """A method by name, with a label for tables and what is said of its hyper-parameters."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str
    label: Annotated[str | None, AfterValidator(check_label)] = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def settings(self) -> dict[str, Any]:
        """What the file says of the method's hyper-parameters, unparsed."""
        return dict(self.__pydantic_extra__ or {})


class Protocol(Section):
    """What is the same for every trial; what is left out is the problem's default.

    ``inner_validation`` concerns methods with validation batches of their own alone; others train
    on the whole training split.
    """

    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    batch_size: int | None = Field(default=None, ge=1)
    optimizer: str | None = None
    momentum: float | None = Field(default=None, ge=0.0, lt=1.0)
    schedule: dict[str, Any] | None = None
    clip_grad_norm: float | None = Field(default=None, gt=0.0)
    inner_validation: float | None = Field(default=None, gt=0.0, lt=1.0)


class SearchSpace(Section):
    """Training hyper-parameters, constant or searched alike for every method.

    What is left out is the problem's default. ``method_lr`` is the learning rate of a method's own
    parameters and is searched only for methods that have some.
    """

    lr: PositiveSetting | None = None
    weight_decay: NonNegativeSetting | None = None
    dropout: DropoutSetting | None = None
    method_lr: PositiveSetting | None = None


class Budget(SparseSection):
    """The search, the same for every method.

    ``trials``: configurations; ``seeds``: how often each is trained. ``seconds``: training seconds
    after which a method asks for no more, alone or beside ``trials``. ``hours``: how long one run
    of the whole study may take before it stops; running it again goes on.
    """

    trials: int | None = Field(default=None, ge=1, le=MAX_TRIALS)
    seeds: int = Field(default=1, ge=1, le=MAX_SEEDS)
    seconds: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    hours: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounded(self) -> Budget:
        if self.trials is None and self.seconds is None:
            raise ValueError(
                "a search needs trials (configurations of each method), seconds (of training for "
                "each method), or both"
            )
        return self


class Baselines(Section):
    """Single-task models; ``seeds``: how often the best of each task is replicated."""

    seeds: int | None = Field(default=None, ge=0, le=MAX_SEEDS)


class Replicate(SparseSection):
    """The best configuration of each method with fresh seeds.

    With several objectives ``choose`` says which of the non-dominated configurations is the best,
    and ``max_configurations`` how many of them are replicated (:mod:`sweeps.search.front`).
    """

    seeds: int = Field(ge=1, le=MAX_SEEDS)
    choose: Literal["knee", "first"] | None = None
    max_configurations: int | None = Field(default=None, ge=1, le=1_000)


class FixedWeights(Section):
    """Static weights from the course of the effective weights of ``sources``."""

    sources: list[str] = Field(min_length=1)
    beta: float = Field(default=0.9, ge=0.0, lt=1.0)
    seeds: int | None = Field(default=None, ge=1, le=MAX_SEEDS)


class WeightSweep(Section):
    """Linear scalarisation over points of the simplex: a number of points, or the points."""

    points: Annotated[int, Field(le=MAX_TRIALS)] | list[list[float]]
    design: Literal["lattice", "sobol"] = "lattice"
    seeds: int = Field(default=1, ge=1, le=MAX_SEEDS)


class Resources(Section):
    """What one trial takes and how many run at once (``null``: as many as fit).

    ``keep_checkpoints``: ``best`` keeps the parameters of the best epoch of every trial that reads
    the test split (``checkpoints/<trial_id>/best.pt``), ``best_and_last`` the state after its
    last epoch too (``last.pt``), ``none`` keeps none. ``stall_seconds``: the worker of a trial that
    makes no progress (no step, no batch evaluated) for so long is killed (``null``: never); up to
    ``retries`` more attempts follow.
    """

    cpus_per_trial: int = Field(default=1, ge=1)
    gpus_per_trial: float = Field(default=0.0, ge=0.0)
    concurrent: int | None = Field(default=None, ge=1)
    checkpoint_every_seconds: float = Field(default=30.0, ge=0.0)
    keep_checkpoints: Literal["best", "best_and_last", "none"] = "best"
    retries: int = Field(default=2, ge=0)
    stall_seconds: float | None = Field(default=3600.0, gt=0.0, allow_inf_nan=False)

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_gpus(cls, value: float) -> float:
        if value > 1.0 and not value.is_integer():
            raise ValueError(f"{value:g} is not valid; it should be at most 1 or a whole number")
        return value


class Sampler(SparseSection):
    """How configurations are drawn (:mod:`sweeps.search.samplers`).

    ``startup_trials`` concerns samplers that learn, ``population`` those that go by generations,
    ``points`` the grid: the number of values that each range is cut into.
    """

    name: str = "tpe"
    startup_trials: int = Field(default=5, ge=1)
    population: int | None = Field(default=None, ge=2, le=10_000)
    points: int | None = Field(default=None, ge=2, le=10_000)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Scheduler(Section):
    """Which trials of a search are stopped early (:mod:`sweeps.search.pruning`).

    ``grace_epochs``: epochs that every trial has; ``reduction``: of so many trials one goes on at
    each level (asha, hyperband); ``min_trials``: so many others must have come as far (median).
    """

    name: str = "none"
    grace_epochs: int = Field(default=1, ge=1)
    reduction: int = Field(default=3, ge=2)
    min_trials: int = Field(default=3, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class NamedConfiguration(BaseModel):
    """A configuration to begin a method's search with: its settings stand beside these keys."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    method: str
    name: str = Field(default="", max_length=200)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters and training settings given in the file."""
        return dict(self.__pydantic_extra__ or {})


class SensitivitySweep(SparseSection):
    """One hyper-parameter of a method, or a training setting, over a list of values."""

    method: str
    parameter: str
    values: list[Any] = Field(min_length=1, max_length=1_000)
    seeds: int | None = Field(default=None, ge=1, le=MAX_SEEDS)


class Population(SparseSection):
    """Population-based training of scalarisation weights (:mod:`sweeps.phases.population`).

    ``size`` members train, by default as many as a method has search trials; after each
    ``interval`` epochs the worst share ``quantile`` go on from the best ones, with weights that
    ``explore`` draws: ``pbt`` perturbs theirs by ``noise`` or, with probability ``resample``, draws
    from the whole simplex; ``pb2`` asks a Gaussian process.
    ``seeds``: how often the best course of weights is replicated, by default as often as every
    method.
    """

    label: Annotated[str, AfterValidator(check_label)] = "pbt"
    explore: Literal["pbt", "pb2"] = "pbt"
    size: int | None = Field(default=None, ge=2, le=10_000)
    interval: int = Field(default=1, ge=1)
    quantile: float = Field(default=0.25, gt=0.0, le=0.5)
    noise: float = Field(default=0.2, gt=0.0, le=2.0)
    resample: float = Field(default=0.25, ge=0.0, le=1.0)
    seeds: int | None = Field(default=None, ge=1, le=MAX_SEEDS)


class MlflowServer(SparseSection):
    """Where MLflow keeps runs: ``mlflow.db`` in the results folder, or the server ``uri``."""

    uri: Annotated[str | None, BeforeValidator(check_server)] = None


class Trackers(SparseSection):
    """Other tools that trials are written to as they end (:mod:`sweeps.folder.trackers`)."""

    tensorboard: bool = False
    mlflow: Annotated[MlflowServer | None, BeforeValidator(lambda value: _switch(value))] = None


def _switch(value: Any) -> Any:
    """``true`` for a section with its defaults, ``false`` for none."""
    if value is True:
        return {}
    return None if value is False else value


class Study(Section):
    """A study: one problem, one protocol, several methods, and the phases that compare them.

    Phases run in the order baselines, search (``budget``), replicate, fixed_weights, weight_sweep,
    sensitivity, population; a phase that is not in the file is not run.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = Field(default="", max_length=2_000)
    problem: ProblemChoice
    protocol: Protocol = Protocol()
    search_space: SearchSpace = SearchSpace()
    methods: list[MethodChoice] = Field(min_length=1, max_length=1_000)
    budget: Budget | None = None
    baselines: Annotated[Baselines | None, BeforeValidator(_switch)] = None
    replicate: Replicate | None = None
    fixed_weights: FixedWeights | None = None
    weight_sweep: WeightSweep | None = None
    sensitivity: Annotated[list[SensitivitySweep] | None, Field(min_length=1, max_length=1_000)] = (
        None
    )
    population: Annotated[Population | None, BeforeValidator(_switch)] = None
    selection: str = "delta_mtm"
    objectives: Annotated[list[str] | None, Field(min_length=1, max_length=10)] = None
    start_from: Literal["papers"] | list[NamedConfiguration] | None = None
    scheduler: Scheduler | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)
    sampler: Sampler = Sampler()
    resources: Resources = Resources()
    mirror: Annotated[str | None, BeforeValidator(check_mirror)] = None
    trackers: Trackers | None = None
