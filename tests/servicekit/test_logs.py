"""Log lines: their looks, what is on every one of them, and that no secret gets onto any."""

import asyncio
import io
import json
import logging
import secrets

import pytest
import structlog
from google.rpc import error_details_pb2
from pydantic import SecretStr

from servicekit import logs
from tests.support.logged import lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


pytestmark = pytest.mark.usefixtures("logging_restored")


def test_a_line_says_when_how_grave_who_and_what(output: io.StringIO) -> None:
    logs.get("keyservice.store").info("key added", revision=7)
    (line,) = lines(output)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "key added", "level": "info", "logger": "keyservice.store", "revision": 7}


def test_the_request_id_is_on_every_line_of_a_request(output: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        logs.get("a").info("ours")
        logging.getLogger("sqlalchemy").warning("theirs")
    logs.get("a").info("later")
    assert [line.get("request_id") for line in lines(output)] == ["r-1", "r-1", None]


def test_fields_can_be_bound_to_a_logger(output: io.StringIO) -> None:
    logs.get("a").bind(worker=3).info("ready")
    assert lines(output)[0]["worker"] == 3


def test_every_level_has_its_method_and_the_least_is_a_setting() -> None:
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    log = logs.get("a")
    for write in (log.debug, log.info, log.warning, log.error, log.critical):
        write("x")
    assert [line["level"] for line in lines(stream)] == ["debug", "info", "warning", "error", "critical"]
    logs.configure("warning", "json", stream)
    log.info("a logger that was made before follows")
    assert len(lines(stream)) == 5


def test_a_pipe_gets_json_and_a_terminal_gets_colours() -> None:
    pipe, terminal, told = io.StringIO(), Terminal(), io.StringIO()
    for stream in (pipe, terminal):
        logs.configure("info", "auto", stream)
        logs.get("a").info("hello")
    logs.configure("info", "console", told)
    logs.get("a").info("hello", number=1)
    assert lines(pipe)[0]["event"] == "hello"
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" not in told.getvalue()
    assert "number=1" in told.getvalue()


def test_on_a_terminal_nobody_can_forge_a_line_or_a_colour() -> None:
    stream = io.StringIO()
    logs.configure("info", "console", stream)
    try:
        raise logs_error("two\nlines\x1b[31m")
    except RuntimeError:
        logs.get("a").exception("one\nmore", peer="x\x1b[2J\r", count=2)
    first, *rest = stream.getvalue().splitlines()
    assert "one\\x0amore" in first
    assert "x\\x1b[2J\\x0d" in first
    assert rest[0] == "RuntimeError"
    assert "\x1b" not in stream.getvalue()


def logs_error(text: str) -> RuntimeError:
    return RuntimeError(text)


def test_the_standard_error_stream_is_where_lines_go_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get("a").info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


@pytest.mark.parametrize("looks", ["json", "console"])
def test_no_message_and_no_secret_is_written_from_anywhere_in_a_line(looks: logs.Format) -> None:
    stream, secret = io.StringIO(), secrets.token_hex()
    logs.configure("info", looks, stream)
    message = error_details_pb2.ErrorInfo(reason=secret)
    log = logs.get("a")
    log.info("field", message=message, nested={"list": [message, SecretStr(secret), secret.encode()]})
    log.info("positional %s and %r", message, SecretStr(secret))
    log.info("by name %(message)s", {"message": message})
    log.info("does not fit %d", message)
    log.info("named", api_secret=secret)
    log.bind(request=message).info("bound")
    log.info(message)  # a mistake that must not cost a key
    library = logging.getLogger("grpc._cython.cygrpc")
    library.error("positional %s", message)
    library.error("by name %(message)s", {"message": message})
    library.error(message)
    with structlog.contextvars.bound_contextvars(request=message):
        log.info("context")
    written = stream.getvalue()
    assert secret not in written
    assert len(written.splitlines()) == 11
    assert written.count("google.rpc.ErrorInfo") == 11


def test_an_exception_is_written_with_its_frames_and_without_its_text(output: io.StringIO) -> None:
    secret = secrets.token_hex()
    try:
        int(secret + "z")
    except ValueError as error:
        logs.get("a").exception("one")
        logs.get("a").error("two", exc_info=error)
        logging.getLogger("grpc").exception("three")
    logs.get("a").error("four", exc_info=True)
    assert secret not in output.getvalue()
    written = lines(output)
    assert [("ValueError" in str(line.get("exception"))) for line in written] == [True, True, True, False]
    assert "in test_an_exception_is_written" in str(written[0]["exception"])
    assert [line["level"] for line in written] == ["error"] * 4


def test_libraries_are_heard_from_warning_on(output: io.StringIO) -> None:
    logs.configure("debug", "json", output)  # a second time: lines must not double
    for name in ("grpc", "asyncio", "sqlalchemy.engine.Engine", "alembic.runtime.migration"):
        logging.getLogger(name).info("statement with its parameters")
        logging.getLogger(name).warning("trouble")
    written = lines(output)
    assert [line["event"] for line in written] == ["trouble"] * 4
    assert written[0]["logger"] == "grpc"


async def test_what_a_forgotten_task_raised_is_logged_without_its_text(output: io.StringIO) -> None:
    secret, loop = secrets.token_hex(), asyncio.get_running_loop()
    loop.set_exception_handler(logs.log_unhandled)
    loop.call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": ValueError(secret), "future": secret}
    )
    (line,) = lines(output)
    assert (line["event"], line["exception"]) == ("Task exception was never retrieved", "ValueError")
    assert secret not in output.getvalue()


def test_a_log_that_nobody_reads_does_not_stop_the_service() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    stream.close()
    logs.get("a").info("into the void")
