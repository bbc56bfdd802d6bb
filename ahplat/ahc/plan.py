"""What a dry run says, for people: the events that would be, what would be destroyed, what would be left of the quota."""

from typing import Any

from ahplat.ahc.screen import Screen


def show_plan(screen: Screen, method: str, path: str, plan: Any, then: str = "") -> None:
    """Shows the server's answer to a command with `?dry_run=true`; `then` is what would follow it."""
    if screen.as_json:
        screen.document({**plan, "then": then} if then else plan)
        return
    screen.line(f"plan for {method} {path} (nothing was changed)", "bold")
    for line in plan_lines(plan):
        screen.line(f"  {line}")
    if then:
        screen.line(f"  then: {then}")


def plan_lines(plan: Any) -> list[str]:
    """One line for each thing.

    >>> plan_lines({"events": [{"stream": "service-1", "type": "service.deleted", "data": {}}], "version": 7,
    ...             "destroys": [{"resource_type": "service", "resource_id": "1", "name": "web"}], "quota": {"services": 4}})
    ['would record service.deleted', 'would destroy service web (1)', 'left: services 4', 'computed at version 7']
    """
    lines = [f"would record {event['type']}" for event in plan.get("events", [])] or ["would change nothing"]
    lines += [
        f"would destroy {one['resource_type']} {one.get('name') or ''} ({one['resource_id']})"
        for one in plan.get("destroys", [])
    ]
    if quota := plan.get("quota"):
        lines.append("left: " + ", ".join(f"{name} {_amount(left)}" for name, left in quota.items()))
    if plan.get("version"):
        lines.append(f"computed at version {plan['version']}")
    return lines


def _amount(left: Any) -> str:
    if isinstance(left, dict):
        return "/".join(str(value) for value in left.values())
    return str(left)
