"""What the store has lost is found out and reported once; what merely looks like it is not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.store.lost_stores import command, cut_power, fail_over, pair, received_all, watching, written
from tests.integration.store.test_files import made_by, told
from tests.integration.store.test_scripts import claimed, new_job
from tests.waiting import until

from longrun.chores.loss_watch import LossWatch
from longrun.chores.mark_file import MarkFile
from longrun.embedded import EmbeddedValkey
from longrun.jobs.fence import fence_of
from longrun.jobs.states import Status
from longrun.service.losses import examine_loss, sentence
from longrun.settings import Settings
from longrun.store.claims import Ending, FilesLost
from longrun.store.formats import FORMAT
from longrun.store.losses import Loss, Mark
from longrun.store.server_facts import write_about
from longrun.store.store import Store
from longrun.wiring import inspect_store

LOST = "the store has lost writes"


async def looks(*watches: LossWatch, times: int = 3) -> None:
    for _ in range(times):
        for watch in watches:
            await watch.look()


def reported(logs: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [line["found"] for line in logs if line["event"] == LOST]


async def latest(store: Store) -> Loss:
    loss = await store.losses.read()
    assert loss is not None
    return loss


async def test_a_failover_to_a_replica_that_lags_is_reported_once_by_every_process_with_its_window(tmp_path: Path) -> None:
    with pair(tmp_path) as (address, link, primary, replica):
        async with watching(address.url) as (store, ours), watching(address.url) as (_, theirs):
            await looks(ours, theirs)
            await until(lambda: received_all(primary, replica))
            link.freeze()
            await looks(ours, theirs, times=2)
            last = int(command(primary, "GET", f"{store.prefix}marked").split("\r\n")[1])
            fail_over(address, replica)
            kept = int(command(replica, "GET", f"{store.prefix}marked").split("\r\n")[1])
            with capture_logs() as logs:
                await looks(ours, theirs)
            loss = await latest(store)
    assert loss.kind == "failover" and loss.begin is not None
    assert loss.begin <= kept and last <= loss.end
    assert len(reported(logs)) == 2
    assert sentence(loss).startswith("what was written between 20") and "a replica took over" in sentence(loss)
    assert examine_loss(loss).severity == "warn"


async def test_the_way_back_to_a_primary_that_went_on_alone_is_a_loss_too(tmp_path: Path) -> None:
    with pair(tmp_path) as (address, link, primary, replica):
        async with watching(address.url) as (store, watch):
            await looks(watch)
            await until(lambda: received_all(primary, replica))
            link.freeze()
            await looks(watch, times=9)
            fail_over(address, replica)
            await looks(watch, times=4)
            there = await latest(store)
            address.target = primary
            address.reset()
            with capture_logs() as logs:
                await looks(watch)
            assert len(reported(logs)) == 1 and (await latest(store)).at > there.at


async def test_a_failover_that_lost_nothing_is_not_reported(tmp_path: Path) -> None:
    with pair(tmp_path) as (address, _, primary, replica):
        async with watching(address.url) as (store, watch):
            await looks(watch)
            assert (await store.records.submit(new_job())).outcome == "new"
            await until(lambda: received_all(primary, replica))
            fail_over(address, replica)
            await looks(watch)
            assert await store.losses.read() is None


async def test_a_power_cut_is_reported_and_another_one_after_it_too(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        async with watching(server.start()) as (store, watch):
            await looks(watch)
            size = await written(server, store)
            await looks(watch, times=2)
            cut_power(server, size)
            server.start()
            with capture_logs() as logs:
                await looks(watch)
            first = await latest(store)
            assert first.kind == "restart" and first.begin is not None and len(reported(logs)) == 1
            size = await written(server, store)
            await looks(watch, times=2)
            cut_power(server, size)
            server.start()
            with capture_logs() as logs:
                await looks(watch)
            second = await latest(store)
            assert second.at > first.at and second.begin is not None and second.begin >= first.at and len(reported(logs)) == 1


async def test_a_restart_a_kill_and_a_rewrite_that_lose_nothing_are_not_reported(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        async with watching(server.start()) as (store, watch):
            await looks(watch)
            server.stop()
            server.start()
            await looks(watch)
            await written(server, store)  # the server holds writes back while a slow disk syncs, and would lose them now
            cut_power(server, None)
            server.start()
            await looks(watch)
            await store.connection.command("BGREWRITEAOF")
            await looks(watch)
            assert await store.losses.read() is None


async def test_what_is_lost_of_data_without_any_mark_is_lost_since_they_began_and_not_before(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        async with watching(server.start()) as (store, watch):
            born = int(await store.connection.command("HGET", f"{store.prefix}about", "born"))
            size = await written(server, store)
            await looks(watch)
            cut_power(server, size)
            server.start()
            await looks(watch)
            loss = await latest(store)
    assert (loss.kind, loss.begin) == ("restart", born)


async def test_data_restored_from_before_the_processes_began_are_reported_from_their_last_mark_on(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        url = server.start()
        async with watching(url) as (store, earlier):
            await looks(earlier)
            size = await written(server, store)
        async with watching(url) as (store, watch):
            kept = int(await store.connection.command("GET", f"{store.prefix}marked"))
            await looks(watch)
            cut_power(server, size)
            server.start()
            await looks(watch)
            loss = await latest(store)
    assert (loss.kind, loss.begin) == ("restart", kept)


async def test_a_power_cut_that_nobody_has_lived_through_is_reported_after_the_next_start(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        url = server.start()
        file = MarkFile.beside(server.data, url)
        assert file is not None and MarkFile.beside(server.data, "redis://elsewhere") is None
        async with watching(url) as (store, earlier):
            await looks(earlier)
            size = await written(server, store)
            with file_of(earlier, file):
                await looks(earlier)
        cut_power(server, size)
        async with watching(server.start()) as (store, _):
            with capture_logs() as logs:
                await looks(LossWatch(store.losses, file), LossWatch(store.losses, file))
            loss = await latest(store)
            await written(server, store)
            assert loss.kind == "restart" and loss.begin is not None and loss.begin < loss.end and len(reported(logs)) == 1
            cut_power(server, None)
            server.start()
            with capture_logs() as logs:
                await looks(LossWatch(store.losses, file))
            assert reported(logs) == [] and await latest(store) == loss, "a restart that lost nothing, and a loss that is reported"


@contextlib.contextmanager
def file_of(watch: LossWatch, file: MarkFile) -> Iterator[None]:
    watch._file = file
    yield
    watch._file = None


async def test_a_mark_that_cannot_be_kept_is_logged_once_and_the_watch_goes_on(store: Store, tmp_path: Path) -> None:
    watch = LossWatch(store.losses, MarkFile(tmp_path / "not there"))
    with capture_logs() as logs:
        await looks(watch)
    assert [line["event"] for line in logs] == ["the latest mark cannot be kept"]
    (tmp_path / "last-mark").write_bytes(b"[1")
    assert MarkFile(tmp_path).read() is None


async def test_a_store_that_was_emptied_is_that_and_other_data_are_other_data(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "a") as one, EmbeddedValkey(tmp_path / "b") as other:
        urls = one.start(), other.start()
        async with watching(urls[0]) as (store, watch), watching(urls[1]) as (elsewhere, _):
            await looks(watch)
            for losses in (elsewhere.losses, store.losses):
                watch._losses = losses
                with capture_logs() as logs:
                    await looks(watch)
                loss = await losses.read()
                assert loss is not None and loss.kind == "other" and "other data" in sentence(loss)
                assert reported(logs) == [], "who looks whether jobs may be accepted logs that"
            await store.connection.command("FLUSHALL")
            await write_about(store, 2**45, FORMAT, timeout=5)  # as every process does that looks at an empty store
            await looks(watch)
            loss = await latest(store)
            assert loss.kind == "emptied" and loss.begin is None


async def test_what_was_lost_between_two_marks_shows_by_the_job_that_was_accepted_last(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        async with watching(server.start()) as (store, watch):
            await looks(watch)
            size = await written(server, store)
            assert (await store.records.submit(new_job())).outcome == "new"
            cut_power(server, size)
            server.start()
            assert (await store.records.submit(new_job())).outcome == "new", "callers do not wait for the next mark"
            await looks(watch)
            assert (await latest(store)).kind == "restart"


async def test_a_job_that_was_deleted_at_once_is_no_loss(store: Store) -> None:
    watch = LossWatch(store.losses)
    await looks(watch)
    job_id = await claimed(store)
    await store.claims.finish(job_id, "1/n", "succeeded", b"1", b"{}")
    await store.records.delete(job_id, "t")
    await looks(watch)
    assert await store.losses.read() is None


async def test_an_acl_without_info_hides_the_cause_alone(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        url = server.start()
        async with watching(url) as (store, _):
            await store.connection.command("ACL", "SETUSER", "tight", "on", ">secret", "~*", "&*", "+@all", "-info")
            async with watching(url.replace("unix://", "unix://tight:secret@")) as (_, watch):
                await looks(watch)
                await store.connection.command("SET", f"{store.prefix}mark:{watch._confirmed.name}", "1 5")
                await looks(watch)
            assert await latest(store) == Loss((await latest(store)).at, "unknown", 5, (await latest(store)).end)


DAY = 86_400_000
NOW = int(time.time() * 1000)


@pytest.mark.parametrize(
    ("there", "marked", "outcome"),
    [
        ("3 5", NOW, "kept"),
        ("4 5", NOW, "kept"),  # one whose answer was lost
        ("2 5", NOW, "older"),
        (None, NOW - 1000, "kept"),  # of a process that was frozen so long that its marks expired, while others went on
        (None, NOW - DAY, "older"),
        (None, None, "older"),
    ],
    ids=["the same", "one more", "one less", "expired", "a day ago", "never"],
)
async def test_the_mark_decides_and_no_clock(store: Store, there: str | None, marked: int | None, outcome: str) -> None:
    set_ = store.connection.command
    if there is not None:
        await set_("SET", f"{store.prefix}mark:p", there)
    if marked is not None:
        await set_("SET", f"{store.prefix}marked", marked)
    for confirmed_at in (NOW - 2000, NOW - 1001):
        seen = await store.losses.mark(Mark("p", 3, confirmed_at), 4)
        assert seen.outcome == outcome


async def test_a_clock_set_back_or_forth_or_a_long_sleep_is_no_loss(store: Store) -> None:
    await store.connection.command("SET", f"{store.prefix}mark:p", "3 5")
    assert (await store.losses.mark(Mark("q", 3, NOW - 3_700_000), 0)).outcome == "kept", "its marks have expired"
    assert (await store.losses.mark(Mark("p", 3, NOW + 10 * DAY), 4)).outcome == "kept", "the server's clock was set back"


async def test_a_report_that_is_sent_twice_or_by_two_is_one_loss(store: Store) -> None:
    report = store.losses.report
    first = await report("restart", 100, 200, known=None)
    assert await report("restart", 100, 200, known=None) == first
    assert await report("unknown", 50, 300, known=None) == Loss(first.at, "restart", 50, 300)
    assert await report("unknown", None, 250, known=None) == Loss(first.at, "restart", None, 300)
    again = await report("failover", 400, 500, known=first)
    assert (again.kind, again.begin, again.end) == ("failover", 400, 500)


async def test_doctor_reads_the_loss_and_a_server_that_takes_no_writes_has_none(settings: Settings, store: Store) -> None:
    *_, nothing = await inspect_store(settings, settings.redis_url, claim=False)
    loss = await store.losses.report("restart", 100, 200, known=None)
    *_, found = await inspect_store(settings, settings.redis_url, claim=False)
    assert (nothing, found) == (None, loss) and examine_loss(None).severity == "ok"


async def test_what_was_found_before_a_process_began_is_not_logged_by_it(store: Store) -> None:
    await store.losses.report("restart", 100, 200, known=None)
    with capture_logs() as logs:
        await looks(LossWatch(store.losses))
    assert reported(logs) == [] and store.losses.latest is not None


async def test_a_claim_that_was_replicated_without_its_events_goes_on_with_a_gap_in_their_place_and_all_its_files(tmp_path: Path) -> None:
    with pair(tmp_path) as (address, link, primary, replica):
        async with watching(address.url) as (store, _):
            job_id = await claimed(store)
            claims, ref, later = store.claims, made_by(job_id), made_by(job_id)
            ended = Ending(job_id, fence_of(1, "n"), "succeeded", b"1", files=2)
            assert await claims.append(job_id, ended.fence, 0, b"", [("output", b'{"value":"a"}')])
            await until(lambda: received_all(primary, replica))
            link.freeze()
            assert await claims.append(job_id, ended.fence, 1, b"", [*told(ref), ("output", b'{"value":"b"}')])
            fail_over(address, replica)
            assert await claims.append(job_id, ended.fence, 3, b"", [*told(later), ("output", b'{"value":"c"}')])
            assert isinstance((await claims.finish_all([ended]))[0], FilesLost)
            assert (await store.records.read(job_id, "t")).status is Status.RUNNING
            assert await claims.append(job_id, ended.fence, 5, b"", told(ref, later))
            assert await claims.finish_all([ended]) == ["succeeded"]
            assert [(await store.files.read(each.id, "t")).ref for each in (ref, later)] == [ref, later]
            page = await store.records.events(job_id, "t", 2, 100)
            assert [event.type for event in page.events] == ["output", "gap", "output", "done"]
            assert (page.events[1].seq, page.events[1].data) == (4, b'{"from":4,"to":4}')
            assert page.cut == 1
