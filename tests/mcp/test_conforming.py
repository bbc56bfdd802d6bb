"""Every tool once: what each gives is what its output schema says (`Agent.use` looks), in one story of one tenant."""

from typing import Any

import pytest

from ahplat.mcp.tools import TOOLS
from tests.api.answering import answering, with_databases
from tests.api.site import Site, Tenant
from tests.mcp.speaking import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Story:
    """An agent that remembers which tools it used."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.used: set[str] = set()

    async def use(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        self.used.add(tool)
        return await self._agent.done(tool, **arguments)

    async def to_the_end(self, begun: dict[str, Any]) -> dict[str, Any]:
        """What became of it."""
        return await self.use(begun["next"]["tool"], **begun["next"]["arguments"])


async def test_every_tool_gives_what_it_says(site: Site, acme: Tenant) -> None:
    story = Story(Agent(acme))
    with_databases(site, "u_story")
    with answering():
        service = await _of_services(site, story)
        await _of_databases(site, story, service)
    await _of_builds(site, story)
    await _of_the_rest(story, service)
    assert await story.use("delete_service", service_id=service, confirm="hero")
    assert story.used == {tool.name for tool in TOOLS}


async def _of_services(site: Site, story: Story) -> str:
    made = await story.use("create_service", name="hero", image="web:1", port=0, env={"A": "1"}, wait_s=10)
    service = str(made["id"])
    assert (await story.to_the_end(made))["status"] == "running"
    await story.use("get_service", service_id=service, wait="running", timeout=5)
    await story.use("update_service", service_id=service, memory_mb=256)
    await story.use("set_env", service_id=service, values={"B": "2"})
    await story.use("get_env", service_id=service)
    await story.use("unset_env", service_id=service, key="A", confirm="hero")
    assert (await story.to_the_end(await story.use("deploy_service", service_id=service, image="web:2")))["number"] == 2
    assert await story.to_the_end(await story.use("rollback_service", service_id=service))
    assert await story.to_the_end(await story.use("restart_service", service_id=service))
    await site.settled()
    assert (await story.to_the_end(await story.use("stop_service", service_id=service)))["status"] == "stopped"
    assert await story.to_the_end(await story.use("start_service", service_id=service))
    assert await story.to_the_end(await story.use("reset_service", service_id=service))
    await site.settled()
    assert len((await story.use("list_deployments", service_id=service))["items"]) >= 5
    assert (await story.use("list_services", status="running"))["items"][0]["id"] == service
    await story.use("read_logs", service_id=service)
    await story.use("exec_command", service_id=service, command=["true"], confirm="hero")
    return service


async def _of_databases(site: Site, story: Story, service: str) -> None:
    made = await story.use("create_database", name="story", type="postgres")
    database = str(made["id"])
    assert (await story.to_the_end(made))["status"] == "running"
    assert "postgres" in (await story.use("get_connection_string", database_id=database))["connection_string"]
    assert (await story.to_the_end(await story.use("link_database", database_id=database, service_id=service)))["id"]
    backups = await story.to_the_end(await story.use("create_backup", database_id=database, wait_s=10))
    backup = backups["items"][0]
    assert backup["status"] == "verified", backup
    await story.use("restore_database", database_id=database, backup_id=backup["id"], confirm="story", wait_s=10)
    await story.use("start_database", database_id=database)
    await site.settled()
    await story.use("delete_database", database_id=database, confirm="story")
    assert (await story.use("list_databases", status="deleted"))["items"]
    assert await story.to_the_end(await story.use("undelete_database", database_id=database))


async def _of_builds(site: Site, story: Story) -> None:
    service = (await story.use("create_service", name="built"))["id"]
    source = {"service_id": service, "source_url": "https://github.com/acme/web"}
    build = await story.to_the_end(await story.use("create_build", **source))
    assert build["status"] == "succeeded"
    await story.use("read_build_logs", service_id=service, build_id=build["id"])
    await site.settled()
    called_off = await story.use("create_build", **source, source_ref="next")
    await story.use("cancel_build", service_id=service, build_id=called_off["id"])
    assert len((await story.use("list_service_builds", service_id=service))["items"]) == 2


async def _of_the_rest(story: Story, service: str) -> None:
    await story.use("get_whoami")
    await story.use("add_domain", service_id=service, domain="hero.example.org")
    await story.use("verify_domain", service_id=service, domain="hero.example.org")
    assert (await story.use("read_events", after="0"))["items"]
    assert (await story.use("list_activity", limit=5))["items"]
    assert (await story.use("create_key", name="helper", scopes=["read"]))["api_key"]
