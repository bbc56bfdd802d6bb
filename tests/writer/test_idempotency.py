"""The same command with the same key is decided once, whenever it comes again."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ahplat import limits
from ahplat.answers import Answer, Done
from ahplat.commands.tenants import SetQuotas
from ahplat.errors import PreconditionFailed, Rejected, Unreadable
from tests.commands.given import TENANT
from tests.writer.harness import Bench, a_key_for, breaks, outcomes, says

DAY_US = limits.SECRET_ANSWER_S * 1_000_000


def replayed(found: Done, **fields: Any) -> Done:
    """The same answer, told again."""
    return Done(found.first_position, found.last_position, found.answer, replayed=True, **fields)


async def test_a_repeat_gets_the_first_answer_and_positions(bench: Bench) -> None:
    key = a_key_for("once")
    first = await bench.set(1, key=key, answer=says(b"first", location="/there", version=7))
    await bench.set(2)
    before = bench.log.position
    again = await bench.set(1, key=key, answer=says(b"second"))
    assert again == replayed(first)
    assert again.answer == Answer(200, b"first", location="/there", version=7)
    assert bench.events(before) == []


async def test_a_first_answer_is_not_called_a_repeat(bench: Bench) -> None:
    found = await bench.set(1, key=a_key_for("once"))
    assert not found.replayed


async def test_a_repeat_gets_the_first_answer_after_a_restart(bench: Bench) -> None:
    key = a_key_for("once")
    first = await bench.set(1, key=key, answer=says(b"first"))
    await bench.reopen()
    before = bench.log.position
    assert await bench.set(1, key=key, answer=says(b"second")) == replayed(first)
    assert bench.log.position == before


async def test_another_key_is_another_command(bench: Bench) -> None:
    first = await bench.set(1, key=a_key_for("one"))
    second = await bench.set(1, key=a_key_for("two"))
    assert second.first_position == first.first_position + 1


async def test_the_same_key_with_another_body_is_refused(bench: Bench) -> None:
    await bench.set(1, key=a_key_for("once", b"one body"))
    before = bench.log.position
    (found,) = await outcomes([bench.set(2, key=a_key_for("once", b"another"))])
    assert isinstance(found, Rejected)
    assert found.code == "idempotency_mismatch"
    assert bench.log.position == before


async def test_of_two_that_come_at_once_one_is_decided(bench: Bench) -> None:
    before = bench.log.position
    async with bench.busy():
        futures = [bench.set(1, key=a_key_for("once"), answer=says(b"%d" % n)) for n in range(3)]
    first, *others = await outcomes(futures)
    assert isinstance(first, Done)
    assert others == [replayed(first)] * 2
    assert first.answer.body == b"0"
    assert bench.values(before) == [1]


async def test_a_rejection_is_decided_again(bench: Bench) -> None:
    key = a_key_for("once")
    (refused,) = await outcomes([bench.submit(SetQuotas(tenant_id="later", quotas={"max_services": 1}), key=key)])
    assert isinstance(refused, Rejected)
    (found,) = await outcomes([bench.set(1, key=key)])
    assert isinstance(found, Done)
    assert not found.replayed


async def test_a_version_that_did_not_fit_is_decided_again(bench: Bench) -> None:
    key = a_key_for("once")
    (refused,) = await outcomes([bench.set(1, key=key, expected=3)])
    assert isinstance(refused, PreconditionFailed)
    await bench.set(2)
    found = await bench.set(1, key=key, expected=3)
    assert not found.replayed


async def test_a_repeat_is_not_held_against_a_version_that_has_moved_on(bench: Bench) -> None:
    key = a_key_for("once")
    first = await bench.set(1, key=key, expected=2)
    await bench.set(2)
    assert await bench.set(1, key=key, expected=2) == replayed(first)


async def test_a_command_that_failed_by_our_fault_is_decided_again(bench: Bench) -> None:
    key = a_key_for("once")
    await outcomes([bench.set(1, key=key, answer=breaks)])
    found = await bench.set(1, key=key)
    assert not found.replayed


async def test_a_command_that_changed_nothing_is_remembered_too(bench: Bench) -> None:
    key = a_key_for("once")
    nothing = SetQuotas(tenant_id=TENANT, quotas={})
    first = await bench.submit(nothing, key=key, answer=says(b"first"))
    await bench.set(2)
    assert await bench.submit(nothing, key=key, answer=says(b"second")) == replayed(first)


async def test_a_fault_of_another_in_the_batch_does_not_make_a_command_happen_twice(bench: Bench) -> None:
    key, before = a_key_for("once"), bench.log.position
    async with bench.busy():
        futures = [bench.set(1, key=key), bench.set(2, answer=breaks), bench.set(1, key=key)]
    first, _, again = await outcomes(futures)
    assert isinstance(first, Done)
    assert again == replayed(first)
    assert bench.values(before) == [1]


async def test_an_answer_is_not_in_the_file_to_be_read(bench: Bench, folder: Path) -> None:
    await bench.set(1, key=a_key_for("once"), answer=says(b"spoken softly", secret=b"spoken very softly"))
    await bench.reopen()
    await bench.close()
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    assert b"quotas_set" in content
    assert b"softly" not in content
    bench.open()


async def test_an_answer_ends_with_its_tenant(bench: Bench) -> None:
    key = a_key_for("once")
    await bench.set(1, key=key, answer=says(b"first"))
    bench.keyring.destroy(TENANT)
    before = bench.log.position
    (found,) = await outcomes([bench.set(1, key=key)])
    assert isinstance(found, Unreadable)
    assert bench.log.position == before


async def test_the_answer_to_nobodys_command_is_sealed_for_the_platform(bench: Bench) -> None:
    key = a_key_for("once", tenant="")
    first = await bench.set(1, key=key, answer=says(b"first"))
    bench.keyring.destroy(TENANT)
    assert await bench.set(1, key=key) == replayed(first)


# secrets


async def test_a_secret_is_told_again_for_a_day(bench: Bench) -> None:
    key = a_key_for("once")
    first = await bench.set(1, key=key, answer=says(b"plain", secret=b"secret"))
    assert first.answer.secret == b"secret"
    bench.clock.us += DAY_US - 1
    assert await bench.set(1, key=key) == replayed(first)


async def test_a_secret_is_told_again_after_a_restart(bench: Bench) -> None:
    key = a_key_for("once")
    await bench.set(1, key=key, answer=says(b"plain", secret=b"secret"))
    await bench.reopen()
    again = await bench.set(1, key=key)
    assert (again.answer.secret, again.secret_expired) == (b"secret", False)


async def test_after_a_day_the_answer_comes_without_the_secret_and_says_so(bench: Bench) -> None:
    key = a_key_for("once")
    first = await bench.set(1, key=key, answer=says(b"plain", secret=b"secret"))
    bench.clock.us += DAY_US
    again = await bench.set(1, key=key)
    assert (again.first_position, again.answer.body, again.answer.secret) == (first.first_position, b"plain", b"")
    assert again.secret_expired


async def test_a_secret_that_expired_is_no_longer_in_the_file(bench: Bench) -> None:
    await bench.set(1, key=a_key_for("one"), answer=says(b"plain", secret=b"secret"))
    bench.clock.us += DAY_US
    await bench.set(2, key=a_key_for("two"), answer=says(b"plain", secret=b"secret"))
    ids = [row[0] for row in bench.reader.execute("SELECT id FROM command_secret")]
    assert ids == [a_key_for("two").id]


async def test_what_is_kept_for_good_of_an_answer_is_not_its_secret(bench: Bench) -> None:
    key = a_key_for("once")
    await bench.set(1, key=key, answer=says(b"plain", secret=b"secret"))
    sealed = bytes(bench.reader.execute("SELECT answer FROM command").get)
    kept = msgspec.json.decode(bench.keyring.unseal_answer(TENANT, sealed, key.id), type=Answer)
    assert kept == Answer(200, b"plain", secret=b"-")


@pytest.mark.parametrize("hours", [0, 48])
async def test_a_secret_that_is_not_to_be_kept_is_told_once(bench: Bench, hours: int) -> None:
    key = a_key_for("once", keeps_secret=False)
    first = await bench.set(1, key=key, answer=says(b"plain", secret=b"secret"))
    assert first.answer.secret == b"secret"
    assert bench.reader.execute("SELECT count(*) FROM command_secret").get == 0
    bench.clock.us += hours * 3600 * 1_000_000
    again = await bench.set(1, key=key)
    assert (again.answer.body, again.answer.secret, again.secret_expired) == (b"plain", b"", True)


async def test_an_answer_without_a_secret_never_expires(bench: Bench) -> None:
    key = a_key_for("once")
    first = await bench.set(1, key=key, answer=says(b"plain"))
    bench.clock.us += 1000 * DAY_US
    assert await bench.set(1, key=key) == replayed(first)


async def test_a_command_without_a_key_is_not_remembered(bench: Bench) -> None:
    await bench.set(1)
    assert bench.reader.execute("SELECT count(*) FROM command").get == 0


async def test_repeats_are_counted(bench: Bench) -> None:
    for _ in range(3):
        await bench.set(1, key=a_key_for("once"))
    assert bench.writer.statistics.replayed == 2
