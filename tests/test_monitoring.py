"""The alerts and the dashboard in deploy/ are about figures that the API has."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import serving, settings
from tests.helpers import BAD, user
from tests.servers import program
from tests.test_metrics import figures

ALERTS = "deploy/prometheus/alerts.yml"
OF_PROMETHEUS = {"up": {"job", "instance"}}
METRIC = re.compile(r"\b([a-z]+(?:_[a-z]+)+|up)\b(?:\{([^}]*)\})?(?! ?\()")
GROUPED = re.compile(r"\bby \(([\w, ]+)\)")
MATCHED = re.compile(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"')


def alerts(root: Path) -> list[str]:
    return [rule["expr"] for group in yaml.safe_load((root / ALERTS).read_text())["groups"] for rule in group["rules"]]


def panels(root: Path) -> list[str]:
    dashboard = json.loads((root / "deploy/grafana/dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def known(database_url: str) -> dict[str, set[str]]:
    """The labels of each metric of a running API that has met all that it counts."""
    with serving(settings(database_url=database_url, rate_limit="1 per 100 years")) as url:
        ann = user()
        for headers in (ann, ann, BAD):
            httpx.get(f"{url}/api/me", headers=headers)
        labels: dict[str, set[str]] = {name: set(own) for name, own in OF_PROMETHEUS.items()}
        for sample in figures(url):
            name, _, said = sample.partition("{")
            labels.setdefault(name, {"job", "instance"}).update(re.findall(r'(\w+)="', said))
    return labels


def selected(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of an expression, with the labels that it is asked for."""
    grouped = {label.strip() for labels in GROUPED.findall(expression) for label in labels.split(",")}
    for name, matchers in METRIC.findall(GROUPED.sub("", expression)):
        yield name, grouped | {label for label, _ in MATCHED.findall(matchers)}


def test_every_metric_and_label_of_an_alert_or_a_panel_is_one_of_the_api(
    root: Path, known: dict[str, set[str]]
) -> None:
    for expression in [*alerts(root), *panels(root)]:
        found = list(selected(expression))
        assert found, expression
        for name, labels in found:
            assert name in known, expression
            assert labels <= known[name], expression


def test_every_metric_of_the_api_is_on_the_dashboard(root: Path, known: dict[str, set[str]]) -> None:
    shown = {name for expression in panels(root) for name, _ in selected(expression)}
    of_parts = re.compile(r"_(bucket|count|sum)$")
    others = re.compile(r"python_|process_|up$|.*_created$")
    ours = {name for name in known if not others.match(name)}
    assert {of_parts.sub("", name) for name in ours} == {of_parts.sub("", name) for name in shown}


def test_every_reason_and_route_that_an_alert_names_is_there(root: Path) -> None:
    code = "".join(path.read_text() for path in (root / "backend").glob("*.py"))
    named = {
        value
        for expression in alerts(root)
        for label, values in MATCHED.findall(expression)
        if label in ("reason", "route")
        for value in values.split("|")
    }
    assert {"/ready", "unknown_kid", "signature"} <= named
    assert [value for value in named if f'"{value}"' not in code] == []


def test_prometheus_takes_the_alerts_and_what_the_panels_ask(root: Path, tmp_path: Path) -> None:
    promtool = program("promtool")
    asked = [expression.replace("$__rate_interval", "5m").replace("$job", ".*") for expression in panels(root)]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for file in (root / ALERTS, tmp_path / "panels.yml"):
        checked = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
