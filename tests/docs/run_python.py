"""Runs the pages' Python examples in one process: a JSON object of {page: [[name, code], …]} comes on stdin.

What each printed goes to stdout under its name; the first that fails ends the process with its traceback.
"""

from __future__ import annotations

import json
import sys
import traceback


def main() -> None:
    for examples in json.load(sys.stdin).values():
        names: dict[str, object] = {"__name__": "__main__"}
        for name, code in examples:
            print(f"── {name}", flush=True)
            try:
                exec(compile(code, name, "exec"), names)
            except BaseException:
                traceback.print_exc()
                print(f"\n{name} failed:\n{code}", file=sys.stderr)
                sys.exit(1)


main()
