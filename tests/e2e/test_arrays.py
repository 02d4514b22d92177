"""What models return as arrays: JSON for everybody, and the bytes of the array for those who ask for them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx
import numpy
import pytest

from longrun.client import AsyncClient, Client
from longrun.errors import JobFailed

from .conftest import Service, longrun

MODELS = """
    from typing import Any
    import numpy
    from pydantic import BaseModel
    from longrun import Model, batched, model

    class Ask(BaseModel):
        rows: int
        dtype: str = "float32"

    class Embed(Model):
        @batched(max_size=8, max_wait_ms=5)
        def predict(self, asks: list[Ask]) -> list[numpy.ndarray]:
            return [numpy.arange(ask.rows * 384).reshape(ask.rows, 384).astype(ask.dtype) for ask in asks]

    @model
    def holes(rows: int) -> Any:
        made = numpy.ones((rows, 384), numpy.float32)
        made[0, 1], made[0, 2] = numpy.nan, numpy.inf
        return made

    @model
    def inside(rows: int) -> dict[str, Any]:
        return {"rows": rows, "values": numpy.eye(rows)[:, ::-1]}

    @model
    def odd(kind: str) -> Any:
        return {"object": numpy.array([object()] * 20_000), "complex": numpy.full(20_000, 1j), "text": numpy.array(["a"])}[kind]
"""
BIG, SMALL = {"rows": 100}, {"rows": 1}  # 150 KB and 1.5 KB of float32
NPY = {"Accept": "application/x-npy"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the models above."""
    folder = tmp_path_factory.mktemp("arrays")
    (folder / "app.py").write_text(textwrap.dedent(MODELS))
    service = Service(folder, str(folder / "app.py"))
    try:
        assert service.url
        yield service
    finally:
        service.close()


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """Calls its API."""
    with httpx.Client(base_url=f"{service.url}/api/v1", timeout=60) as http:
        yield http


def ended(http: httpx.Client, model: str, **fields: Any) -> dict[str, Any]:
    """A job of this model, at its end."""
    job: dict[str, Any] = http.post(f"/models/{model}/jobs", json={"input": fields}, headers={"Prefer": "wait=30"}).json()
    assert job["terminal"], job
    return job


def loaded(answer: httpx.Response) -> Any:
    """The array that an answer holds."""
    assert answer.headers["content-type"] == "application/x-npy"
    return numpy.load(io.BytesIO(answer.content), allow_pickle=False)


def expected(rows: int) -> Any:
    return numpy.arange(rows * 384).reshape(rows, 384)


def test_a_large_array_is_kept_as_its_bytes_and_given_as_them_or_as_json(http: httpx.Client) -> None:
    job = ended(http, "embed", **BIG)
    path = f"/jobs/{job['id']}/result"

    assert job["output"] is None
    assert job["output_file"]["content_type"] == "application/x-npy"
    assert job["output_file"]["size"] == 100 * 384 * 4 + 128
    found = loaded(http.get(path, headers=NPY))
    assert found.dtype == numpy.float32
    assert numpy.array_equal(found, expected(100))
    assert http.get(path).json() == expected(100).tolist()
    assert http.get(f"/jobs/{job['id']}/output").json()["output"] == expected(100).tolist()


def test_what_is_given_goes_by_the_accept_header_and_caches_are_told(http: httpx.Client) -> None:
    path = f"/jobs/{ended(http, 'embed', **BIG)['id']}/result"
    kinds = {
        "application/x-npy": "application/x-npy",
        "application/x-npy, application/json;q=0.5": "application/x-npy",
        "application/x-npy;q=0.5, application/json": "application/json",
        "application/x-npy;q=0": "application/json",
        "application/json": "application/json",
        "*/*": "application/json",
    }
    for accept, kind in kinds.items():
        answer = http.get(path, headers={"Accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "Accept"), accept
    first = http.get(path, headers=NPY)
    again = http.get(path, headers=NPY | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.headers["vary"]) == (304, "Accept")
    part = http.get(path, headers=NPY | {"Range": "bytes=0-5"})
    assert (part.status_code, part.content) == (206, b"\x93NUMPY")


def test_a_small_array_stays_in_the_record_and_is_json_whatever_is_asked_for(http: httpx.Client) -> None:
    job = ended(http, "embed", **SMALL)
    answer = http.get(f"/jobs/{job['id']}/result", headers=NPY)

    assert job["output"] == expected(1).tolist()
    assert (answer.headers["content-type"], answer.headers["vary"]) == ("application/json", "Accept")
    assert answer.json() == expected(1).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "uint8", "bool", ">i4", ">f8"])
