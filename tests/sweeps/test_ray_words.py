"""What Ray prints at length is one sentence on the screen."""

from __future__ import annotations

import logging

import pytest
import ray._private.worker

from sweeps.on_ray.ray_words import messages_to_log

RAYLET = """Raylet is terminated. Termination is unexpected. Last 20 lines of the Raylet logs:
    [state-dump] NodeManager
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RAYLET, "Ray reports: Raylet is terminated."),
        ("1 Workers killed due to memory pressure (OOM), 0 ...", "the machine ran out of memory"),
    ],
)
def test_messages_of_rays_processes_go_to_its_log(
    text: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, list[str]] = {"ray": [], "sweeps": []}
    for name, messages in seen.items():

        def note(message: str, *values: object, to: list[str] = messages) -> None:
            to.append(message % values)

        monkeypatch.setattr(logging.getLogger(name), "warning", note)
    before = ray._private.worker.print_to_stdstream
    with messages_to_log():
        ray._private.worker.print_to_stdstream(
            {"lines": [text], "pid": "raylet", "is_err": False}, ignore_prefix=False
        )
    assert ray._private.worker.print_to_stdstream is before
    assert capsys.readouterr() == ("", "")
    assert expected in seen["sweeps"][0]
    assert "\n" not in seen["sweeps"][0]
    assert seen["ray"] == [text]
