"""The files of `deploy/` that look at metrics, as tests read them."""

import json
import re
from typing import Any

from tests.faults.harness import TREE

PROMETHEUS = TREE / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((TREE / "deploy" / "grafana" / "ahplat.json").read_text())
ALERTS = (PROMETHEUS / "alerts.yml").read_text()
_NAME = re.compile(r"\b(?:ahplat|process)_[a-z_]+\b")


def queries() -> list[tuple[str, str]]:
    """(panel, PromQL) of the dashboard, as Grafana sends it for a short while."""
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", "1m"))
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


def names_in(text: str) -> set[str]:
    """The metrics that a query or a file of rules names."""
    return set(_NAME.findall(text))


def series_of(exposition: str) -> set[str]:
    """The names of all series in Prometheus' text format."""
    return {re.split(r"[ {]", line, maxsplit=1)[0] for line in exposition.splitlines() if not line.startswith("#")}
