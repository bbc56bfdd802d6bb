"""The rules of the house hold, and each of them can fail."""

import pytest

from tests.house import rules
from tests.house.rules import MONOPOLIES, RULES, Source

SOURCES = rules.sources()
LONG_FUNCTION = "def long():\n" + "    pass\n" * 60

BAD = [
    ("imports go one way", "events/a.py", "from projections import views"),
    ("imports go one way", "events/a.py", "def f():\n    import ahplat.writer"),
    ("imports go one way", "projections/a.py", "from ahplat.clock import Clock"),
    ("imports go one way", "ahplat/a.py", "from tests.parts import parts"),
    ("programs stand alone", "ahplat/bootstrap.py", "from ahplat import limits"),
    ("programs stand alone", "ahplat/engines/shim.py", "import msgspec"),
    ("programs stand alone", "ahplat/main.py", "from ahplat.engines import shim"),
    ("one module opens database connections", "ahplat/a.py", "import apsw\ndb = apsw.Connection('x')"),
    ("one module opens database connections", "events/log.py", "from apsw import Connection as C\nC('x')"),
    ("one module reads the clock", "ahplat/a.py", "import time\nclock = time.monotonic"),
    ("one module reads the clock", "ahplat/a.py", "from time import time_ns as now\nnow()"),
    ("one module reads the clock", "ahplat/a.py", "from datetime import datetime, UTC\ndatetime.now(UTC)"),
    ("one module reads the clock", "ahplat/a.py", "import asyncio\nasyncio.get_running_loop().time()"),
    ("one module starts processes", "ahplat/a.py", "import subprocess"),
    (
        "one module starts processes",
        "ahplat/a.py",
        "import asyncio\nasync def f():\n    await asyncio.create_subprocess_exec('x')",
    ),
    ("one module starts processes", "ahplat/a.py", "import os\nos.fork()"),
    ("one module starts processes", "events/a.py", "from os import execv"),
    ("one module talks to Docker", "ahplat/effects/a.py", "from docker.errors import NotFound"),
    ("one module talks to Docker", "ahplat/api/a.py", "import docker"),
    ("no sqlite3", "events/database.py", "import sqlite3"),
    ("deciders and projections are pure", "ahplat/commands/a.py", "from ahplat.clock import Clock"),
    ("deciders and projections are pure", "ahplat/commands/a.py", "import uuid"),
    ("deciders and projections are pure", "projections/a.py", "import random"),
    ("deciders and projections are pure", "projections/a.py", "import os\nos.environ['X']"),
    ("deciders and projections are pure", "projections/a.py", "from datetime import date\ndate.today()"),
    ("__init__.py holds a docstring", "events/__init__.py", ""),
    ("__init__.py holds a docstring", "events/__init__.py", "from events.log import EventLog"),
    ("__init__.py holds a docstring", "tests/x/__init__.py", '"""What happened."""\nX = 1'),
    ("modules are short", "ahplat/a.py", "x = 1\n" * 401),
    ("modules are short", "tests/a.py", "x = 1\n" * 501),
    ("functions are short", "ahplat/a.py", LONG_FUNCTION),
    ("functions are short", "ahplat/a.py", "class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    ") + "..."),
]
GOOD = [
    (
        "imports go one way",
        "ahplat/a.py",
        "from events import log\nfrom projections import views\nfrom ahplat import writer",
    ),
    ("imports go one way", "events/a.py", "import ahplatform"),
    ("programs stand alone", "ahplat/bootstrap.py", "import os\nfrom importlib.util import find_spec"),
    (
        "one module opens database connections",
        "projections/a.py",
        "import apsw\ndef f(db: apsw.Connection) -> None: ...",
    ),
    ("one module opens database connections", "events/database.py", "import apsw\napsw.Connection('x')"),
    (
        "one module reads the clock",
        "ahplat/a.py",
        "import time\ndef f(clock):\n    time.sleep(1)\n    return clock.time()",
    ),
    ("one module starts processes", "ahplat/engines/shim.py", "import os\nos.fork()"),
    ("one module talks to Docker", "ahplat/engines/pulls.py", "from docker import APIClient"),
    ("one module talks to Docker", "ahplat/a.py", "from ahplat.engines import docker"),
    ("deciders and projections are pure", "ahplat/effects/a.py", "import random"),
    ("deciders and projections are pure", "projections/a.py", "import os\nos.fspath('x')"),
    ("__init__.py holds a docstring", "events/__init__.py", '"""What happened."""'),
    ("modules are short", "ahplat/a.py", "x = 1\n" * 400),
    ("functions are short", "ahplat/a.py", LONG_FUNCTION.removesuffix("    pass\n")),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_its_rules(rule: str) -> None:
    findings = [finding for source in SOURCES for finding in RULES[rule](source)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_a_rule_finds_what_breaks_it(rule: str, path: str, text: str) -> None:
    assert RULES[rule](Source(path, text))


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_a_rule_lets_pass_what_keeps_it(rule: str, path: str, text: str) -> None:
    assert RULES[rule](Source(path, text)) == []


def test_every_rule_was_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BAD} == set(RULES)


@pytest.mark.parametrize("what", MONOPOLIES)
def test_what_one_module_does_for_all_it_does(what: str) -> None:
    assert any(rules.uses_of(source, MONOPOLIES[what].names) for source in SOURCES if rules.at_home(source, what))


def test_every_program_that_is_exempt_is_there() -> None:
    assert set(rules.PROGRAMS) <= {source.path for source in SOURCES}
