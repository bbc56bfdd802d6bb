"""The same log gives the same views, bit for bit, in every process."""

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.given import INSTALLATION, World
from tests.projections.story import tell

FOLD = """
import sys
from pathlib import Path
from events.database import open_reader
from projections.views import digests, open_views
log = open_reader(Path(sys.argv[1]))
views = open_views(Path(sys.argv[2]), log, sys.argv[3], lambda done, of: None)
print(digests(views.db))
"""


def folded(world: World, name: str, seed: str) -> str:
    """What another process makes of the log, by its digests."""
    done = subprocess.run(
        [sys.executable, "-c", FOLD, world.log.path, world.folder / name, INSTALLATION],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2]), "TZ": f"UTC+{seed}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_two_processes_with_other_hash_seeds_fold_the_same(world: World) -> None:
    tell()
    one, other = folded(world, "one.db", "1"), folded(world, "other.db", "2")
    assert one == other == str(world.digests())
