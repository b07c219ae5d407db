"""The golden files: one for every case and target, with the request that we make of it, or the refusal."""

from __future__ import annotations

from pathlib import Path

from tests.corpus.cases import Case, read_cases
from tests.corpus.targets import TARGETS, Target, show, tell

FOLDER = Path(__file__).parent / "golden"


def path_of(target: Target, case: Case) -> Path:
    return FOLDER / target.name / f"{case.name}.json"


def write_all() -> int:
    """Writes every file and removes those of cases that are no more; gives how many there are."""
    wanted = {path_of(target, case): show(tell(target, case)) for target in TARGETS for case in read_cases()}
    for path in FOLDER.glob("*/*.json"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return len(wanted)


def differences() -> list[str]:
    """The names of the files that are not what is made today."""
    changed = []
    for target in TARGETS:
        for case in read_cases():
            path = path_of(target, case)
            if not path.exists() or path.read_text() != show(tell(target, case)):
                changed.append(f"{target.name}/{case.name}")
    kept = {path_of(target, case) for target in TARGETS for case in read_cases()}
    return changed + [f"{path.parent.name}/{path.stem}" for path in sorted(FOLDER.glob("*/*.json")) if path not in kept]
