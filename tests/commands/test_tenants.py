"""Who may be a tenant, and what may happen to one."""

from typing import Any

import pytest

from ahplat import limits
from ahplat.commands.tenants import (
    ChangeProfile,
    ReactivateTenant,
    RegisterTenant,
    RequestErasure,
    SetQuotas,
    SuspendTenant,
    subnet,
)
from ahplat.errors import Rejected
from events.tenants import (
    TenantErased,
    TenantErasureRequested,
    TenantProfileChanged,
    TenantQuotasSet,
    TenantReactivated,
    TenantRegistered,
    TenantSuspended,
)
from projections import tenants
from tests.commands.facts import a_key, a_tenant
from tests.commands.given import OTHER_TENANT, TENANT, given, of, then, then_accepted, then_rejected, when, world

POOL = "10.128.0.0/12"


def register(tenant_id: str = TENANT, **fields: Any) -> RegisterTenant:
    wanted = {"name": b"name", "email": b"email", "email_index": b"new@", "label": "acme", "pool": POOL, "key": a_key()}
    return RegisterTenant(tenant_id=tenant_id, **(wanted | fields))


def erased(tenant: str) -> None:
    given(of(TenantErasureRequested(), tenant=tenant))
    given(of(TenantErased(world().log.position), tenant=tenant))


def test_a_tenant_is_registered_with_its_label_its_network_and_its_first_key() -> None:
    when(register())
    then(TenantRegistered(b"name", b"email", b"new@", "acme", "10.128.0.0/26", "10.128.0.64/26"), a_key())


def test_an_email_is_registered_once() -> None:
    given(of(a_tenant(email_index=b"new@"), tenant=OTHER_TENANT))
    when(register())
    then_rejected("duplicate_email")


def test_an_erased_tenants_email_is_free_again() -> None:
    given(of(a_tenant("other", email_index=b"new@"), tenant=OTHER_TENANT))
    erased(OTHER_TENANT)
    when(register())
    then_accepted(TenantRegistered, type(a_key()))


@pytest.mark.parametrize(
    ("taken", "given_label"),
    [
        (["acme"], "acme-2"),
        (["acme", "acme-2"], "acme-3"),
        (["acme-2"], "acme"),
    ],
)
def test_a_label_that_is_taken_gets_a_number(taken: list[str], given_label: str) -> None:
    for n, label in enumerate(taken):
        given(of(a_tenant(label, email_index=b"%d@" % n), tenant=f"{n:032}"))
    when(register())
    registered, _ = then_accepted(TenantRegistered, type(a_key()))
    assert registered.label == given_label


def test_a_number_does_not_make_a_label_longer_than_dns_has_it() -> None:
    given(of(a_tenant("a" * 63), tenant=OTHER_TENANT))
    when(register(label="a" * 63))
    registered, _ = then_accepted(TenantRegistered, type(a_key()))
    assert registered.label == "a" * 61 + "-2"


def test_a_label_is_never_given_again_not_even_after_an_erasure() -> None:
    given(of(a_tenant("acme"), tenant=OTHER_TENANT))
    erased(OTHER_TENANT)
    when(register())
    registered, _ = then_accepted(TenantRegistered, type(a_key()))
    assert registered.label == "acme-2"


def test_each_tenant_has_a_network_of_its_own_not_even_one_of_an_erased_tenant() -> None:
    given(of(a_tenant("other"), tenant=OTHER_TENANT))
    erased(OTHER_TENANT)
    when(register())
    registered, _ = then_accepted(TenantRegistered, type(a_key()))
    assert (registered.subnet, registered.egress_subnet) == ("10.128.0.128/26", "10.128.0.192/26")


def test_a_pool_is_cut_up_to_its_last_network() -> None:
    assert subnet("10.0.0.0/24", 3) == "10.0.0.192/26"


def test_a_pool_that_is_used_up_gives_no_network() -> None:
    with pytest.raises(Rejected, match=r"^quota_exceeded.*--tenant-pool"):
        subnet("10.0.0.0/24", 4)


def test_a_pool_that_is_smaller_than_a_network_holds_none() -> None:
    with pytest.raises(Rejected, match=r"^quota_exceeded"):
        subnet("10.0.0.0/27", 0)


def test_the_platform_holds_no_more_tenants_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TENANTS", 1)
    given(of(a_tenant("other"), tenant=OTHER_TENANT))
    when(register())
    then_rejected("quota_exceeded", "1 tenants")


