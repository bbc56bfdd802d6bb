"""Lets pytest explain the assertions of the contracts, which are no test modules of their own."""

import pytest

pytest.register_assert_rewrite("tests.engines.contract", "tests.engines.pipe_contract", "tests.engines.router_contract")
