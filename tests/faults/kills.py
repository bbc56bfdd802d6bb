"""One story on a real server on the embedded engine, which is killed at each point of one intent, one after another.

The first server dies between the commits that make the intent known. Each of its successors finds it open and dies one
point further: before the attempt, after it was recorded, after the deed, after the outcome. The last one lives. Meanwhile
agents of another tenant set variables; what was acknowledged to anybody is looked for in the end.
"""

import json
import os
import signal
from contextlib import suppress
from typing import Any

from events.event import Intent, wire_name
from tests.faults import matrix
from tests.faults.agents import STAYS_S, Agent, check_repeats, history_of
from tests.faults.harness import Server, eventually
from tests.faults.history import faults
from tests.faults.stories import STORIES, Stage

ORDER = ("between-commits", "after-intent", "after-attempt", "after-effect", "after-outcome")  # as they are come to
TOKEN = "t" * 40
OPERATOR = {"X_Bootstrap_Token": TOKEN}
NOISE = 2


def of_noun(*nouns: str) -> list[type[Intent]]:
    """The intents about these whose cells are tried on the embedded engine."""
    tried = dict.fromkeys(cell.intent for cell in matrix.tried("SIGKILL") if cell.intent not in matrix.ON_DOCKER)
    return [intent for intent in tried if wire_name(intent).partition(".")[0] in nouns]


def named(intent: type[Intent]) -> str:
    """What a case is called."""
    return wire_name(intent)


def sets_variables(agent: Agent) -> None:
    """Commands without effects and reads, one after the other, until somebody says that it is enough."""
    path = f"/v1/services/{agent.order('POST', '/v1/services', {'name': agent.name})['id']}"
    with suppress(AssertionError):
        for n in range(400):
            if agent.give_up.wait(0.02):
                return
            agent.order("POST", f"{path}/env", {f"V{n % 20}": str(n)})
            agent.look(path)


def stage_on(server: Server, headers: dict[str, str], **differs: Any) -> Stage:
    """A tenant of its own for the story; `differs` are the stage's fields where they are not the embedded engine's."""
    body = {"name": "mover", "email": "mover@example.org"}
    made = eventually(lambda: server.ask("POST", "/v1/tenants/register", body, **headers, **OPERATOR)).json

    def kill(service_id: str) -> None:
        for name in server.instances:
            record = json.loads((server.folder / "run" / name / "instance.json").read_text())
            if record["labels"]["ah.service"] == service_id:
                os.kill(server.instances[name], signal.SIGKILL)

    agent, operator = (
        Agent(server, "mover", made["api_key"], headers),
        Agent(server, "operator", "", headers | OPERATOR),
    )
    return Stage(agent, operator, made["tenant_id"], **({"image": "ah/hello", "kill": kill} | differs))


def points_of(intent: type[Intent]) -> list[str]:
    """Where servers die over it, one after another."""
    return [point for point in ORDER if not matrix.why_not(matrix.Cell(intent, point, "SIGKILL"))]


def kill_at_each_point(
    server: Server, api_key: str, intent: type[Intent], headers: dict[str, str] | None = None, **differs: Any
) -> None:
    """See the module. `api_key` is the other tenant's; `headers` are everybody's."""
    story, number = STORIES[intent]
    name, headers = wire_name(intent), headers or {}
    points = points_of(intent)
    server.start(f"{points[0]}@{name}:{number}", AH_BOOTSTRAP_TOKEN=TOKEN)
    stage = stage_on(server, headers, **differs)
    noise = [Agent(server, f"noise{n}", api_key, headers).begin(sets_variables) for n in range(NOISE)]
    stage.agent.begin(lambda _: story(stage))
    for point, following in zip(points, (*points[1:], ""), strict=True):
        ended = eventually(lambda: server.poll() is not None or stage.agent.failure, STAYS_S)
        assert ended is True and server.poll() == -signal.SIGKILL, (point, ended)
        server.start(f"{following}@{name}" if following else "", AH_BOOTSTRAP_TOKEN=TOKEN)
    stage.agent.join()
    for agent in noise:
        agent.give_up.set()
        agent.join()
    noise[0].settled()
    check(server, stage, noise)


def check(server: Server, stage: Stage, noise: list[Agent]) -> None:
    """Nothing is lost, twice or left over; the files hold."""
    agents = [stage.agent, stage.operator, *noise]
    assert all(agent.seen for agent in noise), "nobody read anything whose version is known"
    assert faults(history_of(server, agents, server.running)) == []
    assert not server.strays
    check_repeats(server, noise)
    assert server.end() == 0
    server.check_files()
