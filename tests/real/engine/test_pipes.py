"""Commands in containers under gVisor whose stdin and stdout are streams keep the contract."""

import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from tests.engines.pipe_contract import StreamingPipeContract

pytestmark = pytest.mark.real


class TestDockerPipes(StreamingPipeContract):
    @pytest.fixture
    async def network(self, engine: DockerEngine, network: Network, installation: str) -> Network:
        return network

    @pytest.fixture
    def image(self, hello: Image) -> Image:
        return hello
