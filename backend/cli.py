"""The commands: serve, dev, token, doctor, migration and migrate."""

import argparse
import gc
import multiprocessing
import os
import re
import signal
import socket
import sys
import time
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

from backend.settings import ENV_FILE, ROOT, Settings, StartError, load_settings, write_env_file

if TYPE_CHECKING:
    from fastapi import FastAPI

UVICORN_STARTUP_FAILURE = 3
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _fail(error: StartError, code: int = 1) -> NoReturn:
    print(error, file=sys.stderr)
    sys.exit(code)


def app_for_uvicorn() -> "FastAPI":
    """Return the application for `uvicorn main:app`; with settings that do not allow a start, exit with 1."""
    try:
        from backend.app import create_app

        write_env_file()
        app = create_app(load_settings())
    except StartError as error:
        # uvicorn restarts a worker that ends with any other code than its own for a failed start.
        _fail(error, UVICORN_STARTUP_FAILURE if multiprocessing.parent_process() else 1)
    # What exists by now stays. Without this the garbage collector walks through it again and again, while every request
    # waits for 30 to 40 ms: a sixth of the throughput (docs/performance.md).
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)  # of what comes later a stream lives long, and is not looked through all the time
    return app


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, or raise StartError; before anything slow, so that a port in use is told at once."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol named: asyncio sets TCP_NODELAY only on sockets that say they are TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        hint = f"Is another `uv run main.py` running? End it, or take another port: uv run main.py --port {port + 1}"
        raise StartError(f"Cannot listen on {host} port {port}: {error.strerror}. {hint}") from None
    return listener


def _serve(options: argparse.Namespace) -> None:
    wrote_env = write_env_file()
    settings = load_settings()
    host = options.host or settings.host
    port = settings.port if options.port is None else options.port
    workers = options.workers or settings.web_concurrency
    listener = _listen(host, port)

    import uvicorn
    from uvicorn.supervisors import ChangeReload

    from backend import logs
    from backend.app import prepared
    from backend.metrics import FOLDER_VARIABLE
    from backend.server import GRACEFUL_SHUTDOWN_SECONDS, KEEP_ALIVE_SECONDS, Protocol, Server, Supervisor

    _exit_on_signals()  # until uvicorn listens for them itself, and after it
    logs.configure(settings.log_level, settings.log_format or "json")
    with prepared(settings) as url, ExitStack() as stack:
        # What is prepared here need not be prepared again in the lifespan, nor in every worker.
        os.environ |= {"DATABASE_URL": url, "MIGRATE_ON_START": "false"}
        config = uvicorn.Config(
            "main:app",
            http=Protocol,
            workers=workers,
            reload=options.reload,
            reload_dirs=[str(ROOT / "backend")] if options.reload else None,
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=settings.forwarded_allow_ips,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
        )
        if settings.environment == "development":
            _welcome(host, listener.getsockname()[1], settings, wrote_env)
        if workers > 1 and FOLDER_VARIABLE not in os.environ:
            folder = stack.enter_context(TemporaryDirectory(prefix="better-tasks-metrics-"))
            os.environ[FOLDER_VARIABLE] = folder
        if options.reload:
            ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
        elif workers > 1:
            Supervisor(config, sockets=[listener]).run()
        else:
            Server(config).run(sockets=[listener])


