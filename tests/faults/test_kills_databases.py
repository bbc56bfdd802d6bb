"""SIGKILL at each point of what is done about databases and their backups: Postgres, where its programs are on the PATH."""

import os
import shutil

import pytest

from ahplat.engines import embedded, program_image
from events.event import Intent
from tests.faults.harness import Server
from tests.faults.kills import kill_at_each_point, named, of_noun
from tests.faults.test_embedded_postgres import NO_ROOT

pytestmark = pytest.mark.embedded

INTENTS = of_noun("database", "database_backup")

HAVE = all(
    shutil.which(program, path=program_image.searched(embedded.PATH)) for program in program_image.PROGRAMS["postgres"]
)

if HAVE:

    @pytest.mark.parametrize("intent", INTENTS, ids=named)
    def test_servers_that_are_killed_at_each_point_are_followed_by_one_that_ends_it(
        server: Server, api_key: str, intent: type[Intent]
    ) -> None:
        server.runs_by = NO_ROOT if os.geteuid() == 0 else ()
        kill_at_each_point(server, api_key, intent)
