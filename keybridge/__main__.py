"""The command ``keybridge``."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

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
db = typer.Typer(help="The database: its schema and its roles.", no_args_is_help=True)
secrets = typer.Typer(help="The master keys that seal credentials.", no_args_is_help=True)
token = typer.Typer(help="Tokens by which callers prove who they are.", no_args_is_help=True)
audit = typer.Typer(help="The record of who did what.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(secrets, name="secrets")
app.add_typer(token, name="token")
app.add_typer(audit, name="audit")

# A service reads its own arguments, and prints its own help with all of its settings.
Purpose = Literal["keyservice", "bridgeservice", "migrations"]
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


@db.command()
def grants(
    login: Annotated[
        str | None, typer.Option(help="An account that is to log in; it is made where there is none.")
    ] = None,
    purpose: Annotated[
        Purpose | None, typer.Option("--for", help="What the account of --login is for.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="The file with the account's password. Default: it is asked for.")
    ] = None,
    no_password: Annotated[
        bool, typer.Option(help="Leave the account's password as it is, for one that logs in without.")
    ] = False,
) -> None:
    """Make the database's roles, each with what its service needs and no more; by a superuser, or the owner."""
    from pydantic import SecretStr

    from keybridge import grants as database_roles

    password = None
    if login is not None and password_file is None and not no_password:
        password = SecretStr(typer.prompt(f"Password of {login}", hide_input=True, confirmation_prompt=True))
    _run(
        lambda undo: database_roles.grants(
            _environ(),
            typer.echo,
            undo,
            login=login,
            purpose=purpose,
            password=password,
            password_file=password_file,
        )
    )


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


_KeyFile = Annotated[
    Path | None, typer.Option(help="The private key that signs (PEM). Default: the one of keybridge up.")
]
_DenyList = Annotated[
    Path | None,
    typer.Option(
        "--deny-list",
        help="The file to write to. Default: KEYSERVICE_DENY_LIST_FILE and BRIDGESERVICE_DENY_LIST_FILE, or the one"
        " of keybridge up.",
    ),
]


@token.command()
def mint(
    role: Annotated[str, typer.Option(help="reader, trader, operator, admin or bridge-writer.")],
    client: Annotated[
        list[str], typer.Option(help="A client's id; several times for several, or * for all.")
    ],
    ttl: Annotated[str, typer.Option(help="How long it is good for, such as 15m, 1h or 30d.")] = "1h",
    subject: Annotated[str | None, typer.Option(help="Whom it is for. Default: you.")] = None,
    audience: Annotated[
        list[str] | None,
        typer.Option(help="The services that take it. Default: keyservice and bridgeservice."),
    ] = None,
    issuer: Annotated[str, typer.Option(help="Who issues it.")] = "keybridge",
    key_file: _KeyFile = None,
) -> None:
    """Print a token."""
    from keybridge import tokens
    from keybridge.identities import AUDIENCES

    wanted = tokens.Wanted(role, client, ttl, subject, audience or AUDIENCES, issuer)
    _run(lambda _: tokens.mint(_environ(), typer.echo, key_file, wanted))


@token.command()
def revoke(
    jti: Annotated[str | None, typer.Option(help="The id of one token.")] = None,
    subject: Annotated[str | None, typer.Option(help="Whose tokens.")] = None,
    before: Annotated[
        datetime | None, typer.Option(help="With --subject: those issued before, in UTC. Default: now.")
    ] = None,
    deny_list: _DenyList = None,
) -> None:
    """Have services refuse a token, or all that somebody was given before some time, though they are good yet."""
    from keybridge import tokens

    if (jti is None) == (subject is None) or (before is not None and subject is None):
        raise typer.BadParameter("say either --jti, or --subject and with it, if you like, --before")
    if jti is not None:
        _run(lambda _: tokens.revoke_token(_environ(), typer.echo, deny_list, jti))
    moment = None if before is None else before.replace(tzinfo=UTC)
    _run(lambda _: tokens.revoke_subject(_environ(), typer.echo, deny_list, subject or "", moment))


@token.command()
def jwks(key_file: _KeyFile = None) -> None:
    """Print the public part of a signing key, for the services that check its tokens."""
    from keybridge import tokens

    _run(lambda _: tokens.jwks(_environ(), typer.echo, key_file))


@audit.command()
def verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A file that remembers where the record ended, to be kept away from the database: held against"
            " the record, and renewed when that is intact. Without it a record that was cut off at its end,"
            " together with its seals, looks whole."
        ),
    ] = None,
    since_checkpoint: Annotated[
        bool, typer.Option(help="Only what was sealed since the checkpoint.")
    ] = False,
    seal_within: Annotated[
        str, typer.Option(help="How old an event may be that is not sealed yet, such as 30s, 10m or 1h.")
    ] = "10m",
) -> None:
    """Find events that were edited, removed, moved or slipped in.

    Status 0: intact; 1: not; 2: can't be said; 3: what is sealed is intact, but sealing is held up.
    """
    from keybridge import audit as record

    _run(
        lambda undo: record.verify(
            _environ(),
            typer.echo,
            undo,
            checkpoint=checkpoint,
            since_checkpoint=since_checkpoint,
            seal_within=seal_within,
        )
    )


def _run(command: Command) -> None:
    logs.configure()
    raise typer.Exit(process.run(lambda: until_stopped(command), program="keybridge"))


def main() -> None:
    """The entry point."""
    hygiene.harden()
    app()


if __name__ == "__main__":
    main()
