"""What every engine must show of what says that it is this installation's."""

from ahplat.engines.engine import Belonging, Engine, Image, Volume
from tests.engines.contract import EngineFixtures, SpecFor


class BelongingsContract(EngineFixtures):
    """A test module derives a class from this and gives the fixtures of `EngineContract` that are used here."""

    async def test_all_that_is_ours_is_shown_and_nothing_of_another_installation(
        self, engine: Engine, stranger: Engine, image: Image, spec_for: SpecFor, volume: Volume
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        server = await engine.find_or_start(spec_for("db", service="", deployment="", database="base"), image)
        await engine.stop(server.id, 0)
        await engine.ensure_volume(volume)
        shown = [one for one in await engine.belongings() if one.kind != "network"]
        assert sorted(shown, key=lambda one: (one.kind, one.subject == "base")) == [
            Belonging("container", started.name, volume.tenant, started.identity.service),
            Belonging("container", server.name, volume.tenant, "base"),
            Belonging("volume", volume.name, volume.tenant),
        ]
        assert [one for one in await stranger.belongings() if one in shown] == []
        await engine.remove_volume(volume)
        await engine.remove(started.id)
        await engine.remove(server.id)
        assert [one.name for one in await engine.belongings() if one.kind != "network"] == []
