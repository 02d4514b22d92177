"""Signatures, judged by the libraries that receivers use."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from random import Random

import orjson
import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from replicate.webhook import Webhooks, WebhookSigningSecret, WebhookValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from longrun.webhooks.signing import check_secret, new_secret, sign

Verify = Callable[[str, bytes, dict[str, str]], object]
#: What the three libraries raise for a message that they do not accept.
Rejected = (WebhookVerificationError, InvalidWebhookSignatureError, WebhookValidationError)


def by_standard_webhooks(secret: str, body: bytes, headers: dict[str, str]) -> object:
    return Webhook(secret).verify(body, headers)


def by_openai(secret: str, body: bytes, headers: dict[str, str]) -> object:
    return OPENAI.webhooks.verify_signature(body, headers, secret=secret)


def by_replicate(secret: str, body: bytes, headers: dict[str, str]) -> object:
    return Webhooks.validate(headers=headers, body=body.decode(), secret=WebhookSigningSecret(key=secret), tolerance=300)


OPENAI = OpenAI(api_key="none", base_url="http://127.0.0.1:9")  # nothing is called: it verifies by itself
LIBRARIES = pytest.mark.parametrize("verify", [by_standard_webhooks, by_openai, by_replicate])


def now() -> int:
    return int(time.time())


def payload(random: Random) -> bytes:
    """A JSON object with text from all of Unicode."""
    points = [*range(1, 0x80), 0xE4, 0x2028, 0x1F600, 0x10FFFF, *random.sample(range(0xA0, 0xD800), 20)]
    text = "".join(map(chr, random.choices(points, k=random.randrange(200))))
    return orjson.dumps({"type": "job.succeeded", "data": {"id": f"job_{random.getrandbits(128):032x}", "text": text}})


@LIBRARIES
def test_a_thousand_messages_are_accepted(verify: Verify) -> None:
    random = Random(1)
    for number in range(1000):
        secret, body = new_secret(), payload(random)
        verify(secret, body, sign([secret], f"msg_{number}", now(), body))


def test_openai_reads_the_event() -> None:
    secret, body = new_secret(), b'{"type":"response.completed","id":"evt_1","created_at":1,"data":{"id":"job_1"}}'
    assert OPENAI.webhooks.unwrap(body, sign([secret], "msg_1", now(), body), secret=secret).data.id == "job_1"


@LIBRARIES
def test_both_secrets_of_a_rotation_are_accepted(verify: Verify) -> None:
    old, new, body = new_secret(), new_secret(), b'{"a":1}'
    headers = sign([new, old], "msg_1", now(), body)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        verify(secret, body, headers)


@LIBRARIES
@pytest.mark.parametrize("size", [24, 25, 32, 63, 64])
def test_a_secret_that_is_accepted_is_read_alike_by_every_library(verify: Verify, size: int) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(256 - size, 256))).decode()
    check_secret(secret)
    verify(secret, b"{}", sign([secret], "msg_1", now(), b"{}"))


@LIBRARIES
@pytest.mark.parametrize("what", ["body", "id", "timestamp", "secret", "old", "new"])
def test_what_was_changed_is_rejected(verify: Verify, what: str) -> None:
    secret, body = new_secret(), b'{"a":1}'
    moment = now() + {"old": -301, "new": 310}.get(what, 0)
    headers = sign([secret], "msg_1", moment, body)
    if what == "id":
        headers["webhook-id"] = "msg_2"
    if what == "timestamp":
        headers["webhook-timestamp"] = str(moment + 1)
    with pytest.raises(Rejected):
        verify(new_secret() if what == "secret" else secret, b'{"a":2}' if what == "body" else body, headers)


def test_a_signature_is_the_one_of_the_specification() -> None:
    """The example of the Standard Webhooks reference implementations."""
    body = b'{"test": 2432232314}'
    headers = sign(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_new_secrets_differ_and_can_be_split_at_their_prefix() -> None:
    secrets = {new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    for secret in secrets:
        check_secret(secret)
        assert secret.count("_") == 1
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "whsec_",
        "secret",
        base64.b64encode(bytes(32)).decode(),
        "WHSEC_" + base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + base64.b64encode(bytes(32)).decode() + "\n",
        "whsec_" + "A" * 42 + "B=",  # bits that no byte has
        "whsec_" + "ä" * 32,
        "whsec_whsec_" + base64.b64encode(bytes(32)).decode(),
    ],
    ids=ascii,
)
def test_a_secret_that_could_be_read_in_two_ways_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="a secret is `whsec_`") as caught:
        check_secret(wrong)
    assert len(wrong) < 30 or wrong not in str(caught.value)


def test_nothing_is_sent_without_a_signature() -> None:
    with pytest.raises(ValueError, match="without a secret"):
        sign([], "msg_1", now(), b"{}")
