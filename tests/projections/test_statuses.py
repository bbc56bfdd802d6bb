"""The one word for how a service is, and for how a deployment is: what each event makes of it."""

from collections.abc import Callable

import pytest

from events.event import Event
from events.services import (
    ServiceCircuitOpened,
    ServiceConfigured,
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceDrifted,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRepairRequested,
    ServiceRouteFailed,
    ServiceStopped,
    ServiceStopRequested,
    ServiceWorkSuperseded,
    Target,
)
from projections import deployments, env, instances, routes, services
from projections.deployments import DeploymentRow
from projections.services import ServiceRow
from tests.commands.facts import (
    a_deploy,
    a_running_service,
    a_service,
    a_tenant,
    begun,
    drained,
    env_set,
    healthy,
    intent,
    redeployed,
    routed,
)
from tests.commands.given import SERVICE, World, given, later


@pytest.fixture(autouse=True)
def tenant(world: World) -> None:
    given(a_tenant())


def service(world: World) -> ServiceRow:
    row = services.find(world.views.db, SERVICE)
    assert row
    return row


def deployment(world: World, deployment_id: str = "d1") -> DeploymentRow:
    row = deployments.find(world.views.db, deployment_id)
    assert row
    return row


def stopped() -> None:
    given(ServiceStopRequested())
    given(ServiceStopped(intent(ServiceStopRequested), []))


def failed(deployment_id: str = "d1") -> None:
    given(ServiceDeployFailed(intent(ServiceDeployRequested), deployment_id, "unhealthy", b"detail", b"tail"))


STEPS: list[tuple[Callable[[], None], str, int, str]] = [
    (lambda: given(a_deploy("d1")), "deploying", 0, "pending"),
    (lambda: begun(ServiceDeployRequested), "deploying", 0, "deploying"),
    (healthy, "deploying", 0, "deploying"),
    (routed, "running", 1, "running"),
    (drained, "running", 1, "running"),
    (lambda: given(ServiceCrashed("d1", 0, "d1-0", 1)), "crashed", 0, "crashed"),
    (lambda: given(ServiceRepairRequested("d1")), "crashed", 0, "crashed"),
    (
        lambda: given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-1", "h", 1)], [])),
        "running",
        1,
        "running",
    ),
    (lambda: given(ServiceStopRequested()), "running", 1, "running"),
    (lambda: given(ServiceStopped(intent(ServiceStopRequested), [])), "stopped", 0, "stopped"),
    (lambda: given(ServiceDeleteRequested()), "deleted", 0, "stopped"),
]


def test_a_service_and_its_deployment_go_their_way(world: World) -> None:
    given(a_service())
    assert (service(world).status, service(world).serving) == ("created", 0)
    for step, status, serving, of_deployment in STEPS:
        step()
        found = (service(world).status, service(world).serving, deployment(world).status)
        assert found == (status, serving, of_deployment)


def test_a_first_deployment_that_fails_leaves_nothing_that_serves(world: World) -> None:
    given(a_service(), a_deploy("d1"))
    failed()
    assert (service(world).status, service(world).last_error_code) == ("failed", "unhealthy")
    assert (deployment(world).status, deployment(world).error_code) == ("failed", "unhealthy")


@pytest.mark.parametrize("way", ["failed", "superseded", "cancelled"])
def test_a_service_goes_on_with_what_serves_when_its_next_deployment_does_not_come_to_serve(
    world: World, way: str
) -> None:
    a_running_service()
    given(a_deploy("d2", 2))
    if way == "failed":
        failed("d2")
    else:
        kind = ServiceDeploySuperseded if way == "superseded" else ServiceDeployCancelled
        given(kind(intent(ServiceDeployRequested), "d2"))
    assert (service(world).status, service(world).serving, service(world).deployment_id) == ("running", 1, "d1")
    assert (deployment(world, "d1").status, deployment(world, "d2").status) == ("running", way)


def test_a_deployment_that_is_called_off_leaves_a_stopped_service_stopped(world: World) -> None:
    a_running_service()
    stopped()
    given(a_deploy("d2", 2))
    given(ServiceDeployCancelled(intent(ServiceDeployRequested), "d2"))
    assert (service(world).status, service(world).serving) == ("stopped", 0)


