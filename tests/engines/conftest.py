"""Lets pytest explain the assertions of the contract, which is no test module of its own."""

import pytest

pytest.register_assert_rewrite("tests.engines.contract")
