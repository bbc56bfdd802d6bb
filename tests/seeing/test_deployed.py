"""The alerts and the dashboard of `deploy/`, by themselves."""

import re

from tests.seeing.deployed import ALERTS, DASHBOARD, PROMETHEUS


def test_each_alert_says_what_is_the_matter_and_what_to_do() -> None:
    rules = ALERTS.split("- alert: ")[1:]
    assert len(rules) > 10
    for rule in rules:
        for part in ("expr:", "severity: page", "summary:", "remedy:"):
            assert part in rule or (part.startswith("severity") and "severity: ticket" in rule), rule


def test_each_alert_has_a_case_in_which_it_rings() -> None:
    tried = (PROMETHEUS / "alerts.test.yml").read_text()
    assert set(re.findall(r"- alert: (\w+)", ALERTS)) == set(re.findall(r'alertname="(\w+)"', tried))


def test_each_panel_has_a_place_a_unit_and_says_what_it_shows() -> None:
    panels = DASHBOARD["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len({panel["id"] for panel in panels}) == len(set(places)) == len(panels)
    for panel in panels:
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
