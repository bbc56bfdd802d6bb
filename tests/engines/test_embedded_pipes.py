"""Commands beside an embedded instance whose stdin and stdout are streams keep the contract."""

import pytest

from tests.engines.on_processes import Processes
from tests.engines.pipe_contract import StreamingPipeContract

pytestmark = pytest.mark.embedded


class TestEmbeddedPipes(Processes, StreamingPipeContract):
    """See the module."""
