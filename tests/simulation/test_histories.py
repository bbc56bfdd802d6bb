"""The whole control plane on virtual time: whatever goes wrong, the rules hold, after each step and at rest.

A history is storms of orders and faults, rest, and quiet hours; its seed is all that it takes to have it again:
`AH_SIMULATION=7 bin/test embedded -k goes_wrong -- tests/simulation`. `bin/test` lives through other ones each time.
"""

import itertools
import random
from collections.abc import Iterable

import pytest

from tests.simulation.history import ASKED, live
from tests.simulation.machine import Broke
from tests.simulation.mutations import MUTATIONS

HOURS, MANY_HOURS = 500, 10_000
SEEDS = 10**6
TRIES = 40  # histories until a mutation has to be caught
SHORT = {"rounds": 1, "quiet_h": (0, 0)}


def live_for(hours: float, seeds: Iterable[int]) -> None:
    """One history after the other, until it was so long; or the one that was asked for."""
    lived = 0.0
    for seed in [int(ASKED)] if ASKED else seeds:
        lived += live(seed).hours
        if lived >= hours:
            return


@pytest.mark.embedded
def test_whatever_goes_wrong_the_rules_hold(pytestconfig: pytest.Config) -> None:
    drawn_by = random.Random(pytestconfig.getoption("--sample", ""))
    live_for(HOURS, iter(lambda: drawn_by.randrange(SEEDS), -1))


@pytest.mark.long
def test_whatever_goes_wrong_the_rules_hold_for_a_year() -> None:
    live_for(MANY_HOURS, itertools.count(random.SystemRandom().randrange(SEEDS)))


@pytest.mark.embedded
def test_a_seed_is_one_history() -> None:
    assert live(1, **SHORT).told == live(1, **SHORT).told


@pytest.mark.embedded
@pytest.mark.sampled(of=6)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_bug_that_a_rule_forbids_is_caught(name: str) -> None:
    mutation = MUTATIONS[name]
    for seed in range(TRIES):
        try:
            live(seed, **SHORT, mutate=mutation.make)
        except Broke as broke:
            assert broke.rule in mutation.caught_by, broke
            return
    raise AssertionError(f"{TRIES} histories with {name} broke no rule")
