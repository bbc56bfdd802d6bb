"""Whose a host name is: many may claim it, one service has it verified, and nobody takes it from that one."""

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings, strategies

from ahplat import limits
from ahplat.api.domains import check_domain
from ahplat.commands.domains import AddDomain, CheckDomain, FinishDomainCheck, RemoveDomain, VerifyDomain
from ahplat.commands.effects import BeginAttempt
from ahplat.commands.services import DeleteService
from ahplat.errors import Rejected
from events.domains import (
    ServiceDomainAdded,
    ServiceDomainCheckDropped,
    ServiceDomainChecked,
    ServiceDomainCheckRequested,
    ServiceDomainRemoved,
    ServiceDomainVerified,
)
from events.event import wire_name
from events.log import read_all
from events.services import ServiceDeleteRequested
from projections import domains
from tests.commands.facts import a_running_service, a_service, a_tenant
from tests.commands.given import (
    MINE,
    OTHER_SERVICE,
    OTHER_TENANT,
    SERVICE,
    TENANT,
    a_world,
    given,
    of,
    then,
    then_rejected,
    when,
    world,
)

HOST = "www.shop.example"
LOOK = wire_name(ServiceDomainCheckRequested)
AGAIN = ServiceDomainCheckRequested(HOST, 7, 9, 2)
OTHERS = {"tenant_id": OTHER_TENANT, "service_id": OTHER_SERVICE}


def two_tenants() -> None:
    """A service of each."""
    given(a_tenant(), of(a_tenant("other", b"other@", "10.128.0.64/26"), tenant=OTHER_TENANT))
    given(a_service(), of(a_service(), OTHER_SERVICE, OTHER_TENANT))


def test_a_claim_is_unverified_until_somebody_vouches_for_it() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST, due_us=5, until_us=9))
    then(ServiceDomainAdded(HOST), ServiceDomainCheckRequested(HOST, 5, 9))
    when(VerifyDomain(**MINE, host=HOST, by="operator"))
    then(ServiceDomainCheckDropped(a_look(), HOST), ServiceDomainVerified(HOST, "operator"))


def a_look(nth: int = -1) -> int:
    """The position of a look that was asked for, of the last if none is named."""
    return [at.position for at in read_all(world().log.db, 0, 1_000) if at.type == LOOK][nth]


def finished(finding: str, nth: int = -1, who: dict[str, str] = MINE) -> FinishDomainCheck:
    """The end of the only attempt at a look."""
    when(BeginAttempt(tenant_id=who["tenant_id"], intent=a_look(nth)))
    return FinishDomainCheck(**who, host=HOST, intent=a_look(nth), attempt=1, finding=finding, again=AGAIN)


def test_a_look_that_finds_the_record_verifies_the_name() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST))
    when(finished("found"))
    then(ServiceDomainChecked(a_look(), HOST, "found"), ServiceDomainVerified(HOST, "dns"))


def test_a_look_that_finds_nothing_says_so_and_is_followed_by_another() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST))
    when(finished("record_missing"))
    then(ServiceDomainChecked(a_look(0), HOST, "record_missing"), AGAIN)


def test_who_proves_a_name_that_was_verified_for_another_is_told_so_and_has_it_not() -> None:
    two_tenants()
    when(AddDomain(**MINE, host=HOST))
    when(AddDomain(**OTHERS, host=HOST))
    when(finished("found", who=OTHERS))
    when(finished("found", 0))
    then(ServiceDomainChecked(a_look(0), HOST, "domain_taken"))
    assert domains.owner_of(world().views.db, HOST).tenant_id == OTHER_TENANT


def test_asking_for_a_look_takes_the_place_of_the_one_that_was_to_come() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST, due_us=world().now_us + 10_000_000))
    when(CheckDomain(**MINE, host=HOST, now_us=world().now_us, until_us=9))
    then(ServiceDomainCheckDropped(a_look(0), HOST), ServiceDomainCheckRequested(HOST, world().now_us, 9))
    when(CheckDomain(**MINE, host=HOST, now_us=world().now_us, until_us=9))
    then()


def test_nobody_asks_for_a_look_at_a_name_that_is_verified_or_anothers() -> None:
    two_tenants()
    when(AddDomain(**OTHERS, host=HOST))
    when(AddDomain(**MINE, host=HOST, verified_by="operator"))
    when(CheckDomain(**MINE, host=HOST, now_us=0, until_us=0))
    then()
    when(CheckDomain(**OTHERS, host=HOST, now_us=0, until_us=0))
    then_rejected("domain_taken", HOST)


def test_a_look_at_a_name_that_was_given_up_or_whose_service_went_is_dropped() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST))
    when(RemoveDomain(**MINE, host=HOST))
    then(ServiceDomainCheckDropped(a_look(), HOST), ServiceDomainRemoved(HOST))
    when(AddDomain(**MINE, host=HOST))
    when(DeleteService(**MINE))
    then(ServiceDomainCheckDropped(a_look(), HOST), ServiceDeleteRequested())


def test_names_that_wait_to_be_verified_are_bounded_over_all_services_of_a_tenant() -> None:
    given(a_service(), of(a_service("shop"), OTHER_SERVICE))
    given(*(of(ServiceDomainAdded(f"n{number}.example"), OTHER_SERVICE) for number in range(limits.DOMAINS_UNVERIFIED)))
    when(AddDomain(**MINE, host=HOST))
    then_rejected("quota_exceeded", "wait to be verified")
    when(AddDomain(**MINE, host=HOST, verified_by="operator"))
    then(ServiceDomainAdded(HOST), ServiceDomainVerified(HOST, "operator"))


