"""Write the tables and plots of docs/performance.md: `uv run --group benchmarks benchmarks/report.py`."""

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
IMAGES = HERE.parent / "docs" / "images"
NAMES = {"usual": "the usual way", "fastify": "Fastify", "api": "Better Tasks"}
COLORS = {"usual": "#9aa5b1", "fastify": "#5b7db1", "api": "#1f9d6b"}

# Only the figures may change the files from run to run.
matplotlib.rcParams.update({"svg.hashsalt": "better-tasks", "svg.fonttype": "none", "font.size": 11})


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def middle(results: dict[str, Any], peer: str, kind: str, figure: str) -> float:
    return float(median(figures[peer][kind][figure] for figures in results["throughput"]["rounds"]))


def ratio(results: dict[str, Any], peer: str, kind: str, figure: str) -> str:
    rounds = results["throughput"]["rounds"]
    ratios = sorted(figures["api"][kind][figure] / figures[peer][kind][figure] for figures in rounds)
    return f"{ratios[0]:.2f} to {ratios[-1]:.2f}"


def throughput(results: dict[str, Any]) -> str:
    rows = []
    for kind in ("one task", "page of fifty", "POST", "PATCH"):
        for peer in ("usual", "fastify"):
            if kind in results["throughput"]["rounds"][0].get(peer, {}):
                mine, theirs = (middle(results, name, kind, "per_second") for name in ("api", peer))
                rows.append(
                    [
                        kind,
                        NAMES[peer],
                        f"{mine:,.0f}",
                        f"{theirs:,.0f}",
                        f"**{ratio(results, peer, kind, 'per_second')}**",
                        ratio(results, peer, kind, "p99_ms"),
                    ]
                )
    return table(["", "peer", "requests per second", "peer's", "times as fast", "p99, over the peer's"], rows)


def limit(results: dict[str, Any]) -> str:
    rows = [
        [kind, f"{middle(results, 'api', kind, 'per_second'):,.0f}", f"{per_second:,.0f}"]
        for kind, per_second in results["throughput"]["pgbench"].items()
    ]
    return table(["", "the API", "pgbench, the same statements"], rows)


def resource(results: dict[str, Any]) -> str:
    rows = [[kind, f"{min(over):.2f} to {max(over):.2f}"] for kind, over in results["resource"].items()]
    return table(["", "times as fast as tasks"], rows)


def latency(results: dict[str, Any]) -> str:
    rows = [
        [kind, NAMES[name], *(f"{away[ms][0]:.1f} ms" for ms in ("0", "1", "5")), f"{away['5'][1]:.2g}"]
        for kind in results["latency"]["api"]
        for name in ("api", "usual")
        if (away := results["latency"][name][kind])
    ]
    return table(["", "", "0 ms away", "1 ms", "5 ms", "round trips"], rows)


def growth(results: dict[str, Any]) -> str:
    rows = [
        [f"`{name}`", f"{few:.2f} ms", f"{many:.2f} ms", f"{times:.2f}"]
        for name, (few, many, times) in results["growth"]["rows"].items()
    ]
    return table(["", "10 thousand rows", "2 million", "times"], rows)


def pages(results: dict[str, Any]) -> str:
    found = results["growth"]["pages"]
    return table([f"page {number}" for number in found], [[f"{ms:.2f} ms" for ms in found.values()]])


def changes(results: dict[str, Any]) -> str:
    behind = {name: found for name, found in results["changes"].items() if name.startswith("after")}
    rows = [[f"{name} changes", f"{found['ms']:.1f} ms", str(found["pages"])] for name, found in behind.items()]
    return table(["caught up", "all of it", "requests"], rows)


def log(results: dict[str, Any]) -> str:
    found = results["changes"]
    rows = [[method, f"{found[method]:.0f} bytes"] for method in ("POST", "PATCH", "DELETE")]
    rows.append(["an entry of two million, with its indexes", f"{found['bytes with indexes']:.0f} bytes"])
    return table(["", "in the log"], rows)


def events(results: dict[str, Any]) -> str:
    found = results["events"]
    rows = [
        [name, f"{delay['p50_ms']:.1f} ms", f"{delay['p99_ms']:.1f} ms"]
        for name, delay in found.items()
        if isinstance(delay, dict)
    ]
    return table(["a change made by", "p50", "p99"], rows)


def streams(results: dict[str, Any]) -> str:
    found = results["events"]
    over = found["throughput"]
    rows = [["memory", f"{found['megabytes']:.0f} MB"], ["requests per second, over those without streams", ""]]
    rows[1][1] = f"{min(over):.2f} to {max(over):.2f}"
    return table(["2,000 idle streams", ""], rows)


