"""Clock, ids, settings, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from longrun import errors
from longrun.clock import is_job_id, new_job_id, parse_rfc3339, rfc3339
from longrun.errors import Canceled, Problem, SettingsError, SoftTimeLimit
from longrun.settings import Settings, load_settings


def test_ids_are_new_have_their_form_and_sort_by_age() -> None:
    ids = [new_job_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(is_job_id(job_id) for job_id in ids)
    assert [job_id[:16] for job_id in ids] == sorted(job_id[:16] for job_id in ids)


@pytest.mark.parametrize("text", ["", "job_", "job_" + "g" * 32, "job_" + "A" * 32, "x" * 36, "job_" + "a" * 33])
def test_what_is_not_an_id(text: str) -> None:
    assert not is_job_id(text)


def test_times_come_back() -> None:
    assert parse_rfc3339(rfc3339(1700000000123) or "") == 1700000000123
    assert parse_rfc3339("2023-11-14T23:13:20.123+01:00") == 1700000000123
    assert rfc3339(None) is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LONGRUN_PORT", "99999", "LONGRUN_PORT='99999'"),
        ("LONGRUN_LEASE", "-1", "LONGRUN_LEASE"),
        ("LONGRUN_LEASE", "inf", "LONGRUN_LEASE"),
        ("LONGRUN_RETENTION", "inf", "less than or equal to 315360000"),
        ("LONGRUN_RETENTION", "1e30", "less than or equal to 315360000"),
        ("LONGRUN_RETENTION", "nan", "LONGRUN_RETENTION"),
        ("LONGRUN_TOMBSTONE", "inf", "LONGRUN_TOMBSTONE"),
        ("LONGRUN_GRACE", "inf", "LONGRUN_GRACE"),
        ("LONGRUN_STORE_TIMEOUT", "inf", "LONGRUN_STORE_TIMEOUT"),
        ("LONGRUN_WEBHOOK_SCHEDULE", "0,inf", "LONGRUN_WEBHOOK_SCHEDULE"),
        ("LONGRUN_LEASE", "3", "heartbeat (3 s) must be at most half of lease (3 s)"),
        ("LONGRUN_DEVICE", "gpu", "LONGRUN_DEVICE='gpu'"),
        ("LONGRUN_THREADS", "0", "LONGRUN_THREADS='0': Input should be greater than or equal to 1"),
        ("LONGRUN_THREADS", "abc", "LONGRUN_THREADS='abc': Input should be a valid integer"),
        ("LONGRUN_REDIS_URL", "localhost:6379", "must begin with redis://"),
        ("LONGRUN_BROKER_URL", "redis://other", "LONGRUN_BROKER_URL: no setting any more: tickets travel in the store's own Redis"),
        ("LONGRUN_BROKER_URL", "", "take it out"),
        ("LONGRUN_ALLOWED_NETWORKS", "fd00::/8, 10.0.0.1/8", "10.0.0.1/8 has host bits set: write a network as `10.0.0.0/8`"),
        ("LONGRUN_HOST", "0.0.0.0", "LONGRUN_API_KEYS"),
        ("LONGRUN_API_KEYS", "abc", "tenant=key"),
        ("LONGRUN_PROT", "1", "did you mean LONGRUN_PORT?"),
    ],
)
def test_a_wrong_value_says_which_and_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"LONGRUN|settings") as caught:
        load_settings()
    assert says in str(caught.value)


def test_a_removed_setting_in_the_env_file_is_not_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("LONGRUN_BROKER_URL=amqp://mq\n")
    with pytest.raises(SettingsError, match="LONGRUN_BROKER_URL: no setting any more"):
        load_settings()


def test_a_wrong_option_is_named_as_the_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="--port=-1"):
        load_settings(port=-1)


def test_the_environment_goes_before_the_file_and_options_before_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LONGRUN_PORT=1\nLONGRUN_LEASE=20\nSOMETHING_ELSE=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LONGRUN_PORT", "2")
    assert (load_settings().port, load_settings().lease, load_settings(port=3).port) == (2, 20, 3)


def test_keys_never_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LONGRUN_API_KEYS", "me=topsecret, you=alsosecret")
    settings = load_settings(host="0.0.0.0")
    assert sorted(settings.api_keys) == ["me", "you"]
    assert "topsecret" not in repr(settings)
    monkeypatch.setenv("LONGRUN_API_KEYS", "topsecret")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "topsecret" not in str(caught.value)


def test_every_setting_says_what_it_does() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_problem_has_a_code_a_status_and_a_title() -> None:
    problems = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Problem) and item is not Problem]
    assert len(problems) > 15
    for problem in problems:
        assert 400 <= problem.status < 600
        assert problem.code != Problem.code
        assert problem.title != Problem.title


def test_user_code_that_catches_exceptions_does_not_swallow_a_cancel() -> None:
    with pytest.raises(Canceled):
        try:
            raise SoftTimeLimit
        except Exception as error:
            raise AssertionError("swallowed") from error