def test_an_erased_tenant_does_not_count_towards_the_platforms_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TENANTS", 1)
    given(of(a_tenant("other"), tenant=OTHER_TENANT))
    erased(OTHER_TENANT)
    when(register())
    then_accepted(TenantRegistered, type(a_key()))


def test_a_profile_takes_no_email_that_another_tenant_has() -> None:
    given(a_tenant(), of(a_tenant("other", email_index=b"other@"), tenant=OTHER_TENANT))
    when(ChangeProfile(tenant_id=TENANT, email=b"sealed", email_index=b"other@"))
    then_rejected("duplicate_email")


def test_a_profile_may_be_given_the_email_that_it_has() -> None:
    given(a_tenant(email_index=b"acme@"))
    when(ChangeProfile(tenant_id=TENANT, email=b"sealed", email_index=b"acme@"))
    then(TenantProfileChanged(None, b"sealed", b"acme@"))


def test_a_changed_name_leaves_the_email_as_it_was() -> None:
    given(a_tenant(email_index=b"acme@"))
    when(ChangeProfile(tenant_id=TENANT, name=b"new"))
    then(TenantProfileChanged(b"new"))
    row = tenants.find(world().views.db, TENANT)
    assert row
    assert (row.name, row.email, row.email_index) == (b"new", b"email", b"acme@")


def test_a_profile_that_is_given_nothing_does_not_change() -> None:
    given(a_tenant())
    when(ChangeProfile(tenant_id=TENANT))
    then()


def test_quotas_are_set_where_they_are_given_and_stay_where_not() -> None:
    given(a_tenant(), TenantQuotasSet({"max_services": 7, "max_disk_gb": 1}))
    when(SetQuotas(tenant_id=TENANT, quotas={"max_services": 9}))
    then(TenantQuotasSet({"max_services": 9}))
    assert tenants.quotas_of(world().views.db, TENANT) == {"max_services": 9, "max_disk_gb": 1}


def test_no_quotas_given_change_nothing() -> None:
    given(a_tenant())
    when(SetQuotas(tenant_id=TENANT, quotas={}))
    then()


@pytest.mark.parametrize(
    "command",
    [
        SetQuotas(tenant_id=TENANT, quotas={"max_services": 9}),
        SuspendTenant(tenant_id=TENANT),
        ReactivateTenant(tenant_id=TENANT, key=a_key()),
        RequestErasure(tenant_id=TENANT),
    ],
    ids=lambda command: type(command).__name__,
)
@pytest.mark.parametrize("was_there", [False, True], ids=["never there", "erased"])
def test_nothing_happens_to_a_tenant_that_is_not_there(command: Any, was_there: bool) -> None:
    if was_there:
        given(a_tenant())
        erased(TENANT)
    when(command)
    then_rejected("tenant_not_found")


def test_an_active_tenant_may_be_suspended() -> None:
    given(a_tenant())
    when(SuspendTenant(tenant_id=TENANT))
    then(TenantSuspended())


def test_a_suspended_tenant_is_not_suspended_again() -> None:
    given(a_tenant(), TenantSuspended())
    when(SuspendTenant(tenant_id=TENANT))
    then()


def test_a_suspended_tenant_is_back_with_a_new_key() -> None:
    given(a_tenant(), a_key("k1"), TenantSuspended())
    when(ReactivateTenant(tenant_id=TENANT, key=a_key("k2")))
    then(TenantReactivated(), a_key("k2"))


def test_an_active_tenant_is_not_reactivated() -> None:
    given(a_tenant())
    when(ReactivateTenant(tenant_id=TENANT, key=a_key("k2")))
    then_rejected("tenant_not_suspended")


def test_a_tenant_may_be_erased_without_having_been_suspended() -> None:
    given(a_tenant())
    when(RequestErasure(tenant_id=TENANT))
    then(TenantErasureRequested())


def test_an_erasure_is_requested_once() -> None:
    given(a_tenant(), TenantErasureRequested())
    when(RequestErasure(tenant_id=TENANT))
    then()


def test_a_tenant_that_is_being_erased_does_not_come_back() -> None:
    given(a_tenant(), TenantErasureRequested())
    when(ReactivateTenant(tenant_id=TENANT, key=a_key("k2")))
    then_rejected("tenant_not_found", "erased")
