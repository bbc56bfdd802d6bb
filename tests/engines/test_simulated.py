"""The simulated engine keeps the contract, and lets one down exactly as it was told to."""

import asyncio
from collections.abc import Callable

import pytest

from ahplat.engines.engine import Engine, Image, Instance, Network
from ahplat.errors import EngineAway, Rejected
from tests.engines.belongings_contract import BelongingsContract
from tests.engines.contract import Ask, EngineContract, SpecFor, close, never
from tests.engines.counters_contract import CountersContract
from tests.engines.pipe_contract import ECHOING, FAILING, SLEEPING, PipeContract
from tests.engines.simulated import Behaviour, Ran, SimulatedEngine, SimulatedHost

REFERENCE = "ah/hello"
IMAGES = {
    REFERENCE: Behaviour(output=("listening",)),
    "ah/crash": Behaviour(output=("one", "two", "three"), exit_code=3),
    "ah/deaf": Behaviour(output=("not listening",), deaf=True),
}
TALKING = ("sh", "-c", "echo out; echo err >&2; exit 7")


class TestSimulatedEngine(EngineContract, PipeContract, CountersContract, BelongingsContract):
    @pytest.fixture
    def host(self) -> SimulatedHost:
        host = SimulatedHost()
        host.images |= IMAGES
        host.commands[TALKING] = Ran(7, b"out\n", b"err\n")
        host.commands |= {SLEEPING: Ran(None), ECHOING: Ran(echo=True), FAILING: Ran(3, b"half\n", b"why\n")}
        return host

    @pytest.fixture
    def engine(self, host: SimulatedHost, network: Network) -> SimulatedEngine:
        return SimulatedEngine(network.instance, host)

    @pytest.fixture
    def stranger(self, host: SimulatedHost) -> SimulatedEngine:
        return SimulatedEngine("stranger", host)

    @pytest.fixture
    def comeback(self, host: SimulatedHost, network: Network) -> Callable[[], Engine]:
        return lambda: SimulatedEngine(network.instance, host)

    @pytest.fixture
    def reference(self) -> str:
        return REFERENCE

    @pytest.fixture
    async def image(self, engine: SimulatedEngine) -> Image:
        return await engine.fetch(REFERENCE, never)

    @pytest.fixture
    async def crashing_image(self, engine: SimulatedEngine) -> Image:
        return await engine.fetch("ah/crash", never)

    @pytest.fixture
    async def hanging_image(self, engine: SimulatedEngine) -> Image:
        return await engine.fetch("ah/deaf", never)

    @pytest.fixture
    def ask(self, host: SimulatedHost) -> Ask:
        async def answer(instance: Instance) -> str:
            return str(host.env[instance.id])

        return answer

    async def test_a_lost_reply_did_its_deed(self, engine: SimulatedEngine, image: Image, spec_for: SpecFor) -> None:
        engine.lose_reply("find_or_start")
        with pytest.raises(EngineAway):
            await engine.find_or_start(spec_for(), image)
        [there] = await engine.list()
        assert await engine.find_or_start(spec_for(), image) == there

    async def test_an_error_did_nothing(self, engine: SimulatedEngine, image: Image, spec_for: SpecFor) -> None:
        engine.fail("find_or_start", Rejected("name_taken", "a lie"))
        with pytest.raises(Rejected):
            await engine.find_or_start(spec_for(), image)
        assert await engine.list() == []
        assert (await engine.find_or_start(spec_for(), image)).state == "running"

    async def test_an_engine_that_is_away_says_so(self, engine: SimulatedEngine) -> None:
        engine.away = True
        assert not (await engine.status()).available
        with pytest.raises(EngineAway):
            await engine.list()

    async def test_lag_is_slept_on_the_given_clock(self, host: SimulatedHost) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        engine = SimulatedEngine("one", host, sleep)
        engine.lag_s["fetch"] = 90
        await engine.fetch(REFERENCE, never)
        await engine.list()
        assert slept == [90]

    async def test_a_tag_moves_and_a_digest_does_not(
        self, engine: SimulatedEngine, host: SimulatedHost, image: Image
    ) -> None:
        host.retag(REFERENCE, Behaviour(version="2"))
        assert (await engine.fetch(REFERENCE, never)).digest != image.digest
        assert (await engine.fetch(image.pinned, never)).digest == image.digest

    async def test_hints_can_come_twice_and_out_of_order(self, engine: SimulatedEngine) -> None:
        hints = engine.watch()
        first = asyncio.ensure_future(anext(hints))
        await asyncio.sleep(0)
        for service in ("b", "a", "b"):
            engine.hint(service)
        assert [await first, await anext(hints), await anext(hints)] == ["b", "a", "b"]
        await close(hints)
