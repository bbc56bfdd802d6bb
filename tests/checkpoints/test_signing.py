"""What a server signs of its log: enough, in order, and nothing that is not committed and whole."""

import asyncio
from pathlib import Path

import pytest

from ahplat import checkpoints, durable, limits
from ahplat.errors import Unavailable
from ahplat.sealing import Keyring
from events import chain
from events.checkpoint import PublicKey
from events.log import read_all
from tests.checkpoints.desk import INSTALLATION, Desk, eventually
from tests.events.raw import raw


@pytest.fixture(autouse=True)
def every_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_EVENTS", 10)


async def written(folder: Path, *commits: int) -> Desk:
    """A server that has ended in order after so many commits of so many events."""
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()
    for count in commits:
        desk.append(count)
    await desk.close()
    return desk


def holds(desk: Desk) -> bool:
    """Whether each checkpoint has the link that the log has there."""
    reopened = Desk(desk.folder)
    events = {at.position: at.link for at in read_all(reopened.log.db, 0, 10_000)}
    reopened._close_files()
    return bool(desk.signed) and all(events[one.position] == one.link for one in desk.signed)


async def test_a_new_log_is_signed_at_once(folder: Path) -> None:
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()
    await desk.close()
    assert desk.positions == [1]


@pytest.mark.parametrize("commits", [(40,), (9, 1, 1), (8, 3, 25), (1,) * 30])
async def test_two_checkpoints_are_never_further_apart_than_a_proof_may_be_long(
    folder: Path, commits: tuple[int, ...]
) -> None:
    desk = await written(folder, *commits)
    end = 1 + sum(commits)
    assert set(desk.positions) >= {*range(10, end + 1, 10), end}
    assert desk.positions == sorted(set(desk.positions))
    assert holds(desk)


async def test_what_is_quiet_is_signed_after_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_EVERY_S", 0.01)
    desk = Desk(folder).begin()
    desk.append(3)
    await desk.signed_to(4)
    await desk.die()


async def test_what_did_not_move_is_not_signed_again(folder: Path) -> None:
    before = (await written(folder, 4)).positions
    again = Desk(folder).begin()
    await again.checkpoints.caught_up.wait()
    await again.close()
    assert again.positions == before


async def test_what_was_committed_before_a_kill_is_signed_by_the_next_start(folder: Path) -> None:
    before = (await written(folder, 12)).positions
    killed = Desk(folder)
    killed.append(31, is_heard=False)
    killed._close_files()
    again = Desk(folder).begin()
    await again.signed_to(44)
    await again.close()
    assert again.positions == [*before, 20, 30, 40, 44]
    assert holds(again)


async def test_all_of_a_log_that_was_never_signed_is(folder: Path) -> None:
    desk = Desk(folder)
    desk.append(55, is_heard=False)
    desk.begin()
    await desk.signed_to(56)
    await desk.close()
    assert desk.positions == [10, 20, 30, 40, 50, 56]


async def test_a_server_that_ends_meanwhile_leaves_no_gap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHUNK", 5)
    desk = Desk(folder)
    desk.append(55, is_heard=False)
    desk.begin()
    await desk.signed_to(10)
    desk.append(5)
    await desk.close()
    again = Desk(folder).begin()
    await again.checkpoints.caught_up.wait()
    await again.close()
    assert again.positions == [10, 20, 30, 40, 50, 60, 61] or again.positions == [10, 20, 30, 40, 50, 56, 60, 61]


async def test_wherever_a_kill_tore_what_was_written_the_rest_is_signed_again(folder: Path) -> None:
    whole = (await written(folder, 25)).file.read_bytes()
    expected = {10, 20, 26}
    for length in range(0, len(whole), 23):
        desk = Desk(folder)
        desk.file.write_bytes(whole[:length])
        desk.begin()
        await desk.checkpoints.caught_up.wait()
        await desk.close()
        assert set(desk.positions) >= expected, length
        assert desk.positions == sorted(desk.positions)


async def test_no_room_for_a_checkpoint_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()
    calls = []

    def full(path: Path, line: str) -> None:
        calls.append(line)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "append_line", full)
        desk.append(9)
        await eventually(lambda: calls)
    desk.append(10)
    await desk.signed_to(20)
    await desk.close()
    assert desk.positions == [1, 10, 20]


