"""Signed URLs: they open one file for whoever has them, and nothing else."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from structlog.testing import capture_logs
from tests.integration.api.conftest import API, app_of, calling, listening
from tests.integration.api.stored import ANN, BOB, DATA, FILES, add

from longrun.settings import Settings


async def test_a_signed_url_opens_without_a_key_and_only_what_it_was_signed_for(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        file, other = await add(caller, headers=ANN), await add(caller, b"other", headers=ANN)
        path, _, query = file["url"].partition("?")
        assert (await caller.get(file["url"])).content == DATA
        assert (await caller.head(file["url"])).status_code == 200
        assert (await caller.get(file["url"], headers=BOB)).content == DATA
        assert (await caller.get(path)).status_code == 401
        assert (await caller.get(f"{FILES}/{other['id']}/content?{query}")).status_code == 403
        assert (await caller.get(f"{FILES}/{file['id']}?{query}")).status_code == 401
        for method in ("DELETE", "POST", "PUT", "PATCH", "OPTIONS"):
            assert (await caller.request(method, file["url"])).status_code == 401
        assert (await caller.delete(f"{FILES}/{file['id']}?{query}")).status_code == 401
        assert (await caller.get(f"{API}/jobs?{query}")).status_code == 401
        assert (await caller.get(f"{FILES}/{file['id']}/content/?{query}")).status_code == 401
        assert (await caller.get(f"{path}?xsig=1")).status_code == 401
        assert (await caller.get(f"{path}?xsig=1", headers=ANN)).content == DATA


def bit_flips(query: str) -> list[str]:
    """The query with each bit of each value changed, as long as it stays text."""
    pairs, found = parse_qsl(query), []
    for at, (name, value) in enumerate(pairs):
        for index in range(len(value)):
            for bit in range(7):
                changed = value[:index] + chr(ord(value[index]) ^ (1 << bit)) + value[index + 1 :]
                found.append(urlencode([*pairs[:at], (name, changed), *pairs[at + 1 :]]))
    return found


async def test_a_signature_with_one_bit_changed_opens_nothing(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        file = await add(caller, headers=ANN)
        path, _, query = file["url"].partition("?")
        changed = bit_flips(query)
        assert len(changed) > 300
        for each in changed:
            answer = await caller.get(f"{path}?{each}")
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), each
        pairs = dict(parse_qsl(query))
        for missing in pairs:
            left = urlencode({name: value for name, value in pairs.items() if name != missing})
            assert (await caller.get(f"{path}?{left}")).status_code == (401 if missing == "sig" else 403)
        for more in (
            {"sig": ""},
            {"sig": "é"},
            {"sig": "x" * 5000},
            {"expires": "99999999999999999999"},
            {"expires": "-1"},
            {"disposition": "inline"},
        ):
            assert (await caller.get(f"{path}?{urlencode(pairs | more)}")).status_code == 403
        assert (await caller.get(f"{path}?{query}")).status_code == 200


async def test_a_wrong_signature_does_not_tell_what_is_there(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        file = await add(caller, headers=ANN)
        for file_id in (file["id"], f"file_{'0' * 32}"):
            assert (await caller.get(f"{FILES}/{file_id}/content?expires=1&kid=a&sig=b")).status_code == 403


async def test_a_signature_holds_for_ten_to_fifteen_minutes(caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await add(caller)
    now = time.time()
    for later, status in ((595, 200), (901, 403)):
        monkeypatch.setattr("longrun.blobs.signing.time.time", lambda later=later: now + later)
        assert (await caller.get(file["url"])).status_code == status


async def test_a_signature_is_never_logged(keyed: Settings, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with capture_logs() as lines, caplog.at_level("DEBUG"):
        async with listening(app_of(keyed)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as caller:
            file = await add(caller, headers=ANN)
            signature = dict(parse_qsl(file["url"].partition("?")[2]))["sig"]
            for query in ({"sig": signature}, dict(parse_qsl(file["url"].partition("?")[2]))):
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(f"GET {FILES}/{file['id']}/content?{urlencode(query)} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                    await reader.read()
                    writer.close()
    written = capfd.readouterr()
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert signature not in str(lines) + written.out + written.err + "\n".join(logged)


async def test_pages_of_other_origins_can_read_what_they_need(settings: Settings) -> None:
    allowed = settings.model_copy(update={"allowed_origins": ("https://page.example",)})
    async with calling(app_of(allowed)) as caller:
        file = await add(caller)
        answer = await caller.get(file["url"], headers={"Origin": "https://page.example", "Range": "bytes=0-1"})
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        exposed = {each.strip() for each in answer.headers["access-control-expose-headers"].split(",")}
        assert {"Content-Range", "Content-Disposition", "ETag", "Repr-Digest"} <= exposed


async def test_who_has_no_right_to_read_does_not_learn_that_a_file_has_existed(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        file = await add(caller, headers=ANN)
        path, _, query = file["url"].partition("?")
        assert (await caller.delete(f"{FILES}/{file['id']}", headers=ANN)).status_code == 204
        forged = [await caller.get(f"{each}?{query[:-4]}AAAA") for each in (path, f"{FILES}/file_{'0' * 32}/content")]
        assert [(each.status_code, each.json()["detail"]) for each in forged] == [(403, forged[0].json()["detail"])] * 2
        assert (await caller.get(file["url"])).status_code == 410