def revocations(results: dict[str, Any]) -> str:
    found = results["revocations"]
    over = found["throughput"]
    rows = [
        [name, f"{delay['p50_ms']:.1f} ms", f"{delay['p99_ms']:.1f} ms"]
        for name, delay in found.items()
        if isinstance(delay, dict)
    ]
    rows.append(["requests per second with 100,000, over those with none", f"{min(over):.2f} to {max(over):.2f}", ""])
    return table(["a token is refused by", "p50", "p99"], rows)


def erasure(results: dict[str, Any]) -> str:
    found = results["erasure"]
    rows = [
        ["a million tasks of a user, and a million entries of their log", f"{found['seconds']:.1f} s"],
        ["a GET and a POST of others meanwhile, p50", f"{found['p50_ms']:.1f} ms"],
        ["the same, p99", f"{found['p99_ms']:.1f} ms"],
    ]
    return table(["erasing", ""], rows)


def tokens(results: dict[str, Any]) -> str:
    base = results["eddsa"]["HS256, seen before"]
    rows = []
    for name, per_second in results["eddsa"].items():
        over = median(mine / theirs for mine, theirs in zip(per_second, base, strict=True))
        rows.append([name, f"{median(per_second):,.0f}", f"{over:.2f}"])
    return table(["tokens", "requests per second, one task", "over HS256, seen before"], rows)


def workers(results: dict[str, Any]) -> str:
    rows = [
        [kind, *(f"{results['workers'][number][kind]['per_second']:,.0f}" for number in ("1", "2"))]
        for kind in ("one task", "page of fifty")
    ]
    return table(["", "1 process", "2 processes"], rows)


def process(results: dict[str, Any]) -> str:
    memory, start = results["memory"], results["start"]["seconds"]
    rows = [
        ["from the command to the first task, external database", f"{start:.2f} s"],
        ["memory of one process at the start", f"{memory['at_start']:.0f} MB"],
        [f"and after {memory['requests']:,} requests", f"{memory['after']:.0f} MB"],
    ]
    return table(["", ""], rows)


def machine(results: dict[str, Any]) -> str:
    found = dict(results["machine"])
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if name not in ("cores", "node"))
    return f"{found['cores']} cores; {versions}; Node {found['node'].removeprefix('v')}."


def save(name: str) -> None:
    plt.tight_layout()
    plt.savefig(IMAGES / name, metadata={"Date": None}, transparent=False)
    plt.close()


def plot(results: dict[str, Any]) -> None:
    IMAGES.mkdir(exist_ok=True)
    peers = [peer for peer in NAMES if peer in results["throughput"]["rounds"][0]]
    for figure, title, name in (
        ("per_second", "requests per second: more is better", "throughput.svg"),
        ("p99_ms", "99th percentile, in ms: less is better", "tail.svg"),
    ):
        _, axes = plt.subplots(1, 2, figsize=(9, 2.6))
        for axis, kind in zip(axes, ("one task", "page of fifty"), strict=True):
            values = [middle(results, peer, kind, figure) for peer in peers]
            bars = axis.barh([NAMES[peer] for peer in peers], values, color=[COLORS[peer] for peer in peers])
            axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4)
            axis.set_title(kind, loc="left", fontweight="bold")
            axis.set_xlim(0, max(values) * 1.2)
            axis.spines[["top", "right", "bottom"]].set_visible(False)
            axis.set_xticks([])
        plt.suptitle(title, x=0.01, ha="left", fontsize=10, color="#555555")
        save(name)
    _, axis = plt.subplots(figsize=(6, 3))
    for peer in ("usual", "api"):
        away = results["latency"][peer]["one task"]
        axis.plot(
            [int(ms) for ms in away], [value[0] for value in away.values()], "o-", color=COLORS[peer], label=NAMES[peer]
        )
    axis.set_xlabel("round trip to the database, in ms")
    axis.set_ylabel("one task, in ms")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_ylim(0)
    axis.legend(frameon=False)
    save("latency.svg")


PARTS = (
    throughput,
    limit,
    resource,
    latency,
    growth,
    pages,
    changes,
    log,
    events,
    streams,
    revocations,
    erasure,
    tokens,
    workers,
    process,
    machine,
)


def main() -> None:
    results = json.loads((HERE / "results.json").read_text())
    text = PAGE.read_text()
    for part in PARTS:
        name = part.__name__
        between = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, found = re.subn(between, lambda match: f"{match[1]}{part(results)}\n{match[2]}", text, flags=re.DOTALL)  # noqa: B023
        assert found == 1, f"docs/performance.md has no place for {name}"
    PAGE.write_text(text)
    plot(results)


if __name__ == "__main__":
    main()
