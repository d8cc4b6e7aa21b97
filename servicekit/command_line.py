"""The command line of a service: its help, and whether this process serves or watches others that do.

Imports no grpc, because the parent of workers must not.
"""

import argparse
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from servicekit import config, hygiene, logs, metrics, process
from servicekit.config import ServiceSettings
from servicekit.errors import SettingsError
from servicekit.workers import supervise

_NO_FILES = (
    f"{metrics.DIRECTORY_VARIABLE} is set, so that this process would keep its metrics in files that nobody "
    "serves; unset it (the parent of --workers sets it for them by itself)"
)

S = TypeVar("S", bound=ServiceSettings)

# What a worker needs beyond its own grace, before it is taken for hung.
_SLACK = timedelta(seconds=5)


def main(
    program: str,
    settings_type: type[S],
    serve: Callable[[S, bool], Coroutine[Any, Any, None]],
    *,
    about: str,
    one_process_because: str | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a service and return its exit status. ``serve`` is told whether it shares its port with others.

    ``one_process_because`` is for a service that keeps state: why it can't have workers.
    """
    parser = _parser(program, settings_type, about)
    chosen = parser.parse_args(argv)
    if chosen.workers > 1 and one_process_because:
        return process.report(SettingsError(f"--workers is refused: {one_process_because}"), program)
    hygiene.harden()
    environ = hygiene.take(settings_type.secret_variables())
    try:
        settings = config.load(settings_type, environ)
    except SettingsError as error:
        return process.report(error, program)
    if chosen.workers == 1 and chosen.worker is None and metrics.works_in_files():
        return process.report(SettingsError(_NO_FILES), program)
    if chosen.workers == 1 or chosen.worker is not None:
        with process.starting():
            return process.run(lambda: serve(settings, chosen.worker is not None), program=program)
    logs.configure(settings.log_level, settings.log_format)
    return supervise(
        [sys.executable, "-m", program],
        chosen.workers,
        settings.listen,
        program=program,
        listen_variable=settings_type.variable("listen"),
        environ=environ,
        grace=settings.drain_delay + settings.shutdown_grace + _SLACK,
        metrics_listen=settings.metrics_listen,
    )


def _parser(program: str, settings_type: type[ServiceSettings], about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=about,
        epilog=_settings_help(settings_type),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="processes that share the port (default: 1)"
    )
    parser.add_argument("--worker", type=_positive, help=argparse.SUPPRESS)
    return parser


def _settings_help(settings_type: type[ServiceSettings]) -> str:
    lines = ["settings (environment variables; a secret can also be read from a file named by NAME_FILE):"]
    for setting in config.describe(settings_type):
        lines += [f"  {setting.name}={setting.default}", f"      {setting.doc}"]
    return "\n".join(lines)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"should be a whole number from 1 on, not {text!r}")
    return int(text)
