"""What a route answered as a tool's result: a function of values.

The invariant: `structuredContent` of a success is what `schemas.result_of` says, of a refusal the problem as REST has it;
and the text says the same to a model that sees nothing else.
"""

from collections.abc import Mapping
from typing import Any, get_origin
from urllib.parse import parse_qsl

import msgspec

from ahplat import limits
from ahplat.api.inside import Answered
from ahplat.api.problems import PROBLEMS
from ahplat.api.route import Route
from ahplat.mcp.schemas import AFTER, DRY_RUN
from ahplat.mcp.tools import Look, Tool

Result = dict[str, Any]


def succeeded(
    tool: Tool, route: Route, arguments: dict[str, Any], answer: Answered, known: Mapping[str, str]
) -> Result:
    """The result of a call that was answered with 2xx. `known` is what is known of a command beside its answer."""
    if route.answer is None and route.events is not None:
        found = _lines(tool, route, arguments, answer)
    else:
        value = msgspec.json.decode(answer.body) if answer.body else {}
        found = _placed(tool, route, arguments, value, answer.headers, known)
    texts = [msgspec.json.encode(found).decode()]
    if tool.look and "next" in found:
        texts.append(f"It goes on by itself. To see how it went, call {_told(found['next'])}.")
    return {"content": [_text(text) for text in texts], "structuredContent": found, "isError": False}


def _placed(
    tool: Tool,
    route: Route,
    arguments: dict[str, Any],
    value: Any,
    headers: Mapping[str, str],
    known: Mapping[str, str],
) -> Result:
    if route.is_command and arguments.get(DRY_RUN) is True:
        return {"plan": value}
    if get_origin(route.answer) is list:
        return {"items": value, **_following(tool, arguments, headers.get("Link", ""))}
    if not route.is_command:
        return dict(value)
    found = {**value, **known, "event_position": int(headers.get("Event-Position", "0"))}
    if "Idempotency-Replayed" in headers:
        found["replayed"] = True
    if tool.look and (call := _look(tool.look, {**arguments, **found})):
        found["next"] = call
    return found


def _following(tool: Tool, arguments: dict[str, Any], link: str) -> Result:
    """The call for the next part of a list, as `Link: rel=next` has it."""
    if not link:
        return {}
    query = dict(parse_qsl(link.partition("?")[2].partition(">")[0]))
    place = {name: query[name] for name in ("cursor", AFTER) if name in query}
    kept = {name: value for name, value in arguments.items() if name not in ("cursor", AFTER)}
    return {"next": {"tool": tool.name, "arguments": {**kept, **place}}}


def _look(look: Look, found: Mapping[str, Any]) -> Result | None:
    """The call that tells what became of a command; None where it began nothing."""
    if any(field not in found for field in look.ids.values()):
        return None
    ids = {name: found[field] for name, field in look.ids.items()}
    return {"tool": look.tool, "arguments": ids | ({"wait": look.wait, "timeout": limits.WAIT_S} if look.wait else {})}


# lines of a stream


def _lines(tool: Tool, route: Route, arguments: dict[str, Any], answer: Answered) -> Result:
    """What came over a stream of server-sent events; of an answer that was cut, what came whole."""
    lines: list[Any] = []
    last, ended = str(arguments.get(AFTER, "")), ""
    for frame in answer.body.split(b"\n\n")[:-1]:
        id_, event, data = _fields(frame.decode())
        last = id_ or last
        if event == "line":
            lines.append(data if route.events is str else msgspec.json.decode(data))
        elif event == "end":
            end = msgspec.json.decode(data)
            ended = end.get("status") or end["reason"].removeprefix("end")  # which is only that of what there is
    kept = {name: value for name, value in arguments.items() if name != AFTER}
    following = {**kept, **({AFTER: last} if last else {})}
    found: Result = {"lines": lines, "next": {"tool": tool.name, "arguments": following}}
    return found | ({"ended": ended} if ended and not answer.cut else {})


def _fields(frame: str) -> tuple[str, str, str]:
    """(id, event, data) of one frame.

    >>> _fields("id: 7\\nevent: line\\ndata: a\\ndata: b")
    ('7', 'line', 'a\\nb')
    """
    found: dict[str, list[str]] = {"id": [], "event": [], "data": []}
    for line in frame.split("\n"):
        name, _, value = line.partition(": ")
        if name in found:
            found[name].append(value)
    return "".join(found["id"]), "".join(found["event"]), "\n".join(found["data"])


# what was refused


def refused(problem: dict[str, Any], tools: Mapping[tuple[str, str], str]) -> Result:
    """The result of a call that was refused. `tools` are their names by method and path, for what to do next."""
    code = str(problem["code"])
    what = f"{problem['title']}: {problem['detail']}"
    remedy = PROBLEMS[code].remediation
    tool = tools.get((remedy.method, remedy.path))
    to_do = f"What to do: {remedy.why}" + (f". Tool: {tool}" if tool else "")
    texts = [what, to_do]
    if problem["retryable"]:
        after_s = problem.get("retry_after_s")
        texts.append("The same call can succeed later" + (f", in {after_s} s." if after_s else "."))
    return {"content": [_text("\n".join(texts))], "structuredContent": problem, "isError": True}


def _told(call: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value}" for name, value in call["arguments"].items())
    return f"{call['tool']}({given})"


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
