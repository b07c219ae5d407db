"""Runs the pages' Python examples in one process, several pages at a time: {page: [[name, code], …]} comes as JSON on stdin.

What failed goes to stderr with its traceback and its code; then the process ends with 1.
"""

from __future__ import annotations

import json
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor


def run(examples: list[list[str]]) -> bool:
    names: dict[str, object] = {"__name__": "__main__"}
    for name, code in examples:
        print(f"── {name}", flush=True)
        try:
            exec(compile(code, name, "exec"), names)
        except BaseException:
            sys.stderr.write(f"{name} failed:\n{traceback.format_exc()}\n{code}\n")
            return False
    return True


def main() -> int:
    with ThreadPoolExecutor(int(sys.argv[1])) as threads:
        return 0 if all(list(threads.map(run, json.load(sys.stdin).values()))) else 1


if __name__ == "__main__":
    sys.exit(main())
