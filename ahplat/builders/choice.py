"""Which builder makes images here: the one that fits the engine."""

from ahplat.builders.blobs import Blobs
from ahplat.builders.builder import Bounds, Builder
from ahplat.builders.buildkit import BuildKitBuilder
from ahplat.builders.embedded import EmbeddedBuilder
from ahplat.builders.registry import Registry
from ahplat.config import Config


async def choose_builder(config: Config, engine: str, installation: str) -> Builder:
    """BuildKit for Docker, folders for the embedded engine."""
    if engine == "docker":
        isolated = config.build_isolation == "gvisor"
        bounds = Bounds(config.build_memory_mb, config.build_cpu_milli, config.build_nameservers)
        registry = Registry(config.registry, Blobs(config.registry_config))
        return BuildKitBuilder(config.data_dir, installation, registry, isolated, bounds)
    return EmbeddedBuilder(config.data_dir)
