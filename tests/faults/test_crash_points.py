"""SIGKILL at every named point of a deploy's effects, while agents go on asking: nothing is lost, nothing comes twice."""

import signal
from contextlib import suppress

import pytest

from events.services import ServiceDeployRequested
from tests.faults.agents import Agent, check_acknowledged
from tests.faults.harness import Server

pytestmark = pytest.mark.embedded

# 1 deploy, 2 route, 3 drain of the first deployment; then the same of the second, where there is something to drain. Where
# the first's drain was still to come the second does it too: five outcomes are certain, six are not
CASES = [
    f"{point}:{n}" for point in ("after-intent", "after-attempt", "after-effect", "after-outcome") for n in (1, 2, 3)
]
CASES += ["after-attempt:4", "after-effect:4", "after-effect:5", "after-outcome:5"]
CASES += [f"between-commits:{n}" for n in (1, 2, 5, 12)]
NOISE = 2


def deploys(agent: Agent) -> None:
    """A service, and once it runs the same again."""
    service = agent.order("POST", "/v1/services", {"name": "web", "image": "ah/hello", "env": {"A": "1"}})
    path = f"/v1/services/{service['id']}"
    while agent.look(f"{path}?wait=running&timeout=5")["status"] != "running":
        pass
    deployment = agent.order("POST", f"{path}/deploy", {"image": "ah/hello"})
    while agent.look(f"{path}/deployments/{deployment['id']}?wait=running&timeout=5")["status"] != "running":
        pass


def sets_variables(agent: Agent) -> None:
    """Commands without effects, one after the other, until somebody says that it is enough."""
    service = agent.order("POST", "/v1/services", {"name": agent.name})
    with suppress(AssertionError):
        for n in range(100):
            if agent.give_up.wait(0.005):
                return
            agent.order("POST", f"/v1/services/{service['id']}/env", {f"V{n % 20}": str(n)})


@pytest.mark.parametrize("crash_at", CASES)
def test_a_server_that_is_killed_there_is_followed_by_one_that_goes_on(
    server: Server, api_key: str, crash_at: str
) -> None:
    server.start(crash_at)
    deployer = Agent(server, "deployer", api_key).begin(deploys)
    others = [Agent(server, f"noise{n}", api_key).begin(sets_variables) for n in range(NOISE)]
    assert server.wait() == -signal.SIGKILL, "it never came to the crash point"
    server.start()
    deployer.join()
    for agent in others:
        agent.give_up.set()
        agent.join()
    server.settled(api_key)
    check_acknowledged(server, [deployer, *others])
    check_one_instance(server, deployer)
    assert server.end() == 0
    server.check_files()


def check_one_instance(server: Server, deployer: Agent) -> None:
    """Exactly one instance runs: the second deployment's, with one shim and one program."""
    asked = [event for _, event in server.events if isinstance(event, ServiceDeployRequested)]
    assert [event.number for event in asked] == [1, 2]
    (name,) = server.instances
    assert name.endswith("-2-1")
    assert len(server.processes) == 2, server.processes
    (web,) = (row for row in deployer.look("/v1/services") if row["name"] == "web")
    assert web["status"] == "running"
    answer = server.ask("GET", "/", Host=web["url"].removeprefix("http://"))
    assert answer.status == 200
    assert web["deployment_id"] in answer.body.decode()
