"""How large a body may be: what a model's files may have, and little besides."""

from __future__ import annotations

import re

from starlette.datastructures import Headers

from longrun.api.http.jsonl import is_lines
from longrun.api.http.multipart import is_multipart
from longrun.api.middleware.access import BodyLimits
from longrun.errors import UnknownModel
from longrun.jobs.signals import MOST_VALUE
from longrun.models import Registry
from longrun.service.input_files import MOST_FILES
from longrun.settings import Settings
from longrun.version import API_PREFIX

_SUBMIT = re.compile(rf"{API_PREFIX}/models/([^/]+)/jobs")
_BATCH = re.compile(rf"{API_PREFIX}/models/[^/]+/batches")
_SIGNAL = re.compile(rf"{API_PREFIX}/jobs/[^/]+/signals/[^/]+")
_FILES = f"{API_PREFIX}/files"
#: What a form has around its file.
_AROUND = 64 * 1024


def body_limits(models: Registry, settings: Settings) -> BodyLimits:
    """Bytes that the body of a request may have.

    JSON: `max_body`; an answer to what a job asks: 64 KB. Lines of a batch: `max_file`. A form: `max_body`, and what its files may have.
    """

    def limit(path: str, headers: Headers) -> int:
        if path == _FILES:
            return settings.max_file + _AROUND
        if _SIGNAL.fullmatch(path):
            return min(MOST_VALUE, settings.max_body)
        if _BATCH.fullmatch(path) and is_lines(headers.get("content-type")):
            return settings.max_file
        found = _SUBMIT.fullmatch(path)
        if found is None or not is_multipart(headers.get("content-type")):
            return settings.max_body
        try:
            rules = models.get(found[1]).input.file_rules.values()
        except UnknownModel:
            return settings.max_body
        return settings.max_body + sum(min(rule.max_bytes, settings.max_file) * (MOST_FILES if many else 1) for rule, many in rules)

    return limit
