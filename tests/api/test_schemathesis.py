"""Schemathesis, with all its checks, against a real server: what it makes of the document is answered as the document says.

The seed is printed where it finds something; `AH_SEED` repeats it.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path

import pytest

from ahplat.api.routes import ROUTES
from tests.faults.harness import Server
from tests.faults.hurried import run_hurried

pytestmark = pytest.mark.embedded

TOKEN = "t" * 40
BUDGET_S = 30
WAITS = {
    "ahplat.limits:AUTH_FAILURES_PER_MINUTE": 1_000_000,  # it tries wrong keys all the time
    "ahplat.limits:POSITION_WAIT_S": 0.02,  # and positions that the log does not have
    "ahplat.limits:REGISTRATIONS_PER_HOUR": 1_000_000,
    "ahplat.limits:REGISTRATIONS_PER_HOUR_AND_ADDRESS": 1_000_000,
}
LEFT_OUT = {
    "suspend_tenant": "it would end the key that it is asked with",
    "revoke_key": "so would this one",
    "erase_tenant": "it wants what only an operator has",
}
SAID_IN_WORDS = (
    {  # whose 400 no schema can tell beforehand
        route.id: "`as_of` is a moment that has come, and nothing is waited for beside it"
        for route in ROUTES
        if route.as_of
    }
    | {
        "list_service_usage": "`since` lies before `until`",
        "list_usage": "`since` lies before `until`",
        "read_events": "a cursor is the id of an event",
        "read_build_logs": "Last-Event-ID is the number of a line",
        "read_logs": "Last-Event-ID is the time of a line",
        "send_message": "its header fields have to say what its body says",
    }
    | {
        route.id: "fields that are not known are ignored, unless `handling=strict` or I-JSON forbid them; and rules of names"
        for route in ROUTES
        if route.body is not None
    }
)
_REFUSED = [400, 401, 403, 404, 405, 409, 410, 412, 422, 429, 503, 504]
_MEANT = ["2xx", "3xx", 401, 403, 404, 409, 410, 412, 422, 429, 503, 504]


def settings() -> str:
    """What is no failure: answers that say what the state is, and not that the request is wrong."""
    parts = [
        '[parameters]\n"query.timeout" = 0\n"query.follow" = false',  # it has no time to wait for what does not come
        f"[checks.positive_data_acceptance]\nexpected-statuses = {dumps(_MEANT)}",
        f"[checks.negative_data_rejection]\nexpected-statuses = {dumps(_REFUSED)}",
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 503, 504]',
    ]
    in_words = f"checks.positive_data_acceptance.expected-statuses = {dumps([*_MEANT, 400])}"
    parts += [f'[[operations]]\ninclude-operation-id = "{operation}"\n{in_words}' for operation in SAID_IN_WORDS]
    return "\n\n".join(parts) + "\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "data", "--dev", "--engine", "embedded", "--drain-s", "0", "--no-rate-limits")
    made.main = run_hurried
    made.start(AH_BOOTSTRAP_TOKEN=TOKEN, AH_TEST_WAITS=dumps(WAITS))
    try:
        yield made
    finally:
        made.end()


def test_schemathesis_finds_nothing(server: Server, tmp_path: Path) -> None:
    seed = os.environ.get("AH_SEED") or str(random.randrange(10**6))
    answer = server.ask(
        "POST", "/v1/tenants/register", {"name": "acme", "email": "a@example.org"}, X_Bootstrap_Token=TOKEN
    )
    (tmp_path / "schemathesis.toml").write_text(settings())
    argv = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(tmp_path / "schemathesis.toml")),
        *("run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", "all", "--seed", seed),
        *("--max-time", str(BUDGET_S), "--request-timeout", "10", "--continue-on-failure", "--no-shrink"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--warnings", "off", "--suppress-health-check", "all"),
        *("-H", f"Authorization: Bearer {answer.json['api_key']}", "-H", "Accept: application/json"),
    ]
    for operation in LEFT_OUT:
        argv += ["--exclude-operation-id", operation]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=BUDGET_S * 4)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout[-20_000:]}\n{done.stderr[-2_000:]}"
