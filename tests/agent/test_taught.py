"""What the skill and the commands teach exists: each route, parameter and field; and their form is what agents load."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ahplat.api.problems import PROBLEMS
from tests.api.contract import published, route_of
from tests.faults.harness import TREE

AGENT = TREE / "deploy/agent"
SKILL = AGENT / "skills/ahplat/SKILL.md"
TEXTS = sorted(AGENT.rglob("*.md"))
SCRIPTS = sorted((AGENT / "scripts").glob("*.sh"))
TOKENS = 5000
TOKENS_A_WORD = 1.4  # of prose; Markdown and paths have more, so a token is also taken to be no more than four bytes
EACH = pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(AGENT)))
_ROUTE = re.compile(r"\b(GET|POST|PATCH|DELETE|PUT)[ ]+\"?(/[\w{}$./-]+)(?:\?([\w=&{}…$-]+))?")
_SPAN = re.compile(r"`([a-z][a-z0-9_]*)`")
_MEMBER = re.compile(r"\"([a-z][a-z_]*)\":")
_OTHERS = {
    "ahc",
    "ps",
    "confirm",
    "idempotency_key",
    "if_match",
    "redis",
    "postgres",
    "link",
}  # of tools, and plain words


def words_of_the_api() -> set[str]:
    """All names of fields, parameters, codes and values that the document has."""
    found = set(PROBLEMS) | _OTHERS

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.update(node.get("properties", {}))
            found.update(value for value in node.get("enum", ()) if isinstance(value, str))
            if "in" in node:
                found.add(str(node.get("name")))
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                walk(each)

    walk(published())
    return found | {"read", "deploy", "admin"}


def routes_in(text: str) -> list[tuple[str, str, list[str]]]:
    """Method, path and names of query parameters of each route that a text names."""
    return [
        (method, path, [pair.partition("=")[0] for pair in query.split("&") if pair])
        for method, path, query in _ROUTE.findall(text)
    ]


def unknown(text: str) -> list[str]:
    """What a text names that there is not."""
    lacks, known = [], words_of_the_api()
    for method, path, query in routes_in(text):
        route = route_of(method, re.sub(r"\$\w+|\{\w+\}", "x", path))
        if route is None:
            lacks.append(f"{method} {path}")
            continue
        told = published()["paths"][route.path][method.lower()]["parameters"]
        named = {each["name"] for each in told if "name" in each} | {
            ref["$ref"].rpartition("/")[2] for ref in told if "$ref" in ref
        }
        lacks += [f"{method} {path}?{name}" for name in query if name not in named]
    return lacks + [word for word in (*_SPAN.findall(text), *_MEMBER.findall(text)) if word not in known]


@EACH
def test_all_that_is_named_is_there(text: Path) -> None:
    assert unknown(text.read_text()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_ask_for_what_is_there(script: Path) -> None:
    text = script.read_text().replace('\\"', '"')
    assert [
        f"{method} {path}"
        for method, path, _ in routes_in(text)
        if "$1" not in path and not route_of(method, re.sub(r"\$\w+", "x", path))
    ] == []
    fields = {*_MEMBER.findall(text), *re.findall(r"\(field ([a-z_]+)\)", text)}
    assert fields - words_of_the_api() == set()


@pytest.mark.parametrize(
    "wrong", ["GET /v1/nothing", "PATCH /v1/builds", "GET /v1/services?colour=red", "`colour_of`", '{"colour":1}']
)
def test_what_is_not_there_is_found(wrong: str) -> None:
    assert len(unknown(wrong)) == 1


def front_matter(path: Path) -> dict[str, str]:
    _, head, _ = path.read_text().split("---\n", 2)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}


def test_the_skill_has_the_form_that_agents_load() -> None:
    head = front_matter(SKILL)
    assert head.keys() == {"name", "description"}
    assert head["name"] == SKILL.parent.name and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", head["name"])
    assert len(head["description"]) <= 1024 and "Use when" in head["description"]
    body = SKILL.read_text()
    assert max(len(body.split()) * TOKENS_A_WORD, len(body.encode()) / 4) < TOKENS
    linked = {SKILL.parent / link for link in re.findall(r"\]\((references/[^)]+)\)", body)}
    assert linked == set((SKILL.parent / "references").iterdir())


def test_the_four_commands_say_what_they_take_and_may_use() -> None:
    commands = {path.stem: path for path in (AGENT / "commands").iterdir()}
    assert commands.keys() == {"deploy", "status", "db", "logs"}
    for name, path in commands.items():
        head = front_matter(path)
        assert head["description"] and ("argument-hint" in head) == (name != "status")
        script = re.fullmatch(r"Bash\(([a-z-]+\.sh):\*\)", head["allowed-tools"])
        assert script and (AGENT / "scripts" / script[1]).exists()


@pytest.mark.parametrize("path", sorted((AGENT / "mcp").iterdir()), ids=lambda path: path.name)
def test_each_mcp_configuration_names_one_server_and_no_key(path: Path) -> None:
    told = json.loads(path.read_text())
    server = (told.get("mcpServers") or told["servers"])["ahplat"]
    assert server.get("args") == ["mcp"] or server["url"].endswith("/mcp")
    secrets = [server.get("env", {}).get("AH_KEY"), server.get("headers", {}).get("Authorization")]
    assert all(re.fullmatch(r"(Bearer )?\$\{(env:|input:)?\w+\}", secret) for secret in secrets if secret)
