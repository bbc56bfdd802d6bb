"""The official SDK's client deploys an image to a real server: in both eras, over HTTP and through `ah mcp`."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.faults.harness import TREE, Server, eventually, wiped
from tests.folders import memory_folder

pytestmark = pytest.mark.embedded

ERAS = ["2026-07-28", "legacy", "auto"]
AGREED = {"2026-07-28": "2026-07-28", "legacy": "2025-11-25", "auto": "2026-07-28"}
_numbers = itertools.count(1)
PROGRAM = [sys.executable, "-P", "-m", "ahplat.cli.entry", "mcp"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server on the embedded engine."""
    with memory_folder() as folder, wiped(Server(folder / "data")) as made:
        yield made.start()


@pytest.fixture
def key(server: Server) -> str:
    """A new tenant's."""
    return server.register(f"tenant{next(_numbers)}")


def environment(server: Server, key: str) -> dict[str, str]:
    return {"AH_URL": f"http://127.0.0.1:{server.port}", "AH_KEY": key, "PYTHONPATH": str(TREE)}


@asynccontextmanager
async def over_http(server: Server, key: str, era: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=90) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{server.port}/mcp", http_client=http)
        async with Client(transport, mode=era) as client:
            yield client


@asynccontextmanager
async def over_stdio(server: Server, key: str, era: str) -> AsyncIterator[Client]:
    env = environment(server, key)
    async with Client(StdioServerParameters(command=PROGRAM[0], args=PROGRAM[1:], env=env), mode=era) as client:
        yield client


WAYS = pytest.mark.parametrize("way", [over_http, over_stdio], ids=["http", "stdio"])


async def done(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gives; the client holds it against the tool's output schema."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return dict(result.structured_content or {})


@WAYS
@pytest.mark.parametrize("era", ERAS)
async def test_a_deploy_from_the_first_word_to_the_end(server: Server, key: str, era: str, way: Any) -> None:
    async with way(server, key, era) as client:
        assert client.protocol_version == AGREED[era]
        if era != "2026-07-28":  # who names a version begins without a word
            assert client.server_info.name == "ahplat" and "whoami" in client.instructions
        assert len((await client.list_tools()).tools) <= 40
        begun = await done(client, "create_service", name="web", image="ah/hello", idempotency_key="first")
        assert begun["status"] == "deploying"
        found = await done(client, begun["next"]["tool"], **begun["next"]["arguments"])
        assert found["status"] == "running"
        again = await done(client, "create_service", name="web", image="ah/hello", idempotency_key="first")
        assert again["replayed"] and again["id"] == begun["id"]
        logs = await done(client, "read_logs", service_id=begun["id"])
        assert isinstance(logs["lines"], list)
        wrong = await client.call_tool("delete_service", {"service_id": begun["id"], "confirm": "other"})
        assert wrong.is_error and "'web'" in wrong.content[0].text
        await done(client, "delete_service", service_id=begun["id"], confirm="web")
        gone = await client.call_tool("get_service", {"service_id": begun["id"]})
        assert gone.is_error and "What to do" in gone.content[0].text


@WAYS
@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_tool_that_there_is_not_is_an_error(server: Server, key: str, era: str, way: Any) -> None:
    async with way(server, key, era) as client:
        with pytest.raises(MCPError) as error:
            await client.call_tool("make_tea", {})
        assert error.value.code == -32602


@WAYS
async def test_calls_do_not_wait_for_each_other(server: Server, key: str, way: Any) -> None:
    async with way(server, key, "auto") as client:
        service = await done(client, "create_service", name="unbuilt")
        slow = asyncio.create_task(done(client, "get_service", service_id=service["id"], wait="running", timeout=60))
        assert (await done(client, "get_whoami"))["tenant"]["name"]
        assert not slow.done()
        slow.cancel()
        await asyncio.wait({slow})
        assert (await done(client, "get_service", service_id=service["id"]))["status"] == "created"


@WAYS
async def test_a_deploy_goes_on_without_the_client_that_asked(server: Server, key: str, way: Any) -> None:
    async with way(server, key, "auto") as client:
        await done(client, "create_service", name="left", image="ah/hello")
    async with way(server, key, "auto") as client:
        [service] = (await done(client, "list_services"))["items"]
        assert (await done(client, "get_service", service_id=service["id"], wait="running"))["status"] == "running"


# the program itself


def said(server: Server, key: str, lines: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What `ah mcp` answers to these lines."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    environ |= environment(server, key) | env
    return subprocess.run(PROGRAM, input=lines, capture_output=True, text=True, timeout=30, env=environ, cwd=TREE)


PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


def test_the_end_of_input_ends_it_quietly_after_the_last_answer(server: Server, key: str) -> None:
    begin = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}\n'
    found = said(server, key, f"{begin}\n")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.count("\n") == 1 and '"protocolVersion":"2025-11-25"' in found.stdout


def test_what_is_no_message_is_told_so_and_the_next_one_is_taken(server: Server, key: str) -> None:
    found = said(server, key, f"nonsense\n[]\n{PING}")
    assert found.stdout.count("\n") == 3 and "-32700" in found.stdout and "-32600" in found.stdout
    assert found.returncode == 0 and not found.stderr


def test_a_server_that_does_not_answer_is_an_error_for_each_request(server: Server, key: str) -> None:
    found = said(server, key, PING, AH_URL="http://127.0.0.1:9")
    assert '"id":1' in found.stdout and "no answer of http://127.0.0.1:9" in found.stdout and found.returncode == 0


def test_a_key_that_is_not_valid_is_an_error_that_says_what_to_do(server: Server) -> None:
    found = said(server, "no.key", PING)
    assert "No valid key was given" in found.stdout and "unauthenticated" in found.stdout


def test_without_a_server_or_a_key_it_says_so_in_a_line(server: Server, tmp_path: Path) -> None:
    found = said(server, "", PING, AH_URL="", HOME=str(tmp_path))
    assert found.returncode == 2 and found.stdout == ""
    assert found.stderr.count("\n") == 1 and "set AH_URL" in found.stderr


@pytest.mark.parametrize(
    ("env", "says"),
    [({"AH_URL": "ftp://x"}, "'ftp://x' is no address of a server"), ({"AH_KEY": "a\nb"}, "AH_KEY is no key")],
    ids=["url", "key"],
)
def test_a_server_or_key_that_is_none_is_told_so_in_a_line(server: Server, env: dict[str, str], says: str) -> None:
    found = said(server, "a.b", PING, **env)
    assert found.returncode == 2 and found.stdout == ""
    assert found.stderr.count("\n") == 1 and says in found.stderr


def test_the_file_of_ahc_says_which_server_and_key(server: Server, key: str, tmp_path: Path) -> None:
    kept = tmp_path / ".ah" / "config.json"
    kept.parent.mkdir()
    kept.write_text(f'{{"url": "http://127.0.0.1:{server.port}/", "key": "{key}"}}')
    begin = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}\n'
    found = said(server, "", begin, AH_URL="", HOME=str(tmp_path))
    assert '"protocolVersion":"2025-06-18"' in found.stdout


def test_ctrl_c_ends_it_quietly(server: Server, key: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    process = subprocess.Popen(
        PROGRAM,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ | environment(server, key),
        cwd=TREE,
    )
    try:
        assert process.stdin and process.stdout
        process.stdin.write(PING.encode())
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        eventually(lambda: process.poll() is not None)
        assert process.returncode in (130, -signal.SIGINT)
        assert process.communicate() == (b"", b"")
    finally:
        process.kill()
        process.wait()
