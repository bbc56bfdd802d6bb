"""Golden logs, unpacked for a test."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ahplat import durable
from tests.folders import memory_folder
from tests.golden.write import FILES, MASTER_KEY

RELEASES = sorted(path.name for path in Path(__file__).parent.iterdir() if (path / "about.json").exists())


@contextmanager
def unpacked(release: str) -> Iterator[Path]:
    """A data folder as a server of that release left it, without views."""
    with memory_folder() as made:
        data = made / "data"
        data.mkdir(mode=0o700)
        for name in FILES:
            durable.unpack(Path(__file__).parent / release / f"{name}.gz", data / name)
        durable.write(data / "master.key", MASTER_KEY.encode())
        yield data


def about(release: str) -> Any:
    """What is known of it: a tenant's key, and the name of a service."""
    return json.loads((Path(__file__).parent / release / "about.json").read_text())