async def test_no_room_at_the_start_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CATCH_UP_S", 0.001)
    real, calls = durable.append_line, []

    def full_once(path: Path, line: str) -> None:
        calls.append(line)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(path, line)

    monkeypatch.setattr(durable, "append_line", full_once)
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()
    await desk.close()


async def test_a_log_that_was_changed_since_is_not_signed(folder: Path) -> None:
    await written(folder, 15)
    desk = Desk(folder)
    desk.append(300, is_heard=False)  # a start looks at the last 200
    desk._close_files()
    with raw(folder / "events.db") as db:
        db.execute("UPDATE event SET tenant = 'u' WHERE position = 31")
    again = Desk(folder).begin()
    await again.checkpoints.caught_up.wait()
    with pytest.raises(Unavailable, match="position 31"):
        await again.checkpoints.proof(20)
    again.append(20)
    await again.close()
    assert max(again.positions) == 16


async def test_a_log_that_was_written_anew_is_not_signed(folder: Path) -> None:
    desk = await written(folder, 15)
    before = desk.positions
    rechain(folder, 12)
    again = Desk(folder)
    why = checkpoints.contradiction(folder, desk.key, 1, again.log.db)
    assert why.startswith("position 16 has the link ")
    again.begin()
    await again.checkpoints.caught_up.wait()
    again.append(20)
    await again.close()
    assert again.positions == before


def rechain(folder: Path, position: int) -> None:
    """Changes an event and writes the chain from there on so that it holds: whoever has no key can do that."""
    log = Desk(folder)
    events = read_all(log.log.db, 0, 10_000)
    log._close_files()
    link = chain.GENESIS
    with raw(folder / "events.db") as db:
        db.execute("UPDATE event SET tenant = 'u' WHERE position = ?", (position,))
        for at in events:
            tenant = "u" if at.position == position else at.tenant
            own = chain.leaf(at.position, at.stream, at.version, at.type, at.at_us, tenant, at.data, at.meta)
            link = chain.link(link, own)
            db.execute("UPDATE event SET link = ? WHERE position = ?", (link, at.position))


async def test_a_log_that_lost_its_end_is_known(folder: Path) -> None:
    desk = await written(folder, 15)
    with raw(folder / "events.db") as db:
        db.execute("DELETE FROM event WHERE position > 12")
    again = Desk(folder)
    why = checkpoints.contradiction(folder, desk.key, 1, again.log.db)
    assert why.startswith("position 16 is not there, but the link ")
    again._close_files()


async def test_another_installations_log_is_known(folder: Path) -> None:
    desk = await written(folder, 15)
    again = Desk(folder)
    why = checkpoints.contradiction(folder, PublicKey("ahplat/other", desk.key.ed25519), 1, again.log.db)
    assert why == f"this log is ahplat/other, signed was {desk.key.name}"
    again._close_files()


async def test_a_log_that_was_never_signed_contradicts_nothing(folder: Path) -> None:
    desk = Desk(folder)
    assert checkpoints.contradiction(folder, desk.key, 1, desk.log.db) == ""
    desk._close_files()


async def test_a_note_that_nobody_signed_counts_for_nothing(folder: Path) -> None:
    desk = await written(folder, 15)
    before = desk.positions
    forged = Keyring(folder / "other.db", bytes(32))
    durable.append_line(desk.file, "\n" + forged.signed(desk.signed[-1]).replace("16", "17", 1).rstrip("\n"))
    forged.close()
    again = Desk(folder)
    assert checkpoints.contradiction(folder, desk.key, 1, again.log.db) == ""
    again.begin()
    await again.checkpoints.caught_up.wait()
    await again.close()
    assert again.checkpoints.problem == ""
    assert again.positions == before


