"""Log lines: what they belong to is in them, secrets are not."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.logs import HIDDEN, adopt_library_loggers, bound, configure_logging
from core.settings import Settings
from core.tenants.credentials import new_api_secret, new_token


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_says_event_request_and_tenant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(home=tmp_path, log_json=True))
    with bound(request_id="req_1", tenant_id="ten_1"):
        structlog.get_logger("app.x").info("job.submitted", job_id="job_1")
        logging.getLogger("library").warning("%s of %s", 1, 2)
    structlog.get_logger("app.x").info("later")
    first, second, third = lines(capsys)
    assert (first["event"], first["request_id"], first["tenant_id"], first["job_id"]) == (
        "job.submitted",
        "req_1",
        "ten_1",
        "job_1",
    )
    assert (second["event"], second["request_id"], second["level"]) == ("1 of 2", "req_1", "warning")
    assert "request_id" not in third


def test_no_secret_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(home=tmp_path, log_json=True))
    secret, token = new_api_secret(), new_token()
    log = structlog.get_logger("app.x")
    log.info("a", password="hunter2hunter2", api_key=secret, Authorization=f"Bearer {secret}", cookie=token)
    log.info(f"key {secret} was used", url=f"/sign-in/link?token={token}&x=1")
    logging.getLogger("sql").warning("cannot reach postgresql://someone:hunter2hunter2@db:5432/x")
    text = capsys.readouterr().err
    for hidden in (secret, token, "hunter2"):
        assert hidden not in text
    assert text.count(HIDDEN) == 7
    assert "&x=1" in text


def test_an_exception_is_logged_whole_without_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings(home=tmp_path))
    secret = new_api_secret()
    try:
        raise ValueError(f"bad key {secret}")
    except ValueError:
        structlog.get_logger("app.x").exception("it.failed")
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "ValueError: bad key" in text
    assert secret not in text


def test_the_level_of_the_settings_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(home=tmp_path, log_level="warning", log_json=True))
    structlog.get_logger("app.x").info("quiet")
    structlog.get_logger("app.x").warning("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_an_endless_text_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(home=tmp_path, log_json=True))
    structlog.get_logger("app.x").info("x", text="y" * 1_000_000)
    assert len(capsys.readouterr().err) < 5000


def test_libraries_that_write_by_themselves_are_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from streamlit.logger import get_logger

    configure_logging(Settings(home=tmp_path, log_json=True))
    own = get_logger("streamlit.some_part")
    get_logger("uvicorn.access")
    adopt_library_loggers()
    own.warning("something")
    logging.getLogger("uvicorn.access").info("GET /sign-in/link?token=abc")
    assert [line["event"] for line in lines(capsys)] == ["something"]
