"""A server on processes with one tenant; the parts."""

import pytest

pytest.register_assert_rewrite("tests.faults.harness", "tests.seeing.deployed")

from tests.faults.conftest import api_key as api_key  # noqa: E402 — the rewriting comes before the import
from tests.faults.conftest import registered as registered  # noqa: E402
from tests.faults.conftest import server as server  # noqa: E402