async def test_after_a_restore_the_past_that_was_given_up_stays_and_does_not_count(folder: Path) -> None:
    before = (await written(folder, 30)).signed
    with raw(folder / "events.db") as db:
        db.execute("DELETE FROM event WHERE position > 23")
    restoring = Desk(folder)
    restoring.restore()
    restoring._close_files()
    again = Desk(folder).begin()
    await again.checkpoints.caught_up.wait()
    again.append(20)
    proof = await again.checkpoints.proof(22)
    newer = await again.checkpoints.proof(26)
    await again.close()
    assert (newer.signed.checkpoint.position, newer.signed.checkpoint.epoch) == (30, 2)
    assert [(one.position, one.epoch) for one in again.signed[len(before) :]] == [
        (24, 2),
        (30, 2),
        (40, 2),
        (44, 2),
    ]
    assert (proof.signed.checkpoint.position, proof.signed.checkpoint.epoch) == (24, 2)
    assert again.checkpoints.problem == ""


async def test_an_event_is_proved_by_the_next_checkpoint(folder: Path) -> None:
    desk = Desk(folder).begin()
    desk.append(35)
    await desk.signed_to(30)
    proof = await desk.checkpoints.proof(12)
    assert (proof.event.position, proof.signed.checkpoint.position, len(proof.leaves)) == (12, 20, 9)
    link = proof.before
    for leaf in proof.leaves:
        link = chain.link(link, leaf)
    assert link == proof.signed.checkpoint.link
    assert proof.leaves[0] == chain.leaf_of(proof.event)
    await desk.close()


async def test_who_asks_while_the_log_is_being_signed_gets_the_checkpoint_once_it_is_there(folder: Path) -> None:
    desk = Desk(folder).begin()
    desk.append(3)
    assert desk.checkpoints.last is None
    assert (await desk.checkpoints.newest()).checkpoint.position == 1
    await desk.close()


async def test_where_nothing_can_be_signed_who_asks_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, line: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "append_line", full)
    monkeypatch.setattr(limits, "POSITION_WAIT_S", 0.01)
    desk = Desk(folder).begin()
    with pytest.raises(Unavailable, match="the log is being signed"):
        await desk.checkpoints.newest()
    await desk.die()


async def test_an_event_that_no_checkpoint_covers_yet_gets_one_at_once(folder: Path) -> None:
    desk = Desk(folder).begin()
    desk.append(35)
    proof, other = await asyncio.gather(desk.checkpoints.proof(35), desk.checkpoints.proof(34))
    assert proof.signed == other.signed
    assert proof.signed.checkpoint.position == 36
    await desk.die()
    assert desk.positions.count(36) == 1


async def test_many_who_ask_for_proofs_do_not_have_each_event_signed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_EVENTS", 1_000)
    monkeypatch.setattr(limits, "CHECKPOINT_APART_S", 0.05)
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()
    proofs = []
    for _ in range(20):
        desk.append(1)
        proofs.append(asyncio.create_task(desk.checkpoints.proof(desk.log.position)))
        await asyncio.sleep(0)
    found = [(await proof).signed.checkpoint.position for proof in proofs]
    assert len(set(found)) <= 2
    await desk.close()


async def test_without_room_there_is_no_proof_of_what_is_newer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()

    def full(path: Path, line: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "append_line", full)
    desk.append(3)
    with pytest.raises(Unavailable, match="no room"):
        await desk.checkpoints.proof(4)
    assert (await desk.checkpoints.proof(1)).signed.checkpoint.position == 1
    await desk.close()


async def test_a_change_between_an_event_and_its_checkpoint_is_no_proof(folder: Path) -> None:
    await written(folder, 35, 200)
    with raw(folder / "events.db") as db:
        db.execute("UPDATE event SET tenant = 'u' WHERE position = 14")
    desk = Desk(folder).begin()
    await desk.checkpoints.caught_up.wait()
    assert (await desk.checkpoints.proof(25)).event.position == 25
    with pytest.raises(Unavailable, match="the events from 12 to 20 do not give the link that was signed"):
        await desk.checkpoints.proof(12)
    await desk.close()


async def test_a_new_master_key_changes_neither_key_nor_signatures(folder: Path) -> None:
    desk = await written(folder, 15)
    keyring = Keyring(folder / "keys.db", bytes(32))
    keyring.wrap_anew(b"n" * 32)
    keyring.close()
    again = Keyring(folder / "keys.db", b"n" * 32)
    assert again.checkpoint_key(INSTALLATION) == desk.key
    again.close()


async def test_the_key_stands_beside_what_it_signed(folder: Path) -> None:
    desk = await written(folder, 1)
    assert desk.file.with_name("key").read_text() == f"{desk.key.text}\n"
