"""The command ``keybridge``."""

import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
except ModuleNotFoundError:
    sys.exit("keybridge: the command comes with the services: pip install 'keybridge[server]'")

from keybridge.interruption import Command, until_stopped
from servicekit import hygiene, logs, process

app = typer.Typer(
    name="keybridge",
    help="Custody of exchange API keys, and the bridge that trades with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="The database: its schema.", no_args_is_help=True)
secrets = typer.Typer(help="The master keys that seal credentials.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(secrets, name="secrets")

# A service reads its own arguments, and prints its own help with all of its settings.
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command()
def up() -> None:
    """Both services on a private PostgreSQL, until Ctrl-C."""
    from keybridge.up import up as run_everything

    _run(lambda undo: run_everything(_environ(), typer.echo, undo))


@app.command(context_settings=_PASSED_ON)
def keyservice(context: typer.Context) -> None:
    """KeyService alone; --help lists its settings."""
    from keyservice.__main__ import main as serve

    raise typer.Exit(serve(context.args))


@app.command(context_settings=_PASSED_ON)
def bridgeservice(context: typer.Context) -> None:
    """TradingBridge alone; --help lists its settings."""
    from bridgeservice.__main__ import main as serve

    raise typer.Exit(serve(context.args))


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go up to.")] = "head",
) -> None:
    """Bring the schema to this release's; a database that is there already is left as it is."""
    from keybridge import database

    _run(lambda undo: database.upgrade(_environ(), typer.echo, undo, revision))


@db.command()
def check() -> None:
    """Compare the schema with what this release expects, and say every difference."""
    from keybridge import database

    _run(lambda undo: database.check(_environ(), typer.echo, undo))


@db.command()
def adopt(
    old_key_file: Annotated[
        Path | None,
        typer.Option(
            help="The file with the key that the old database was sealed with. Default: ENCRYPTION_KEY."
        ),
    ] = None,
) -> None:
    """Seal the secrets of an old database anew, after `db upgrade`; can be interrupted, and run again."""
    from keybridge import database

    _run(lambda undo: database.adopt(_environ(), typer.echo, undo, old_key_file))


@secrets.command()
def rotate(
    promote: Annotated[
        bool,
        typer.Option(help="Make the first master key the current one, though the database never met it."),
    ] = False,
) -> None:
    """Seal everything anew under the first master key, while the services run; can be interrupted, and run again."""
    from keybridge import secrets as master_keys

    _run(lambda undo: master_keys.rotate(_environ(), typer.echo, undo, promote=promote))


def _environ() -> dict[str, str]:
    """The variables. The secrets among them are in no other place from then on."""
    from bridgeservice.settings import BridgeServiceSettings
    from keyservice.settings import KeyServiceSettings

    return hygiene.take(KeyServiceSettings.secret_variables() | BridgeServiceSettings.secret_variables())


def _run(command: Command) -> None:
    logs.configure()
    raise typer.Exit(process.run(lambda: until_stopped(command), program="keybridge"))


def main() -> None:
    """The entry point."""
    hygiene.harden()
    app()


if __name__ == "__main__":
    main()
