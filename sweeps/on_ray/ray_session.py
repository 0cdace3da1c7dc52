"""Starting Ray, or joining a cluster, with the settings that sweeps need.

Ray reads most of its settings from the environment, some of them when it is imported; they are set
for as long as the session lasts. A Ray that is started here listens on the loopback interface only,
with one slot per concurrent trial.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.definition.study import Resources
from sweeps.errors import RunError
from sweeps.on_ray.capacity import available_gpus, capped, local_slots
from sweeps.on_ray.cluster_room import cluster_slots
from sweeps.on_ray.ray_words import messages_to_log

__all__ = ["RaySession", "ray_session"]

logger = logging.getLogger("sweeps")

# Trials pass their data through the object store once; results are small.
_OBJECT_STORE_BYTES = 256 * 2**20
_LOOPBACK = "127.0.0.1"
_TOKEN = secrets.token_hex(32)
_CONNECT_SECONDS = 5.0


@dataclass
class RaySession:
    """A running Ray.

    Attributes:
        slots: How many trials run at once.
        storage: A folder for Ray's own experiment state, which is thrown away.
        abandoned: Set it to leave Ray as it is at the end: to shut it down while Tune still runs
            can abort the process. Ray's processes end by themselves soon after this one.
    """

    slots: int
    storage: Path
    abandoned: bool = False


def environment(pending: int, *, local: bool) -> dict[str, str]:
    """The settings that Ray reads from the environment, see the comments.

    Args:
        pending: How many trials Tune may hold ready beyond the running ones.
        local: Whether Ray is started here.
    """
    settings = {
        # Without it a searcher has one pending trial, and short trials share a single actor.
        "TUNE_MAX_PENDING_TRIALS_PG": str(pending),
        # The ledger is the state; Tune's snapshots would only cost time.
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        # Interrupts are ours.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Opt in to what Ray would otherwise warn about at every start.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    if local:
        # A token of this run's own: nothing is written to the home folder, which may be read-only.
        settings["RAY_AUTH_MODE"] = "token"
        settings["RAY_AUTH_TOKEN"] = _TOKEN
        # Workers at nice 15, Ray's default, lose to everything else on the machine.
        settings["RAY_worker_niceness"] = "0"
        # Bind every server to the loopback interface, as Ray does on macOS and Windows.
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    elif _has_token():
        # Ray only looks for the token it keeps if it is told to.
        settings["RAY_AUTH_MODE"] = "token"
    return settings


def _has_token() -> bool:
    """Whether there is a token for clusters where Ray keeps it."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return True
    return (Path.home() / ".ray" / "auth_token").is_file()


@contextlib.contextmanager
def ray_session(
    resources: Resources, results: Path, address: str | None = None
) -> Iterator[RaySession]:
    """Starts Ray, or joins the cluster at ``address``; leaves it at the end.

    Args:
        resources: What a trial takes and how many run at once.
        results: The results folder; Ray's state lies below it on a cluster, whose nodes share it.
        address: Address of a running cluster; starts a Ray of our own without one.

    Raises:
        StudyError: If this machine has no room for one trial.
        RunError: If Ray cannot be started or reached, or has no room for one trial.
    """
    slots = local_slots(resources) if address is None else resources.concurrent or 1
    with _environment(environment(slots, local=address is None)), messages_to_log():
        import ray

        started = not ray.is_initialized()
        if started:
            _init(resources, slots, address)
        session = RaySession(slots, _storage(results, shared=address is not None))
        try:
            if address is not None:
                session.slots = cluster_slots(resources)
                os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(session.slots)
            sentence = capped(resources, session.slots)
            if sentence is not None:
                logger.warning(sentence)
            logger.info("Ray runs %s with %d slots", _place(address), session.slots)
            yield session
        finally:
            shutil.rmtree(session.storage, ignore_errors=True)
            if started and not session.abandoned:
                ray.shutdown()


def _init(resources: Resources, slots: int, address: str | None) -> None:
    import ray

    try:
        if address is not None:
            _knock(address)
            if os.environ.get("RAY_AUTH_MODE") == "token":
                logger.info("joining with Ray's token (RAY_AUTH_MODE=disabled if it has none)")
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return
        # "local" starts a Ray even where RAY_ADDRESS or an earlier "ray start" points to another.
        ray.init(
            address="local",
            num_cpus=slots * resources.cpus_per_trial,
            num_gpus=available_gpus() if resources.gpus_per_trial else None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()
        what = f"the Ray cluster at {address} cannot be reached" if address else "Ray did not start"
        raise RunError(f"{what}: {reason[0] if reason else type(error).__name__}") from error


def _knock(address: str) -> None:
    """Tries whether anything listens at an address; Ray itself would try for minutes.

    Raises:
        OSError: If not.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _place(address: str | None) -> str:
    import ray

    if address is not None:
        return f"on the cluster at {address}"
    host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return "here, on the loopback interface only" if host == _LOOPBACK else f"here, at {host}"


def _storage(results: Path, *, shared: bool) -> Path:
    if not shared:
        return Path(tempfile.mkdtemp(prefix="fairsweep-ray-"))
    folder = results / ".ray"
    folder.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder))


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Sets environment variables that are not set by the user, and takes them back."""
    ours = {key: value for key, value in settings.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key in ours:
            os.environ.pop(key, None)
