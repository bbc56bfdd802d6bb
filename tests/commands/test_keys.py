"""Who may have keys, and how many."""

import pytest

from ahplat import limits
from ahplat.commands.keys import CreateKey, RevokeKey
from events.keys import KeyRevoked
from events.tenants import TenantErased, TenantErasureRequested, TenantSuspended
from projections import keys
from tests.commands.facts import a_key, a_tenant
from tests.commands.given import OTHER_TENANT, TENANT, given, then, then_rejected, when, world


def test_a_tenant_may_have_one_more_key() -> None:
    given(a_tenant(), a_key("k1"))
    when(CreateKey(tenant_id=TENANT, key=a_key("k2")))
    then(a_key("k2"))


def test_nobody_has_no_key() -> None:
    when(CreateKey(tenant_id=TENANT, key=a_key()))
    then_rejected("tenant_not_found")


def test_a_suspended_tenant_gets_no_key() -> None:
    given(a_tenant(), TenantSuspended())
    when(CreateKey(tenant_id=TENANT, key=a_key()))
    then_rejected("tenant_suspended")


def test_an_erased_tenant_gets_no_key() -> None:
    given(a_tenant(), TenantErasureRequested())
    given(TenantErased(world().log.position))
    when(CreateKey(tenant_id=TENANT, key=a_key()))
    then_rejected("tenant_not_found")


def test_a_tenant_has_no_more_keys_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_PER_TENANT", 2)
    given(a_tenant(), a_key("k1"), a_key("k2"))
    when(CreateKey(tenant_id=TENANT, key=a_key("k3")))
    then_rejected("quota_exceeded", "2 keys")


def test_a_revoked_key_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_PER_TENANT", 2)
    given(a_tenant(), a_key("k1"), a_key("k2"), KeyRevoked("k1"))
    when(CreateKey(tenant_id=TENANT, key=a_key("k3")))
    then(a_key("k3"))


def test_a_key_may_be_revoked() -> None:
    given(a_tenant(), a_key("k1"))
    when(RevokeKey(tenant_id=TENANT, key_id="k1"))
    then(KeyRevoked("k1"))


def test_a_key_is_revoked_once() -> None:
    given(a_tenant(), a_key("k1"), KeyRevoked("k1"))
    when(RevokeKey(tenant_id=TENANT, key_id="k1"))
    then_rejected("key_not_found")


def test_a_key_that_is_not_there_is_not_revoked() -> None:
    given(a_tenant())
    when(RevokeKey(tenant_id=TENANT, key_id="k1"))
    then_rejected("key_not_found")


def test_another_tenants_key_is_not_revoked() -> None:
    given(a_tenant(), a_key("k1"))
    when(RevokeKey(tenant_id=OTHER_TENANT, key_id="k1"))
    then_rejected("key_not_found")


@pytest.mark.parametrize("end", [TenantSuspended(), TenantErasureRequested()], ids=["suspended", "to be erased"])
def test_all_keys_die_with_the_end_of_their_tenant(end: TenantSuspended | TenantErasureRequested) -> None:
    given(a_tenant(), a_key("k1"), a_key("k2"), end)
    assert keys.count_of(world().views.db, TENANT) == 0
