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

    >>> plan_lines({"events": [{"type": "service.deleted"}], "quota": {"services": {"used": 4, "max": 5}}, "version": 7,
    ...             "destroys": [{"resource_type": "service", "resource_id": "1", "name": "web"}]})
    ['would record service.deleted', 'would destroy service web (1)', 'used after it: services 4 of 5', 'seen at version 7']
    """
    lines = [f"would record {event['type']}" for event in plan.get("events", [])] or ["would change nothing"]
    lines += [
        f"would destroy {one['resource_type']} {one.get('name', '')} ({one['resource_id']})".replace("  ", " ")
        for one in plan.get("destroys", [])
    ]
    if quota := plan.get("quota"):
        counted = {name: held for name, held in quota.items() if isinstance(held, dict)}
        held = [f"{name} {held['used']} of {held['max']}" for name, held in counted.items()]
        held += [f"{name} {quota[f'used_{name}']} of {most}" for name, most in quota.items() if f"used_{name}" in quota]
        lines.append("used after it: " + ", ".join(held))
    if plan.get("version"):
        lines.append(f"seen at version {plan['version']}")
    return lines
