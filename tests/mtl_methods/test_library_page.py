"""The code of docs/library.md and of the README's loops runs as it is written."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from mtl_methods import Method, Need, make_method

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
PRELUDE = "from mtl_methods import make_method\n"


def title(block):
    return re.sub(r"\W+", "_", block.strip().splitlines()[0])[:40]


@pytest.mark.parametrize("block", BLOCKS[1:], ids=title)
def test_a_block_runs_after_the_first_one(block, caplog):
    names = {"__name__": "page"}
    random = torch.get_rng_state()
    try:
        exec(compile(BLOCKS[0] + PRELUDE, "library.md", "exec"), names)  # ours, from this checkout
        start = {name: p.detach().clone() for name, p in names["model"].named_parameters()}
        exec(compile(block, "library.md", "exec"), names)
    finally:
        torch.set_rng_state(random)
    assert not caplog.records
    written = any(p.grad is not None for p in names["model"].parameters())
    moved = any(not torch.equal(p, start[name]) for name, p in names["model"].named_parameters())
    assert written or moved
    if "optimizer.step()" in block or "scaler.step" in block:
        assert moved


def test_every_need_is_on_the_page():
    assert len(BLOCKS) > 10
    for need in Need:
        assert f"`{need.name}`" in PAGE, need
    for word in (
        "closure=",
        "named_parameters=",
        "lr=",
        "extra_losses=",
        "feature_dim=",
        "attach(",
    ):
        assert any(word in block for block in BLOCKS), word
    for argument in inspect.signature(Method.backward).parameters:
        if argument not in ("self", "extra"):
            assert argument in PAGE, argument


def test_what_the_page_says_of_waiting_for_an_epoch():
    for name, options in re.findall(r"`(\w+=\"\w+\")` of\s+`(\w+)`", PAGE):
        key, value = name.replace('"', "").split("=")
        assert make_method(options, **{key: value}).awaits_epoch
        assert not make_method(options).awaits_epoch


def test_the_readme_says_where_the_page_is_and_when_epochs_end():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/library.md)" in readme
    first = re.search(r"^## Methods in your own loop\n+```python\n(.*?)^```$", readme, re.M | re.S)
    assert first is not None
    assert "method.end_epoch(" in first.group(1)
    compile(first.group(1), "README.md", "exec")
