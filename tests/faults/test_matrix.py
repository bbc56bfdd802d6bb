"""The table of effects, points and faults leaves nothing out, and the README has it as the code makes it."""

from pathlib import Path

import pytest

from ahplat.crashpoints import POINTS
from ahplat.effects.catalog import EFFECTS
from events.event import Intent, wire_name
from tests.faults import (
    kills,
    matrix,
    test_engine_faults,
    test_kills_builds,
    test_kills_databases,
    test_kills_services,
    test_kills_tenants,
)
from tests.faults.stories import STORIES
from tests.real.platform import test_crash_matrix

README = Path(__file__).parents[2] / "README.md"
KILLS = (test_kills_services, test_kills_tenants, test_kills_builds, test_kills_databases)


def test_each_effect_has_a_story_that_brings_its_intent_about() -> None:
    assert STORIES.keys() == EFFECTS.keys()


def test_each_cell_is_tried_or_says_why_not() -> None:
    killed = {*(intent for module in KILLS for intent in module.INTENTS), *test_crash_matrix.INTENTS}
    tried = {matrix.Cell(intent, point, "SIGKILL") for intent in killed for point in kills.points_of(intent)}
    tried |= set(test_engine_faults.CELLS)
    for cell in matrix.cells():
        assert (cell in tried) != bool(matrix.why_not(cell)), f"{cell.id} has no test and no reason, or both"


def test_each_effect_is_killed_on_one_engine_or_the_other() -> None:
    embedded = [intent for module in KILLS for intent in module.INTENTS]
    assert len(embedded) == len(set(embedded))
    assert {*embedded, *matrix.ON_DOCKER} == EFFECTS.keys()
    assert matrix.ON_DOCKER.keys() <= set(test_crash_matrix.INTENTS)


def test_there_is_a_cell_for_each_effect_and_point_that_the_code_knows() -> None:
    assert {(cell.intent, cell.point) for cell in matrix.cells()} == {
        (one, point) for one in EFFECTS for point in POINTS
    }
    assert sorted(kills.ORDER) == sorted(POINTS)


def test_an_effect_that_is_new_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    class CatFed(Intent, frozen=True, tag="cat.fed"):
        """Somebody added this."""

    monkeypatch.setitem(EFFECTS, CatFed, next(iter(EFFECTS.values())))
    for test in (test_each_effect_has_a_story_that_brings_its_intent_about, test_each_cell_is_tried_or_says_why_not):
        with pytest.raises(AssertionError):
            test()
    assert wire_name(CatFed) in matrix.table()


def test_the_readme_has_the_table_as_the_code_makes_it() -> None:
    assert matrix.table() in README.read_text(), "put there what `python -m tests.faults.matrix` prints"
