"""What undoes what: each event that a command appends has its row, and each row what it says."""

from ahplat.undo import UNDO, Way
from events.catalog import CATALOG
from events.event import Outcome


def test_each_event_type_has_a_way_or_a_reason() -> None:
    assert set(UNDO) == set(CATALOG.values())
    for kind, row in UNDO.items():
        assert isinstance(row, Way) or len(row) > 10, kind


def test_what_nobody_asks_for_is_the_only_thing_that_shares_a_reason() -> None:
    reasons = [row for kind, row in UNDO.items() if isinstance(row, str) and not issubclass(kind, Outcome)]
    shared = {reason for reason in reasons if reasons.count(reason) > 1}
    assert len(shared) == 1 and all("undo the request" in reason for reason in shared), shared
