"""Servers for the tests of MCP, as the tests of the HTTP contract have them."""

from tests.api.conftest import acme as acme
from tests.api.conftest import folder as folder
from tests.api.conftest import guarded as guarded
from tests.api.conftest import module_folder as module_folder
from tests.api.conftest import site as site
