"""What tests of effects put into a world by hand."""

from ahplat.engines.engine import Identity, Instance
from tests.effects.world import World
from tests.engines.simulated import Behaviour


def a_stranger(world: World, name: str) -> Instance:
    """An instance of another installation that holds a name."""
    identity = Identity("stranger", 1, "t", "s", "d", 1, 1, 1, "x", 1)
    return an_instance(world, name, identity)


def an_instance(world: World, name: str, identity: Identity) -> Instance:
    """One that runs, whoever it is."""
    made = Instance(f"{name}.by-hand", name, identity, "running", "10.128.9.9", 8000)
    world.host.instances[made.id] = made
    world.host.behaviours[made.id] = Behaviour()
    return made
