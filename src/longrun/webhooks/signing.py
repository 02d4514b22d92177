"""Signatures of webhooks (Standard Webhooks, symmetric `v1`), so that a receiver knows who sent them and that nothing was changed."""

from __future__ import annotations

import base64
import binascii
import secrets as random
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64.

    In the plain alphabet, not the one for URLs: that has `_`, and replicate's client splits the secret there.
    """
    return PREFIX + base64.b64encode(random.token_bytes(32)).decode()


def check_secret(text: str) -> None:
    """Accept a secret that every receiver's library reads alike: `whsec_` and the base64 of 24 to 64 bytes, with its padding.

    Raises:
        ValueError: with a text that does not hold the secret.
    """
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if text != PREFIX + base64.b64encode(key).decode() or not 24 <= len(key) <= 64:
        raise ValueError(f"a secret is `{PREFIX}` followed by 24 to 64 random bytes in base64 (with `+`, `/` and padding)")


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that sign a message.

    Args:
        secrets: one, or while it is being replaced the new and the old one: a receiver accepts the message with either.
        message_id: the same on every try, so that a receiver can drop what it has; without `.`, which separates what is signed.
        timestamp: of this try, in seconds since the epoch; receivers refuse one that is 5 minutes off.
        body: what is sent, UTF-8.

    Raises:
        ValueError: there is no secret, or the body is not UTF-8.
    """
    if not secrets:
        raise ValueError("a webhook cannot be signed without a secret")
    moment, text = datetime.fromtimestamp(timestamp, UTC), body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, moment, text) for secret in secrets),
    }