def test_a_claim_may_be_vouched_for_at_once() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST, verified_by="dev"))
    then(ServiceDomainAdded(HOST), ServiceDomainVerified(HOST, "dev"))


def test_saying_it_twice_changes_nothing() -> None:
    given(a_service())
    when(AddDomain(**MINE, host=HOST))
    when(AddDomain(**MINE, host=HOST))
    then()
    when(VerifyDomain(**MINE, host=HOST, by="operator"))
    when(VerifyDomain(**MINE, host=HOST, by="operator"))
    then()


def test_a_claim_that_nobody_vouched_for_keeps_the_name_from_nobody() -> None:
    two_tenants()
    when(AddDomain(**MINE, host=HOST))
    when(AddDomain(**OTHERS, host=HOST, verified_by="operator"))
    then(ServiceDomainAdded(HOST), ServiceDomainVerified(HOST, "operator"))
    when(VerifyDomain(**MINE, host=HOST, by="operator"))
    then_rejected("domain_taken")


def test_a_name_that_another_tenant_has_is_not_given_twice() -> None:
    two_tenants()
    when(AddDomain(**MINE, host=HOST, verified_by="operator"))
    when(AddDomain(**OTHERS, host=HOST))
    then_rejected("domain_taken", HOST)


def test_a_tenant_says_which_of_its_services_a_name_is_for() -> None:
    given(a_service(), of(a_service("shop"), OTHER_SERVICE))
    when(AddDomain(**MINE, host=HOST))
    when(AddDomain(tenant_id=TENANT, service_id=OTHER_SERVICE, host=HOST))
    then_rejected("domain_taken", "another service of yours")


def test_a_name_that_was_given_up_is_free() -> None:
    two_tenants()
    when(AddDomain(**MINE, host=HOST, verified_by="operator"))
    when(RemoveDomain(**MINE, host=HOST))
    then(ServiceDomainRemoved(HOST))
    when(AddDomain(**OTHERS, host=HOST, verified_by="operator"))
    then(ServiceDomainAdded(HOST), ServiceDomainVerified(HOST, "operator"))


def test_the_names_of_a_service_go_with_it() -> None:
    two_tenants()
    when(AddDomain(**MINE, host=HOST, verified_by="operator"))
    when(DeleteService(**MINE))
    when(AddDomain(**OTHERS, host=HOST, verified_by="operator"))
    then(ServiceDomainAdded(HOST), ServiceDomainVerified(HOST, "operator"))


def test_a_stopped_service_keeps_its_names() -> None:
    a_running_service()
    when(AddDomain(**MINE, host=HOST, verified_by="operator"))
    assert [row.host for row in domains.list_of(world().views.db, SERVICE)] == [HOST]


@pytest.mark.parametrize("command", [RemoveDomain(**MINE, host=HOST), VerifyDomain(**MINE, host=HOST, by="operator")])
def test_a_name_that_the_service_does_not_have_is_not_found(command: RemoveDomain | VerifyDomain) -> None:
    two_tenants()
    when(AddDomain(**OTHERS, host=HOST))
    when(command)
    then_rejected("domain_not_found", HOST)


def test_the_names_of_a_service_are_bounded() -> None:
    given(a_service(), *(ServiceDomainAdded(f"n{number}.example") for number in range(limits.DOMAINS_PER_SERVICE)))
    when(AddDomain(**MINE, host=HOST))
    then_rejected("quota_exceeded", str(limits.DOMAINS_PER_SERVICE))


@pytest.mark.parametrize(
    "text", ["apps.example", "APPS.example.", "api.apps.example", "web.acme.apps.example", "x.ＡＰＰＳ。example"]
)
def test_a_name_under_the_platforms_own_domain_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match=r"the platform's own"):
        check_domain(text, "apps.example")


SPELT = strategies.sampled_from(
    [
        "www.shop.example",
        "WWW.Shop.Example.",
        "ｗww.shop。example",
        "bücher.example",
        "BÜCHER.example",
        "xn--bcher-kva.example",
    ]
)
STEP = strategies.tuples(strategies.sampled_from(["add", "vouch", "remove"]), strategies.booleans(), SPELT)


@settings(deadline=None)
@hypothesis_given(strategies.lists(STEP, max_size=12))
def test_no_way_to_write_a_name_gives_two_tenants_one_host(steps: list[tuple[str, bool, str]]) -> None:
    kinds = {
        "add": lambda who, host: AddDomain(**who, host=host),
        "vouch": lambda who, host: VerifyDomain(**who, host=host, by="operator"),
        "remove": lambda who, host: RemoveDomain(**who, host=host),
    }
    with a_world() as made:
        two_tenants()
        for kind, is_mine, text in steps:
            when(kinds[kind](MINE if is_mine else OTHERS, check_domain(text, "localhost")))
        rows = [row for one in (SERVICE, OTHER_SERVICE) for row in domains.list_of(made.views.db, one) if row.verified]
        hosts = [row.host for row in rows]
        assert len(hosts) == len(set(hosts))
        assert all(domains.owner_of(made.views.db, row.host) == row for row in rows)
