"""What every engine must say of what its instances use."""

from ahplat.engines.engine import Engine, Image
from tests.engines.contract import Ask, EngineFixtures, SpecFor


class CountersContract(EngineFixtures):
    """A test module derives a class from this and gives the fixtures of `EngineContract` that are used here."""

    async def test_what_runs_tells_what_it_uses(
        self, engine: Engine, image: Image, spec_for: SpecFor, ask: Ask
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        await ask(started)
        found = await engine.counters([started.id, "nobody"])
        assert found.keys() == {started.id}
        assert found[started.id].cpu_us > 0
        assert found[started.id].memory_bytes > 0
        await ask(started)
        later = (await engine.counters([started.id]))[started.id]
        assert later.cpu_us >= found[started.id].cpu_us
        assert later.rx_bytes >= found[started.id].rx_bytes
        assert later.tx_bytes >= found[started.id].tx_bytes
        await engine.stop(started.id, 10)
        assert await engine.counters([started.id]) == {}
