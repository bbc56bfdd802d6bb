"""What a server that was killed left of builds goes with the next start."""

import secrets
from pathlib import Path

import pytest

from ahplat.builders.blobs import Blobs
from ahplat.builders.builder import Bounds
from ahplat.builders.buildkit import BuildKitBuilder
from ahplat.builders.registry import Registry

GONE, THERE = "a" * 32, "b" * 32
WANTED, LEFT = "c" * 32, "d" * 32


async def test_what_was_left_of_builds_and_of_tenants_that_are_gone_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # without its programs a builder has nothing to end
    for folder in (f"buildkit/{GONE}/root", f"buildkit/{THERE}/root", f"builds/{WANTED}", f"builds/{LEFT}"):
        (tmp_path / folder).mkdir(parents=True)
    builder = BuildKitBuilder(tmp_path, secrets.token_hex(16), Registry("127.0.0.1:1", Blobs(None)), True, Bounds())
    await builder.sweep([WANTED], {GONE, "e" * 32}.__contains__)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == [THERE, WANTED]
