"""A client that a generator makes is whole, compiles strictly, and does what clients do."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.generators import GENERATORS, make_a_client

USES = ("use_openapi_python_client.py", "use_hey_api.ts", "use_orval.ts")


@pytest.fixture(scope="module")
def clients(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Make all of them, side by side."""
    with ThreadPoolExecutor() as threads:
        yield {
            one.name: threads.submit(make_a_client, one, api, tmp_path_factory.mktemp("client"), uses=uses)
            for one, uses in zip(GENERATORS, USES, strict=True)
        }


@pytest.mark.parametrize("generator", [one.name for one in GENERATORS])
def test_a_client_creates_lists_patches_with_null_and_if_match_imports_and_deletes(
    generator: str, clients: dict[str, Future[None]]
) -> None:
    clients[generator].result()
