"""`python -m tests.house.lengths`: files over 400 lines and functions over 70. A habit, shown by `make check`, failing nobody."""

from __future__ import annotations

import ast

from tests.house.sources import ROOT, tracked_files

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def find_long() -> list[str]:
    found = []
    for path in tracked_files():
        if path.suffix != ".py" or "migrations" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > FILE_LINES_MAX:
            found.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines")
    return found


if __name__ == "__main__":
    long = find_long()
    print(f"Long files and functions: {len(long)}", *long, sep="\n  ")
