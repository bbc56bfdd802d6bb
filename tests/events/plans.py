"""How SQLite goes about a query: what a function asks is caught on its way and explained."""

from collections.abc import Callable
from typing import Any

import apsw


def plans(db: apsw.Connection, call: Callable[[], Any]) -> list[str]:
    """The steps of SQLite's plan for everything that `call` asks of `db`.

    "SEARCH x USING INDEX y (…)" is good; "SCAN x" reads all of it, "USE TEMP B-TREE" sorts.
    """
    asked: list[tuple[str, Any]] = []

    def traced(cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        asked.append((sql, bindings))
        return True

    db.exec_trace = traced
    try:
        call()
    finally:
        db.exec_trace = None
    assert asked, "nothing was asked"
    return [row[3] for sql, bindings in asked for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]


def reading_everything(steps: list[str]) -> list[str]:
    """The steps that take longer the more there is: whole tables, and sorting."""
    return [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step]
