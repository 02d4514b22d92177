"""The flows of the documentation, word for word, with a bare `Job()`: agents, approvals, many documents, pictures."""
# ruff: noqa: N802 - models are called like classes

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from longrun import Failure, Image, Job, StepFailed, chain, fan_out
from longrun.models import isolated_registry, model

CALLS: list[str] = []
SUMMARISED: list[int] = []


class Tool(BaseModel):
    name: str
    args: dict[str, Any]


class Reply(BaseModel):
    text: str = ""
    message: dict[str, str]
    tools: list[Tool] = []


class Decision(BaseModel):
    ok: bool
    note: str = ""


def tool_message(result: Any) -> dict[str, str]:
    return {"role": "tool", "content": str(result)}


def list_texts(folder: str) -> list[str]:
    CALLS.append("list")
    return [f"{folder}/{number}" for number in range(50)]


async def post(draft: str, *, idempotency_key: str) -> str:
    CALLS.append(idempotency_key)
    return f"posted {draft}"


with isolated_registry():

    @model(name="analyse")
    def Analyse(brief: str) -> str:
        return f"a logo for {brief}"

    @model(name="draw")
    async def Draw(prompt: str, seed: int) -> Image:
        await asyncio.sleep(0)
        return Image(f"{prompt} {seed}".encode(), content_type="image/png")

    @model(name="judge")
    def Judge(images: list[Image], job: Job) -> int:
        assert all(image.read() == b"a logo for a bakery %d" % number for number, image in enumerate(images))
        return 2

    @model(name="pick")
    def Pick(images: list[Image]) -> Image:
        return images[3]

    @model(name="think")
    async def Think(messages: list[dict[str, str]], job: Job) -> Reply:
        job.usage(cost_usd=0.2)
        if len(messages) == 1:
            tools = [Tool(name="search", args={"query": "x"}), Tool(name="search", args={"quarry": "x"}), Tool(name="broken", args={})]
            return Reply(message={"role": "assistant", "content": ""}, tools=tools)
        return Reply(text=" | ".join(each["content"] for each in messages), message={"role": "assistant", "content": "done"})

    @model(name="search")
    def Search(query: str) -> str:
        return f"found {query}"

    @model(name="broken")
    def Broken() -> str:
        raise ValueError("secret")

    @model(name="summarise")
    def Summarise(text: str) -> str:
        SUMMARISED.append(int(text.split("/")[1]))
        if text.endswith("/7"):
            raise Failure("cannot be read")
        return text.upper()

    @model(name="merge")
    def Merge(parts: list[str]) -> str:
        return ",".join(parts)

    @model(name="write")
    def Write(brief: str) -> str:
        return f"about {brief}"

    @model(queue="flow")
    async def logo(brief: str, job: Job) -> Image:
        prompt = await job.run(Analyse, brief=brief)
        draws = await job.gather(*(job.call(Draw, prompt=prompt, seed=s) for s in range(4)))
        return draws[await job.run(Judge, images=draws, stream=True)]

    @model(queue="flow", total_timeout=3600, budget={"cost_usd": 2.0})
    async def agent(task: str, job: Job) -> str:
        messages = [{"role": "user", "content": task}]
        while job.spent("cost_usd") < 0.50:
            reply = await job.run(Think, messages=messages, stream=True)
            if not reply.tools:
                return reply.text
            calls = [job.call(tool.name, **tool.args) for tool in reply.tools]
            results = await job.gather(*calls, return_exceptions=True)
            messages += [reply.message, *map(tool_message, results)]
        raise Failure("the budget is spent")

    @model
    def report(folder: str, job: Job) -> str:
        texts = job.step("list", list_texts, folder)
        parts = job.map(Summarise, [{"text": t} for t in texts], limit=20, return_exceptions=True)
        return job.run(Merge, parts=[p for p in parts if not isinstance(p, StepFailed)])

    @model(queue="flow")
    async def publish(brief: str, job: Job) -> str:
        draft = await job.run(Write, brief=brief)
        answer = await job.wait_for("approve", Decision, ask={"draft": draft}, timeout=14 * 86400)
        if not answer.ok:
            raise Failure(answer.note)
        return await job.step("post", post, draft, idempotency_key=job.key("post"))

    @model(queue="flow")
    async def poster(brief: str, job: Job) -> Image:
        return await chain(job, brief, Analyse, fan_out(Draw, 4, each="seed"), Pick)


async def test_logo() -> None:
    assert (await logo("a bakery", Job())).read() == b"a logo for a bakery 2"


async def test_agent() -> None:
    """The registry of these models is gone, and an agent names its tools by their names."""
    with isolated_registry() as registry:
        for each in (Search, Broken):
            registry.add(each.__longrun__)  # type: ignore[attr-defined]
        text = await agent("go", Job())
    user, assistant, found, refused, broken = text.split(" | ")
    assert (user, assistant, found) == ("go", "", "found x")
    assert refused.startswith("validation-failed: /input")
    assert "model-error: The model raised an error (ValueError)." in broken


async def test_an_agent_ends_when_its_budget_is_spent() -> None:
    job = Job()
    for number in range(3):
        assert job.spent("cost_usd") == pytest.approx(0.2 * number)
        await job.run(Think, messages=[{"content": "a"}, {"content": "b"}])
    with pytest.raises(Failure, match="the budget is spent"):
        await agent("go", job)


def test_report() -> None:
    SUMMARISED.clear()
    text = report("docs", Job())
    assert text.split(",") == [f"DOCS/{number}" for number in range(50) if number != 7]
    assert list(range(50)) == SUMMARISED


async def test_publish() -> None:
    CALLS.clear()
    job = Job(signals={"approve": {"ok": True}})
    assert await publish("cats", job) == "posted about cats"
    assert [job.key("post")] == CALLS
    with pytest.raises(Failure, match="no"):
        await publish("cats", Job(signals={"approve": {"ok": False, "note": "no"}}))
    with pytest.raises(StepFailed, match="Nobody had answered") as caught:
        await publish("cats", Job(signals={"approve": TimeoutError}))
    assert caught.value.code == "wait-timeout"
    with pytest.raises(StepFailed, match=r"Job\(signals=\{'approve': …\}\)"):
        await publish("cats", Job())


async def test_poster() -> None:
    assert (await poster("a bakery", Job())).read() == b"a logo for a bakery 3"


async def test_a_signal_of_another_type_is_said_and_nothing_waits_for_ever() -> None:
    with pytest.raises(StepFailed, match="not of the type"):
        await asyncio.wait_for(Job(signals={"x": "text"}).wait_for("x", int, timeout=1), 5)
    with pytest.raises(StepFailed, match="not of the type"):
        await asyncio.to_thread(lambda: Job(signals={"x": "text"}).wait_for("x", int, timeout=1))
    with pytest.raises(StepFailed, match="in time"):
        await Job(signals={"x": TimeoutError()}).wait_for("x", int, timeout=1)
    with pytest.raises(StepFailed, match="internal-error"):  # no JSON can be made of it
        await asyncio.wait_for(Job(signals={"x": object()}).wait_for("x", int, timeout=1), 5)
