"""What the README tells a newcomer to type works as it stands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import Copy, answers, free_port, wait_until


def commands(text: str, section: str) -> list[str]:
    """Return the bash blocks of one section of the README."""
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", part, re.DOTALL)


def test_the_first_commands_make_and_list_a_task(root: Path, copy: Copy) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    serve, use = commands((root / "README.md").read_text(), "Run")
    # The packages that the tests run with are those that `uv run` would install.
    port = str(free_port())
    environment = {**copy.environment, "PORT": port, "UV_PROJECT_ENVIRONMENT": str(root / ".venv"), "UV_NO_SYNC": "1"}
    assert serve == "uv run main.py\n"
    with subprocess.Popen(
        ["bash", "-c", f"exec {serve}"], cwd=copy.folder, env=environment, stderr=subprocess.PIPE
    ) as server:
        try:
            wait_until(lambda: answers(f"http://localhost:{port}") or server.poll() is not None)
            assert server.poll() is None, server.communicate()
            used = subprocess.run(
                ["bash", "-ec", use.replace("8000", port)],
                cwd=copy.folder,
                env=environment,
                capture_output=True,
                text=True,
            )
        finally:
            server.terminate()
            server.communicate()
    decoder = json.JSONDecoder()
    created, end = decoder.raw_decode(used.stdout)
    assert created["title"] == "Buy milk"
    assert json.loads(used.stdout[end:]) == [created]


def test_the_readme_is_short_and_its_links_lead_somewhere(root: Path) -> None:
    text = (root / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for link in re.findall(r"\]\(([^):]+)\)", text):
        assert (root / link).exists(), link


def test_every_file_of_the_backend_is_on_the_map(root: Path) -> None:
    on_the_map = set(re.findall(r"`(\w+\.py)`", (root / "README.md").read_text()))
    in_the_folder = {path.name for path in (root / "backend").glob("*.py")} - {"__init__.py"}
    assert on_the_map == in_the_folder
