"""What the README tells a newcomer to type works as it stands."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend import tables
from backend.problems import CODES
from backend.resources import RESOURCES
from backend.settings import Settings
from tests.project import Copy, answers, free_port, wait_until


def commands(text: str, section: str) -> list[str]:
    """Return the bash blocks of one section of the README."""
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", part, re.DOTALL)


@pytest.fixture
def newcomer(root: Path, copy: Copy) -> Iterator[Callable[[str], str]]:
    """Runs commands of the README in bash, in a fresh copy in which its first command runs; returns what they print."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    port = str(free_port())
    environment = {**copy.environment, "PORT": port, "UV_PROJECT_ENVIRONMENT": sys.prefix, "UV_NO_SYNC": "1"}

    def run(block: str) -> str:
        return copy.bash(block.replace("localhost:8000", f"localhost:{port}"), PORT=port)

    [serve] = commands((root / "README.md").read_text(), "Run")[:1]
    assert serve == "uv run main.py\n"
    with subprocess.Popen(
        ["bash", "-c", f"exec {serve}"],
        cwd=copy.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as server:
        try:
            wait_until(lambda: answers(f"http://localhost:{port}") or server.poll() is not None)
            assert server.poll() is None, server.communicate()
            yield run
        finally:
            server.terminate()
            server.communicate()


def test_the_first_commands_make_and_list_a_task(root: Path, newcomer: Callable[[str], str]) -> None:
    printed = newcomer(commands((root / "README.md").read_text(), "Run")[1])
    created, end = json.JSONDecoder().raw_decode(printed)
    assert created["title"] == "Buy milk"
    assert json.loads(printed[end:]) == [created]


def test_each_command_of_the_tour_does_what_it_says(root: Path, newcomer: Callable[[str], str]) -> None:
    text = (root / "README.md").read_text()
    [tour] = commands(text, "Endpoints")
    printed = newcomer(commands(text, "Run")[1] + tour)
    for expected in (
        "HTTP/1.1 304 Not Modified",
        '"priority":"high"',
        '"status":"completed"',
        '"title":"Replaced"',
        '{"updated":2}',
        '{"name":"money","color":"#3366ff"}',
        '{"name":"bills","color":"#3366ff"}',
        '"action":"updated"',
        '"deleted":true',
        "event: change",
        '"title":"Replaced","description":null',
        '{"tasks":0,"tags":0',
        '"user_id":"alice"',
    ):
        assert expected in printed, expected
    assert '"code":' not in printed, "a command of the tour was refused"


def test_each_command_of_the_guide_does_what_it_says(root: Path, newcomer: Callable[[str], str]) -> None:
    printed = newcomer("\n".join(re.findall(r"```bash\n(.*?)```", (root / "docs" / "api.md").read_text(), re.DOTALL)))
    for expected in (
        "Idempotency-Replayed: true",
        '"code":"IDEMPOTENCY_KEY_REUSED"',
        '"code":"PRECONDITION_FAILED"',
        '"code":"INSUFFICIENT_SCOPE"',
        "FREQ=WEEKLY;BYDAY=MO;COUNT=2",
        '{"name":"garden","color":"#33aa55","tasks":1}',
        '{"tasks":0,"tags":0',
    ):
        assert expected.lower() in printed.lower(), expected
    assert printed.count('"code":') == 5


UV = """#!/bin/bash
# uv, and uvx as the last of its names, with the packages that the tests run with, in place of those of a registry.
case "${0##*/} $*" in
  uvx*) exec "$@" ;;
  "uv run --with"*) exec python "${@: -1}" ;;
  *) exec UV "$@" ;;
esac
"""


def test_the_commands_of_the_guide_make_a_python_client_that_lists_creates_and_patches(
    root: Path, newcomer: Callable[[str], str], tmp_path: Path
) -> None:
    section = (root / "docs" / "api.md").read_text().partition("\n## Generated clients\n")[2]
    [commands] = re.findall(r"```sh\n(uvx openapi-python-client generate --url .*?)```", section, re.DOTALL)
    [program] = re.findall(r"```python\n# use_tasks.py\n(.*?)```", section, re.DOTALL)
    for name in ("uv", "uvx"):
        (tmp_path / name).write_text(UV.replace("UV", str(shutil.which("uv"))))
        (tmp_path / name).chmod(0o755)
    path = f'export PATH="{tmp_path}:{Path(sys.executable).parent}:$PATH"'
    strict = "mypy --strict --follow-imports=silent use_tasks.py"
    printed = newcomer(f"{path}\ncat > use_tasks.py <<'END'\n{program}END\n{commands}\n{strict}")
    assert "['Buy milk']\nBuy oat milk\nSuccess: no issues found" in printed


def test_the_guide_lists_every_code(root: Path) -> None:
    text = (root / "docs" / "api.md").read_text()
    listed = set(re.findall(r"`([A-Z_]{8,})`", text)) - {name.upper() for name in Settings.model_fields}
    assert listed - CODES.keys() == set(), "docs/api.md, Errors: no problem has these codes"
    of_resources = {resource.code for resource in RESOURCES}  # the page says how they are made
    assert CODES.keys() - listed - of_resources == set(), "docs/api.md, Errors: say what these codes mean"


def test_the_readme_is_short_and_its_links_lead_somewhere(root: Path) -> None:
    text = (root / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for link in re.findall(r"\]\(([^):]+)\)", text):
        assert (root / link).exists(), link


def test_each_variable_of_the_page_on_deployment_is_read_by_the_api_the_app_or_the_containers(root: Path) -> None:
    blocks = re.findall(r"```\w+\n(.*?)```", (root / "docs" / "deploy.md").read_text(), re.DOTALL)
    named = set(re.findall(r"\b([A-Z]{2,}(?:_[A-Z]+)*)\s?=", "".join(blocks)))
    containers = (root / "deploy" / "compose.yaml", root / "deploy" / "frontend.Dockerfile")
    readers = (*containers, *(root / "frontend" / "lib").glob("*.ts"))
    read = set(re.findall(r"[A-Z_]{2,}", "".join(path.read_text() for path in readers)))
    read |= {name.upper() for name in Settings.model_fields}
    assert len(named) > 8
    assert named - read == set()


def test_each_test_that_the_page_on_security_names_is_there(root: Path) -> None:
    named = set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", (root / "docs" / "security.md").read_text()))
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}" in (root / "tests" / file).read_text(), (file, test)


def test_every_file_of_the_backend_is_on_the_map(root: Path) -> None:
    on_the_map = set(re.findall(r"`(\w+\.py)`", (root / "README.md").read_text()))
    in_the_folder = {path.name for path in (root / "backend").glob("*.py")} - {"__init__.py"}
    yours = {f"{module.__name__.rpartition('.')[2]}.py" for module in tables.MODULES}
    assert on_the_map - in_the_folder == set(), "README.md, Where things are: take these lines out"
    assert in_the_folder - on_the_map - yours == set(), "README.md, Where things are: say what these are for"
