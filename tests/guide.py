"""docs/better-auth.md: its parts, and a Better Auth that runs what it says."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import SECRET
from tests.project import free_port, installed

STOCK = "1. Let Better Auth sign tokens"
ENDS = "End tokens with their sessions"
RECIPES = "With other plugins"


@pytest.fixture(scope="session")
def guide(root: Path) -> str:
    return (root / "docs" / "better-auth.md").read_text()


def section(guide: str, title: str) -> str:
    """Return the text under a heading, to the next of its level or of one above."""
    heading = re.search(rf"^(##+) {re.escape(title)}\n", guide, re.MULTILINE)
    assert heading, title
    return re.split(rf"^##{{1,{len(heading[1]) - 1}}} ", guide[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def snippets(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def server_of(text: str) -> str:
    """Return the auth.ts that a section shows."""
    [source] = [each for each in snippets(text, "ts") if each.startswith("// auth.ts")]
    return source


def variables(text: str, url: str) -> dict[str, str]:
    """Return the settings that the first snippet of a section gives, by field, with the real URL and secret in them."""
    secret = "the-same-secret-as-in-better-auth-s-own-env"
    real = snippets(text, "bash")[0].replace("http://localhost:3000", url).replace(secret, SECRET)
    return {name.lower(): value for name, value in (line.split("=", 1) for line in real.splitlines())}


@dataclass(frozen=True)
class Recipe:
    """What a snippet adds to auth.ts: imports, code before the call of betterAuth, and plugins."""

    imports: str
    code: str
    plugins: str

    @classmethod
    def of(cls, snippet: str) -> "Recipe":
        shape = re.fullmatch(r"// auth.ts\n((?:import [^\n]*\n)+)(.*)\n  plugins: \[(.*)\],\n", snippet, re.DOTALL)
        assert shape, snippet
        return cls(shape[1], shape[2], shape[3].strip().removeprefix("jwt(),").strip().removesuffix(","))


def recipes(guide: str, title: str = RECIPES) -> list[Recipe]:
    shown = (each for each in snippets(section(guide, title), "ts") if each.startswith("// auth.ts"))
    return [Recipe.of(each) for each in shown]


def with_recipes(guide: str, *added: Recipe) -> str:
    """Return the stock auth.ts with these recipes in it."""
    stock = server_of(section(guide, STOCK))
    assert stock.count("[jwt()]") == 1
    plugins = [recipe.plugins for recipe in added]
    if not any(each.startswith("jwt(") for each in plugins):
        plugins = ["jwt()", *plugins]
    imports = dict.fromkeys("".join(recipe.imports for recipe in added).splitlines())  # each line once
    code = [recipe.code for recipe in added]
    return "\n".join([*imports, *code, stock.replace("[jwt()]", f"[{', '.join(plugins)}]")])


def _prepare(root: Path, folder: Path) -> Path:
    """Make a folder one where modules find their packages; return where those are."""
    packages = installed(root / "tests" / "better_auth") / "node_modules"
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(packages)
        (folder / "package.json").write_text('{"type": "module"}')
        shutil.copy(root / "tests" / "better_auth" / "serve.mjs", folder)
        shutil.copy(root / "frontend" / "lib" / "security-events.ts", folder)
    return packages


def assert_strict(root: Path, folder: Path, *sources: str) -> None:
    """Check the types of modules as a Next.js app does."""
    packages = _prepare(root, folder)
    modules = {f"module{number}.ts": source for number, source in enumerate(sources)}
    for name, source in modules.items():
        (folder / name).write_text(source)
    strict = {"strict": True, "skipLibCheck": True, "target": "es2022", "module": "esnext", "types": ["node"]}
    options = {"files": [*modules], "compilerOptions": {**strict, "moduleResolution": "bundler", "noEmit": True}}
    (folder / "tsconfig.json").write_text(json.dumps(options))
    checked = subprocess.run([packages / ".bin" / "tsc"], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@contextmanager
def better_auth(
    root: Path, folder: Path, source: str, database_url: str, api: str = "", log: IO[str] | None = None
) -> Iterator[str]:
    """Run the Better Auth of a module, and yield its URL. `api` is where it finds the API; it logs errors to `log`."""
    _prepare(root, folder)
    (folder / "auth.ts").write_text(source)
    url = f"http://localhost:{free_port()}"
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "API_URL": api}
    environment |= {"BETTER_AUTH_URL": url, "BETTER_AUTH_SECRET": SECRET}
    command = ["node", "serve.mjs", str(folder / "auth.ts")]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield url
        finally:
            process.terminate()
