"""`make bench` → a table. `python -m tests.bench --seconds 4 --rounds 3`.

It starts `manage.py up` in a home of its own (the same processes, limits and billing on), sells two more routes that the cheap
upstream serves, one per dialect, and measures. CPU is user + system time of the gateway's process per request that the upstream
served, from the kernel's own count (10 ms ticks: keep --seconds at 1 or more). Ratios are to the upstream asked directly in the
same run, in its own dialect.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench import ROUTES
from tests.bench.stack import ROOT, Row, running, started
from tokia.processes import free_port

TICKS = os.sysconf("SC_CLK_TCK")
WORDS = "Resuma em três frases o contrato abaixo, com os prazos, os valores em reais e as multas de cada cláusula. "
OURS = ("gateway", "web", "worker", "beat")


class Case(NamedTuple):
    name: str
    dialect: str
    path: str  # of the upstream, asked directly
    is_stream: bool = False
    last: str = ""  # what the end of the upstream's own stream says


CASES = (
    Case("JSON 1 KB", "openai", "/v1/chat/completions"),
    Case("stream of 33 events", "openai", "/v1/chat/completions", is_stream=True, last="[DONE]"),
    Case("stream of 33 events, OpenAI → Anthropic", "anthropic", "/v1/messages", is_stream=True, last="message_stop"),
)


def ask(url: str, *, method: str = "GET") -> Row:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
        figures: Row = json.load(answer)
        return figures


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def load(url: str, key: str, body: Path, *, last: str, rate: float, connections: int, seconds: float) -> Row:
    argv = [sys.executable, "-m", "tests.bench.load", "--url", url, "--key", key, "--body", str(body)]
    argv += ["--seconds", str(seconds), "--connections", str(connections), "--rate", str(rate), "--last", last]
    pinned = ["taskset", "-c", "1", *argv] if (os.cpu_count() or 1) > 1 else argv
    done = subprocess.run(pinned, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 120)
    figures: Row = json.loads(done.stdout)
    return figures


def measure(case: Case, *, home: Path, demo: Row, key: str, upstream: str, body: Path, args: Any) -> Row:
    pids: dict[str, int] = json.loads((home / "logs" / "pids.json").read_text())
    url = f"{demo['base_url']}/chat/completions"
    last = "[DONE]" if case.is_stream else ""
    connections = 512  # near saturation: with fewer, the gateway waits for the disk and each batch pays for less
    full: Row = {"rate": 0.0, "connections": connections}
    slow: Row = {"rate": 40.0 if case.is_stream else 150.0, "connections": 32}
    if (os.cpu_count() or 1) > 1:  # the load has the other core; the database takes what is left of both
        os.sched_setaffinity(pids["gateway"], {0})
    load(url, key, body, last=last, **full, seconds=1.5)
    rows: list[Row] = []
    for _ in range(args.rounds):
        served, cpu = ask(f"{upstream}/__stats")[case.dialect]["requests"], cpu_seconds(pids["gateway"])
        at_full = load(url, key, body, last=last, **full, seconds=args.seconds)
        used = cpu_seconds(pids["gateway"]) - cpu
        count = ask(f"{upstream}/__stats")[case.dialect]["requests"] - served
        ours = load(url, key, body, last=last, **slow, seconds=args.seconds)
        theirs = load(upstream + case.path, "bench", body, last=case.last, **slow, seconds=args.seconds)
        at_full_direct = load(upstream + case.path, "bench", body, last=case.last, **full, seconds=1.0)
        first = "first_ms" if case.is_stream else "total_ms"
        rows.append(
            {
                "cpu_us": used / max(count, 1) * 1e6,
                "busy": used / at_full["seconds"],
                "per_second": at_full["per_second"],
                "ratio_direct": at_full_direct["per_second"] / max(at_full["per_second"], 0.1),
                "added_p50_ms": ours[first]["p50"] - theirs[first]["p50"],
                "added_p99_ms": ours[first]["p99"] - theirs[first]["p99"],
                "bad": at_full["bad"] + ours["bad"],
            }
        )
    figures = {column: median(row[column] for row in rows) for column in rows[0]}
    return {"case": case.name, **figures, "bad": sum(row["bad"] for row in rows), "memory_mib": memory_mib(pids["gateway"])}


def sell_routes(upstream: str, env: dict[str, str]) -> Row:
    """What the cheap upstream serves as routes, a funded organization, a key without a low limit: see `tests/bench/setup.py`."""
    return _manage_setup(["sell", upstream], env)


def measure_routing(env: dict[str, str]) -> Row:
    """µs of CPU per call to decide who is asked: see `tests/bench/routing.py`."""
    return _run_module(["tests.bench.routing"], env)


def _manage_setup(words: list[str], env: dict[str, str]) -> Row:
    return _run_module(["tests.bench.setup", *words], env)


def _run_module(words: list[str], env: dict[str, str]) -> Row:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: Row = json.loads(done.stdout.splitlines()[-1])
    return figures


def reconcile(upstream: str, *, env: dict[str, str]) -> list[str]:
    """The three ledgers: what the upstream billed in each dialect, the usage records, the wallet. Returns what disagrees."""
    billed, ours = ask(f"{upstream}/__stats"), _manage_setup(["sums"], env)
    wrong = [
        f"{dialect} {name}: upstream {billed[dialect][name]}, usage records {ours['dialects'][dialect][name]}"
        for dialect in ROUTES
        for name in ("requests", "prompt_tokens", "completion_tokens")
        if billed[dialect][name] != ours["dialects"][dialect][name]
    ]
    if ours["granted_nanos"] - ours["net_nanos"] != ours["posted_nanos"]:
        wrong.append(f"wallet: granted {ours['granted_nanos']} − net {ours['net_nanos']} ≠ posted {ours['posted_nanos']}")
    if ours["held_nanos"]:
        wrong.append(f"wallet: {ours['held_nanos']} nanos still held")
    return wrong + list(ours["violations"])


def print_table(rows: list[Row]) -> None:
    print("\n| case | gateway CPU µs/request | requests/s | direct ÷ ours | added p50 ms | added p99 ms | memory MiB | bad |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['case']} | {row['cpu_us']:.0f} | {row['per_second']:.0f} | {row['ratio_direct']:.1f}× | "
            f"{row['added_p50_ms']:.2f} | {row['added_p99_ms']:.2f} | {row['memory_mib']:.0f} | {row['bad']} |"
        )


def print_rest(routing: Row, memory: Row) -> None:
    print("\nrouting, CPU µs/call: " + " · ".join(f"{case} {cost:.1f}" for case, cost in routing.items()))
    print("memory at the end, MiB: " + " · ".join(f"{name} {mib:.0f}" for name, mib in memory.items()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    mock = [sys.executable, "-m", "tests.bench.upstream", "--port", str(port)]
    with started(mock, dict(os.environ)), running("--no-model") as (home, demo, env):
        key = sell_routes(upstream, env)["key"]
        time.sleep(2.5)  # gateways follow the catalog within two seconds
        rows = []
        for number, case in enumerate(CASES):
            body = home / f"bench-{number}.json"
            message = {"role": "user", "content": (WORDS * 9)[:900]}
            asked = {"model": ROUTES[case.dialect], "stream": case.is_stream, "max_tokens": 200, "messages": [message]}
            body.write_text(json.dumps(asked, ensure_ascii=False, separators=(",", ":")))  # as the official SDK writes it
            print(f"measuring {case.name} …", flush=True)
            rows.append(measure(case, home=home, demo=demo, key=key, upstream=upstream, body=body, args=args))
        time.sleep(1)
        print_table(rows)
        pids: dict[str, int] = json.loads((home / "logs" / "pids.json").read_text())
        print_rest(measure_routing(env), {name: memory_mib(pids[name]) for name in OURS if name in pids})
        wrong = reconcile(upstream, env=env)
    if wrong or any(row["bad"] for row in rows):
        raise SystemExit("\nThe ledgers disagree:\n" + "\n".join(wrong))
    print("\nUsage records, wallet and the upstream's own ledgers agree to the token and the nano.")


if __name__ == "__main__":
    main()
