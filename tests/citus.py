"""Citus: a cluster of a test run's own, and databases that are spread over the nodes of any."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg2

ON_THIS_NODE = "SET citus.enable_create_database_propagation = off"
WORKERS = "SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' AND groupid <> 0 ORDER BY nodeport"


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements, each in a transaction of its own, and return the rows of the last."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def workers(server: str) -> list[str]:
    """Return the URLs of the workers of a coordinator; none of a server without Citus."""
    if not execute(server, "SELECT 1 FROM pg_extension WHERE extname = 'citus'"):
        return []
    return [str(httpx.URL(server).copy_with(host=host, port=port)) for host, port in execute(server, WORKERS)]


@contextmanager
def spread(server: str, name: str) -> Iterator[None]:
    """Make an empty database on a coordinator and its workers, of which the coordinator knows; drop it at the end."""
    nodes = [server, *workers(server)]
    urls = [httpx.URL(node).copy_with(path=f"/{name}") for node in nodes]
    try:
        for node, url in zip(nodes, urls, strict=True):
            execute(node, ON_THIS_NODE, f"CREATE DATABASE {name}")
            execute(str(url), "CREATE EXTENSION citus")
        coordinator, *others = urls
        execute(
            str(coordinator),
            f"SELECT citus_set_coordinator_host('{coordinator.host}', {coordinator.port or 5432})",
            *(f"SELECT citus_add_node('{url.host}', {url.port or 5432})" for url in others),
        )
        yield
    finally:
        for node in nodes:
            execute(node, ON_THIS_NODE, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
