"""SIGKILL of the server at no named point, again and again, under agents that go on asking. `AH_SEED` repeats a run."""

import os
import random
import secrets
import signal
import threading
import time

import pytest

from tests.faults.agents import Agent, check_acknowledged
from tests.faults.harness import Server

pytestmark = pytest.mark.embedded

ROUNDS = 6
UP_S = (0.0, 0.6)  # how long a server is left alone, from where it serves


class Lives:
    """The server's lives: killed at a random moment, started again."""

    def __init__(self, server: Server, dice: random.Random) -> None:
        self.server = server
        self.dice = dice
        self.killed_after_s: list[float] = []

    def go_on(self) -> None:
        for _ in range(ROUNDS):
            up_s = self.dice.uniform(*UP_S)
            time.sleep(up_s)
            self.server.end(signal.SIGKILL)
            self.killed_after_s.append(round(up_s, 3))
            if self.dice.random() < 0.3:  # also while it starts
                self.server.launch()
                time.sleep(self.dice.uniform(0.1, 0.4))
                self.server.end(signal.SIGKILL)
            self.server.start()


def keeps_deploying(agent: Agent) -> None:
    service = agent.order("POST", "/v1/services", {"name": agent.name, "image": "ah/hello"})
    path = f"/v1/services/{service['id']}"
    while not agent.give_up.is_set():
        agent.order("POST", f"{path}/env", {"N": str(len(agent.orders))})
        agent.order("POST", f"{path}/deploy", {"image": "ah/hello"})
        agent.look(f"{path}?wait=running&timeout=1")
    while agent.look(f"{path}?wait=running&timeout=5")["status"] != "running":
        pass


def test_a_server_that_is_killed_at_any_moment_loses_nothing_and_does_nothing_twice(
    server: Server, api_key: str
) -> None:
    seed = int(os.environ.get("AH_SEED", "") or secrets.randbelow(10**6))
    print(f"AH_SEED={seed}")
    lives = Lives(server.start(), random.Random(seed))
    enough = threading.Event()
    agents = [Agent(server, f"agent{n}", api_key, give_up=enough).begin(keeps_deploying) for n in range(3)]
    lives.go_on()
    enough.set()
    for agent in agents:
        agent.join()
    server.settled(api_key)
    check_acknowledged(server, agents)
    assert len(server.instances) == len(agents), f"{server.instances} after {lives.killed_after_s}"
    assert len(server.processes) == 2 * len(agents), server.processes
    assert server.end() == 0
    server.check_files()