def _exit_on_signals() -> None:
    """Make a signal an exit, on whose way out the embedded database is ended too."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: sys.exit(0))


def _welcome(host: str, port: int, settings: Settings, wrote_env: bool) -> None:
    url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0', '::', '::1') else host}:{port}"  # noqa: S104
    # A second terminal does not have this process's environment.
    issuer = f"JWT_ISSUER={os.environ['JWT_ISSUER']} " if "JWT_ISSUER" in os.environ else ""
    database = "yours, from DATABASE_URL" if settings.database_url else "PostgreSQL 18, embedded, its data in .data/"
    print(
        f"Better Tasks   {url}",
        f"  docs         {url}/docs",
        f"  database     {database}",
        f"  settings     .env{', just written, with a fresh secret' if wrote_env else ''}",
        f"  a token      {issuer}uv run main.py token --user alice",
        sep="\n",
        flush=True,
    )


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(-?\d{1,9})([smhd]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time like 90s, 15m, 1h or 7d")
    return int(match[1]) * UNITS[match[2] or "s"]


def _claim(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is no claim like role=admin")
    return name, value


def _token(options: argparse.Namespace) -> None:
    from jose import jws

    settings = load_settings()
    if settings.better_auth_secret is None:
        raise StartError(f"BETTER_AUTH_SECRET: is missing in the environment and in {ENV_FILE}: a token needs it")
    if options.ttl > settings.max_token_seconds:
        raise StartError(f"--ttl: the API takes no token that lives longer than {settings.max_token_seconds} s")
    now = int(time.time())
    claims = {"sub": options.user, "iat": now, "exp": now + options.ttl}
    claims |= {name: value[0] for name, value in (("iss", settings.issuers), ("aud", settings.audiences)) if value}
    claims |= dict(options.claim)
    print(jws.sign(claims, settings.better_auth_secret.get_secret_value(), algorithm="HS256"))


def _migrate(_: argparse.Namespace) -> None:
    from backend import migrations
    from backend.embedded import database_url

    write_env_file()
    settings = load_settings()
    with database_url(settings) as url:
        migrations.upgrade(url, settings.db_wait_seconds)
    print(f"The database is at revision {migrations.head()}.")


def _migration(options: argparse.Namespace) -> None:
    from backend.app import prepared
    from backend.revisions import write

    write_env_file()
    with prepared(load_settings()) as url:
        path = write(url, options.message)
    if path:
        print(f"Wrote {os.path.relpath(path)}. Read it, then run: uv run main.py migrate")
    else:
        print("The database has every table as it is declared: there is nothing to write.")


def _dev(options: argparse.Namespace) -> None:
    from backend import dev

    write_env_file()
    settings = load_settings()
    _exit_on_signals()  # until `dev` listens for them itself
    sys.exit(dev.run(settings, settings.port if options.port is None else options.port, options.web_port))


def _doctor(options: argparse.Namespace) -> None:
    from backend.doctor import examine

    sys.exit(0 if examine(options.token) else 1)


def main() -> None:
    """Run one command and exit: 0 if it did what it is for, 1 if not, 2 if the call is wrong."""
    parser = argparse.ArgumentParser(
        prog="main.py", description="A task API for Next.js apps with Better Auth. Without a command, it serves."
    )
    parser.set_defaults(run=_serve)
    parser.add_argument("--host", help="address to listen on (HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (PORT, 8000)")
    parser.add_argument("--workers", type=int, help="number of processes (WEB_CONCURRENCY, 1)")
    parser.add_argument("--reload", action="store_true", help="start again when a file in backend/ changes")
    commands = parser.add_subparsers(title="commands", metavar="")

    token = commands.add_parser("token", help="print a token for a user, signed with BETTER_AUTH_SECRET")
    token.set_defaults(run=_token)
    token.add_argument("--user", required=True, help="the user's id")
    token.add_argument(
        "--ttl", type=_seconds, default=3600, help="how long it is valid: 90s, 15m, 1h (the default), 7d"
    )
    token.add_argument("--claim", type=_claim, action="append", default=[], help="one more claim, like role=admin")

    doctor = commands.add_parser("doctor", help="say what is wrong: settings, database, keys, a token")
    doctor.set_defaults(run=_doctor)
    doctor.add_argument("token", nargs="?", help="a token: says exactly why it is or is not accepted")

    dev = commands.add_parser("dev", help="run the API with --reload and the frontend, for development")
    dev.set_defaults(run=_dev)
    dev.add_argument("--port", type=int, default=argparse.SUPPRESS, help="the API's port (PORT, 8000)")
    dev.add_argument("--web-port", type=int, default=3000, help="the frontend's port (3000)")

    migration = commands.add_parser("migration", help="write the migration for tables that are new or changed")
    migration.set_defaults(run=_migration)
    migration.add_argument("message", help='what it does, like "add test runs"')

    commands.add_parser("migrate", help="bring the database to the newest revision").set_defaults(run=_migrate)
    options = parser.parse_args()
    try:
        options.run(options)
    except StartError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