def test_numbers_of_every_kind_come_back_as_they_were(http: httpx.Client, service: Service, dtype: str) -> None:
    job = ended(http, "embed", rows=400, dtype=dtype)
    with numpy.errstate(over="ignore"):
        made = expected(400).astype(dtype)
    found = loaded(http.get(f"/jobs/{job['id']}/result", headers=NPY))
    text = http.get(f"/jobs/{job['id']}/result").json()

    assert found.dtype == numpy.dtype(dtype).newbyteorder("<")
    assert numpy.array_equal(found, made)
    shown = numpy.array(text, dtype=float)
    whole = numpy.where(numpy.isfinite(made), made, numpy.nan).astype(float)
    assert numpy.array_equal(shown, whole, equal_nan=True)


@pytest.mark.parametrize("rows", [1, 100])
def test_nan_and_infinity_are_null_in_json_with_a_warning_and_themselves_in_the_bytes(http: httpx.Client, rows: int) -> None:
    job = ended(http, "holes", rows=rows)
    path = f"/jobs/{job['id']}"

    assert http.get(f"{path}/result").json()[0][:4] == [1.0, None, None, 1.0]
    events = http.get(f"{path}/events", headers={"Accept": "application/json"}).json()["events"]
    told = [event["data"] for event in events if event["type"] == "log"]
    assert told == [{"level": "warning", "message": "NaN or infinity became null at /output/0/1, /output/0/2"}]
    if rows > 1:
        found = loaded(http.get(f"{path}/result", headers=NPY))
        assert numpy.isnan(found[0, 1])
        assert numpy.isinf(found[0, 2])


def test_arrays_inside_other_values_are_lists(http: httpx.Client) -> None:
    assert ended(http, "inside", rows=2)["output"] == {"rows": 2, "values": [[0.0, 1.0], [1.0, 0.0]]}


def test_arrays_that_json_cannot_hold_are_refused_and_nothing_is_ever_pickled(http: httpx.Client) -> None:
    for kind in ("object", "complex"):
        job = ended(http, "odd", kind=kind)
        assert (job["status"], job["error"]["code"]) == ("failed", "invalid-output"), kind
    assert ended(http, "odd", kind="text")["output"] == ["a"]


def test_an_array_of_a_deleted_job_is_gone(http: httpx.Client) -> None:
    job = ended(http, "embed", **BIG)
    assert http.delete(f"/jobs/{job['id']}").status_code == 204
    assert http.get(f"/jobs/{job['id']}/result", headers=NPY).status_code == 410


def test_the_client_gives_arrays_large_or_small(service: Service) -> None:
    client = Client(service.url)
    for fields in (BIG, SMALL):
        found = client.run("embed", fields, as_array=True)
        assert numpy.array_equal(found, expected(fields["rows"]))
    assert found.dtype == numpy.float64
    assert numpy.isnan(client.run("holes", {"rows": 1}, as_array=True)[0, 1])
    assert client.submit("embed", BIG).result() == expected(100).tolist()
    with pytest.raises(TypeError, match="no array of numbers"):
        client.run("inside", {"rows": 2}, as_array=True)
    with pytest.raises(JobFailed):
        client.run("odd", {"kind": "object"}, as_array=True)


async def test_the_async_client_gives_arrays_too(service: Service) -> None:
    async with AsyncClient(service.url) as client:
        found = await client.run("embed", BIG, as_array=True)
        assert found.dtype == numpy.float32
        assert numpy.array_equal(found, expected(100))


def test_other_programs_that_read_the_store_get_lists(service: Service) -> None:
    code = """
        import asyncio, app, longrun, longrun.celery

        async def main():
            job = await longrun.submit(app.Embed, rows=100)
            output = await job.result(timeout=60)
            await longrun.close()
            return job.id, output

        job_id, output = asyncio.run(main())
        assert output == longrun.celery.app.AsyncResult(job_id).get(timeout=10)
        print(len(output), output[99][383])
    """
    env = os.environ | {"LONGRUN_DATA": str(service.data)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=service.data.parent, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "100 38399.0\n"


def test_the_command_line_prints_a_large_array(service: Service) -> None:
    done = longrun("run", "embed", "rows=100", url=service.url)
    assert done.returncode == 0, done.stderr
    assert "38399" in done.stdout