@pytest.mark.parametrize("end", [ServiceStopRequested(), ServiceDeleteRequested()], ids=["stop", "delete"])
def test_a_deployment_whose_route_was_called_off_has_ended(
    world: World, end: ServiceStopRequested | ServiceDeleteRequested
) -> None:
    given(a_service(), a_deploy("d1"))
    healthy()
    later(5)
    given(ServiceDeploySuperseded(intent(ServiceInstanceHealthy), "d1"), end)
    assert (deployment(world).status, deployment(world).completed_at) == ("superseded", world.now_us // 1_000_000)


def test_superseded_work_that_was_no_route_leaves_the_deployment_that_serves_alone(world: World) -> None:
    a_running_service()
    given(ServiceRepairRequested("d1"), a_deploy("d2", 2))
    begun(ServiceDeployRequested)
    given(ServiceWorkSuperseded(intent(ServiceRepairRequested)))
    assert (deployment(world, "d1").status, deployment(world, "d2").status) == ("running", "deploying")


def test_what_served_before_has_stopped_once_the_route_has_moved(world: World) -> None:
    """Not once it is drained: a newer deploy supersedes the draining, and may fail."""
    a_running_service()
    given(a_deploy("d2", 2))
    healthy()
    assert (deployment(world, "d1").status, deployment(world, "d2").status) == ("running", "deploying")
    routed()
    assert (deployment(world, "d1").status, deployment(world, "d2").status) == ("stopped", "running")


def test_a_service_of_which_one_replica_crashed_still_serves(world: World) -> None:
    a_running_service(replicas=2)
    given(ServiceCrashed("d1", 0, "d1-0", 1))
    assert (service(world).status, service(world).serving) == ("running", 1)
    assert [row.instance for row in instances.list_of(world.views.db, SERVICE)] == ["d1-1"]


def test_an_open_circuit_outlives_the_stop_that_it_brings(world: World) -> None:
    a_running_service()
    given(ServiceCircuitOpened(5))
    stopped()
    assert (service(world).status, service(world).circuit_open, service(world).desired) == (
        "circuit_open",
        1,
        "stopped",
    )


def test_why_a_deployment_failed_stays_to_be_read_when_something_else_is_repaired(world: World) -> None:
    a_running_service()
    given(a_deploy("d2", 2, image="web:2"))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d2", "crashed", b"why"))
    given(ServiceRepairRequested("d1"))
    given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-0", "10.0.0.2", 8000)], ["stray"]))
    assert (service(world).last_error_code, service(world).last_error) == ("crashed", b"why")


def test_a_crash_that_is_repaired_is_no_error_any_more(world: World) -> None:
    a_running_service()
    given(ServiceCrashed("d1", 0, "d1-0", 1, 3), ServiceRepairRequested("d1"))
    assert service(world).last_error_code == "crashed"
    given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-1", "10.0.0.2", 8000)], []))
    assert service(world).last_error_code is None


@pytest.mark.parametrize(
    ("trigger", "meanwhile", "image"),
    [("deploy", "", "web:1"), ("redeploy", "", "web:2"), ("deploy", "web:3", "web:3")],
)
def test_an_image_that_was_only_asked_for_by_a_deployment_that_failed_is_not_the_services(
    world: World, trigger: str, meanwhile: str, image: str
) -> None:
    a_running_service()
    given(ServiceConfigured(image="web:2"), a_deploy("d2", 2, image="web:2", trigger=trigger))
    if meanwhile:
        given(ServiceConfigured(image=meanwhile))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d2", "unhealthy"))
    assert service(world).image == image


def test_after_a_restart_too_the_image_is_the_one_that_was_asked_for_and_not_its_digest(world: World) -> None:
    a_running_service()
    redeployed("d2", 2, image="web@sha256:d1", trigger="restart")
    given(ServiceConfigured(image="web:2"), a_deploy("d3", 3, image="web:2", trigger="deploy"))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d3", "unhealthy"))
    assert service(world).image == "web:1"


@pytest.mark.parametrize("called_off", [ServiceDeployCancelled, ServiceDeploySuperseded])
def test_an_image_that_was_only_asked_for_by_a_deployment_that_was_called_off_is_not_the_services(
    world: World, called_off: type[ServiceDeployCancelled | ServiceDeploySuperseded]
) -> None:
    a_running_service()
    given(ServiceConfigured(image="web:2"), a_deploy("d2", 2, image="web:2", trigger="deploy"))
    given(called_off(intent(ServiceDeployRequested), "d2"))
    assert service(world).image == "web:1"


def test_an_image_that_is_asked_for_again_is_the_services_until_that_fails_too(world: World) -> None:
    a_running_service()
    given(ServiceConfigured(image="web:2"), a_deploy("d2", 2, image="web:2", trigger="deploy"))
    given(ServiceDeploySuperseded(intent(ServiceDeployRequested), "d2"))
    given(a_deploy("d3", 3, image="web:2", trigger="deploy"))
    assert service(world).image == "web:2"
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d3", "unhealthy"))
    assert service(world).image == "web:1"


@pytest.mark.parametrize(("trigger", "image"), [("deploy", "web:2"), ("restart", "web:1")])
def test_what_comes_to_serve_does_not_make_the_image_served_that_a_newer_one_asks_for(
    world: World, trigger: str, image: str
) -> None:
    a_running_service()
    given(a_deploy("d2", 2, image="web:2" if trigger == "deploy" else "web@sha256:d1", trigger=trigger))
    healthy()
    given(ServiceConfigured(image="web:3"), a_deploy("d3", 3, image="web:3", trigger="deploy"))
    routed()
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d3", "image_not_found"))
    assert service(world).image == image


def test_a_first_deployment_that_failed_leaves_its_image_to_be_deployed_again(world: World) -> None:
    given(a_service(image="web:2"), a_deploy("d1", image="web:2", trigger="deploy"))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d1", "unhealthy"))
    assert service(world).image == "web:2"


def test_what_came_to_serve_clears_the_last_error(world: World) -> None:
    given(a_service(), a_deploy("d1"))
    failed()
    redeployed("d2", 2)
    assert (service(world).last_error_code, service(world).last_error) == (None, None)


def test_settings_that_are_changed_do_not_reach_a_deployment_that_was_asked_for(world: World) -> None:
    given(a_service(), a_deploy("d1", memory_mb=256), ServiceConfigured(memory_mb=512))
    assert (service(world).memory_mb, deployment(world).memory_mb) == (512, 256)


def test_variables_are_kept_as_they_were_at_every_version(world: World) -> None:
    given(a_service(), env_set("A", value=b"1"), env_set("A", "B", value=b"2"))
    at = [env.values_at(world.views.db, SERVICE, version) for version in (1, 2, 3)]
    assert at == [{}, {"A": b"1"}, {"A": b"2", "B": b"2"}]


# where requests go


def reached(world: World) -> list[str]:
    """The instances that answer for the service's host name."""
    return [target.instance for target in routes.targets_of(world.views.db, "web", "acme")]


@pytest.mark.parametrize("gone", [ServiceCrashed("d1", 0, "d1-0", 1), ServiceDrifted("d1", "missing", 0, "d1-0")])
def test_no_request_goes_to_what_was_seen_to_be_gone(world: World, gone: Event) -> None:
    a_running_service(replicas=2)
    given(gone)
    assert reached(world) == ["d1-1"]


def test_a_service_of_which_nothing_runs_keeps_its_name(world: World) -> None:
    a_running_service()
    given(ServiceCrashed("d1", 0, "d1-0", 1))
    assert reached(world) == []
    assert routes.is_routed(world.views.db, "web", "acme")


def test_requests_go_to_what_is_healthy_once_the_router_has_it(world: World) -> None:
    given(a_service(), a_deploy("d1"))
    healthy()
    assert reached(world) == []
    routed()
    assert reached(world) == ["d1-0"]


def test_what_served_before_does_until_the_router_has_the_newest(world: World) -> None:
    a_running_service()
    given(a_deploy("d2", 2))
    healthy()
    assert reached(world) == ["d1-0"]
    assert serving(world) == ("d1", "sha256:d1", "d1-0", ["d1-0"])
    routed()
    assert reached(world) == ["d2-0"]
    assert serving(world) == ("d2", "sha256:d2", "d2-0", ["d2-0"])


def serving(world: World) -> tuple[str | None, str | None, str | None, list[str]]:
    """What the views say serves: deployment, digest, container, instances."""
    row = service(world)
    placed = [one.instance for one in instances.list_of(world.views.db, SERVICE)]
    return row.deployment_id, row.image_digest, row.container_id, placed


def test_a_route_that_failed_leaves_all_views_as_if_it_had_never_been(world: World) -> None:
    a_running_service()
    given(ServiceConfigured(image="web:2"), a_deploy("d2", 2, image="web:2", trigger="deploy"))
    healthy()
    given(ServiceRouteFailed(intent(ServiceInstanceHealthy), "d2", "route_unconfirmed", b"why"))
    assert reached(world) == ["d1-0"]
    assert serving(world) == ("d1", "sha256:d1", "d1-0", ["d1-0"])
    assert (deployment(world, "d1").status, deployment(world, "d2").status) == ("running", "failed")
    assert (deployment(world, "d2").error_code, deployment(world, "d2").error) == ("route_unconfirmed", b"why")
    row = service(world)
    assert (row.status, row.serving, row.image) == ("running", 1, "web:1")
    assert (row.last_error_code, row.last_error) == ("route_unconfirmed", b"why")


def test_a_first_route_that_failed_leaves_a_service_that_can_be_deployed(world: World) -> None:
    given(a_service(), a_deploy("d1"))
    healthy()
    given(ServiceRouteFailed(intent(ServiceInstanceHealthy), "d1", "route_unconfirmed"))
    assert (service(world).status, service(world).serving, serving(world)) == ("failed", 0, (None, None, None, []))
    assert not routes.is_routed(world.views.db, "web", "acme")
    redeployed("d2", 2)
    assert reached(world) == ["d2-0"]


def test_a_route_that_failed_does_not_end_a_newer_deployment(world: World) -> None:
    a_running_service()
    given(a_deploy("d2", 2))
    healthy()
    route = intent(ServiceInstanceHealthy)
    given(a_deploy("d3", 3), ServiceRouteFailed(route, "d2", "route_unconfirmed"))
    assert service(world).status == "deploying"
    assert serving(world)[0] == "d1"


@pytest.mark.parametrize("called_off", [ServiceDeploySuperseded, ServiceDeployCancelled])
def test_a_route_that_was_called_off_leaves_what_serves(
    world: World, called_off: type[ServiceDeploySuperseded | ServiceDeployCancelled]
) -> None:
    a_running_service()
    given(a_deploy("d2", 2))
    healthy()
    given(called_off(intent(ServiceInstanceHealthy), "d2"))
    assert reached(world) == ["d1-0"]
    assert serving(world) == ("d1", "sha256:d1", "d1-0", ["d1-0"])
    assert (service(world).status, deployment(world, "d2").completed_at) == ("running", world.now_us // 1_000_000)


def test_requests_do_not_go_where_a_service_was_before_it_was_stopped(world: World) -> None:
    a_running_service()
    stopped()
    given(a_deploy("d2", 2))
    assert reached(world) == []


def test_requests_go_where_a_repair_put_it(world: World) -> None:
    a_running_service()
    given(ServiceRepairRequested("d1"))
    given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-9", "h", 1)], []))
    assert reached(world) == ["d1-9"]


@pytest.mark.parametrize("end", [ServiceStopRequested(), ServiceDeleteRequested()], ids=["stop", "delete"])
def test_requests_go_nowhere_once_the_end_was_asked_for(
    world: World, end: ServiceStopRequested | ServiceDeleteRequested
) -> None:
    a_running_service()
    given(end)
    assert reached(world) == []


def test_of_a_repair_that_failed_the_end_of_its_log_is_the_deployments(world: World) -> None:
    a_running_service()
    for tail, kept in ((b"first", b"first"), (b"", b"first"), (b"last", b"last")):
        given(ServiceRepairRequested("d1"))
        given(ServiceRepairFailed(intent(ServiceRepairRequested), "d1", "unhealthy", tail=tail))
        found = deployments.find(world.views.db, "d1")
        assert found
        assert found.tail == kept


def test_a_worker_has_no_route(world: World) -> None:
    a_running_service()
    assert routes.is_routed(world.views.db, "web", "acme")
    given(a_deploy("d2", 2, port=0))
    begun(ServiceDeployRequested)
    worker = [Target(1, "d2-1", "", 0)]
    given(ServiceInstanceHealthy(intent(ServiceDeployRequested), "d2", "sha256:d2", "web@sha256:d2", worker))
    assert reached(world) == ["d1-0"]
    routed()
    assert not routes.is_routed(world.views.db, "web", "acme")
