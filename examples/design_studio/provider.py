"""A provider over HTTP: any service that speaks the chat and images API of OpenAI. And the choice between it and the local models."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import httpx

from .domain import MARKS, PALETTES, Busy, Provider, Style, Unavailable, Verdict

T = TypeVar("T")
_PICTURE_SIZE = "1024x1024"
_TIMEOUT = httpx.Timeout(120, connect=10)  # seconds; a picture takes long


class HttpProvider:
    """Each paid call carries its key, so that a call that is repeated after a crash is done and billed once.

    Args:
        url: base URL, such as https://api.openai.com/v1.
        token: goes into `Authorization`; empty: none is sent.
        chat_model, image_model: the service's names.
        transport: takes the place of the network, for tests.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        chat_model: str = "gpt-4o-mini",
        image_model: str = "gpt-image-1",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, transport=transport)
        self._chat_model, self._image_model = chat_model, image_model

    def load(self, step: str) -> None:
        """Nothing is to be loaded."""

    def analyse(self, brief: str, key: str) -> Style:
        ask = (
            "Choose the style of a logo. Answer in JSON: "
            '{"palette": one key of palettes, "marks": all keys of marks, the best first, "roughness": 0 (smooth) to 1 (wild)}.\n'
            f"palettes: {json.dumps({name: words for name, (words, _) in PALETTES.items()})}\nmarks: {json.dumps(MARKS)}\nbrief: {brief}"
        )
        answer = self._chat(ask, [], key)
        return _understood(lambda: Style(str(answer["palette"]), [str(mark) for mark in answer["marks"]], float(answer["roughness"])))

    def draw(self, prompt: str, style: Style, version: int, key: str) -> bytes:
        body = {"model": self._image_model, "prompt": f"{prompt} Variant {version + 1}.", "n": 1, "size": _PICTURE_SIZE}
        answer = self._post("images/generations", body, key)
        return _understood(lambda: base64.b64decode(answer["data"][0]["b64_json"], validate=True))

    def enlarge(self, draft: bytes) -> bytes:
        """What the service draws is large enough."""
        return draft

    def judge(self, pictures: Sequence[bytes], name: str, key: str) -> Verdict:
        ask = (
            f"These are {len(pictures)} versions of a logo for {name!r}. Answer in JSON: "
            '{"scores": [0 to 1 for each, in their order], "reasons": [one short sentence for each]}.'
        )
        answer = self._chat(ask, pictures, key)

        def verdict() -> Verdict:
            scores, reasons = [float(each) for each in answer["scores"]], [str(each) for each in answer["reasons"]]
            if not len(scores) == len(reasons) == len(pictures):
                raise ValueError(f"{len(scores)} scores for {len(pictures)} pictures")
            return Verdict(scores, reasons)

        return _understood(verdict)

    def _chat(self, ask: str, pictures: Sequence[bytes], key: str) -> dict[str, Any]:
        shown = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(p).decode()}"}} for p in pictures]
        content = [{"type": "text", "text": ask}, *shown]
        body = {
            "model": self._chat_model,
            "messages": [{"role": "user", "content": content}],
            "response_format": {"type": "json_object"},
        }
        answer = self._post("chat/completions", body, key)
        return _understood(lambda: dict(json.loads(answer["choices"][0]["message"]["content"])))

    def _post(self, path: str, body: dict[str, Any], key: str) -> Any:
        try:
            answer = self._http.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            raise Unavailable(f"{path}: {type(error).__name__}: {error}") from error
        if answer.status_code == 429:
            raise Busy(_seconds(answer.headers.get("Retry-After", "")))
        if answer.status_code >= 500:
            raise Unavailable(f"{path} gave {answer.status_code}")
        answer.raise_for_status()  # our own mistake, such as a wrong token: another try changes nothing
        return answer.json()


def _understood(read: Callable[[], T]) -> T:
    """What `read` makes of an answer. A model that answers in another form than it was asked for may do better next time."""
    try:
        return read()
    except (LookupError, TypeError, ValueError) as error:
        raise Unavailable(f"the answer cannot be understood: {error!r}") from error


def _seconds(text: str) -> float:
    """Of a Retry-After header, 60 at most; 2 where it holds no number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        return 2.0
    return min(60.0, seconds) if seconds >= 0 else 2.0


def chosen_provider() -> Provider:
    """By the environment: the service at STUDIO_URL (with STUDIO_TOKEN), else the models on this machine."""
    url = os.environ.get("STUDIO_URL")
    if url:
        return HttpProvider(url, os.environ.get("STUDIO_TOKEN", ""))
    from .local import LocalModels

    return LocalModels()
