"""Every case in every dialect: the request as it was read and judged, and there and back through the strict sandbox."""

from __future__ import annotations

import re

import httpx
import pytest

from gateway.errors import GatewayError
from tests.corpus.cases import Case, read_cases
from tests.corpus.golden import differences, path_of
from tests.corpus.targets import TARGETS, Target, show, tell
from tests.corpus.trip import Refused, read_stream, read_whole
from tests.gateway.world import Sandbox

CASES_MIN = 80
_PATH = re.compile(r"[a-z_]+(\[\d+\]|\.[a-z_]+|\[\])*")


def is_said(target: Target, case: Case) -> bool:
    try:
        target.request(case, case.body)
    except GatewayError:
        return False
    return True


def test_it_has_golden_files_for_every_case_and_target_and_no_others() -> None:
    assert len(read_cases()) >= CASES_MIN
    assert differences() == [], "run `python -m tests.corpus --write`, and read what changed"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_refuses_in_words_that_name_the_field(target: Target) -> None:
    for case in read_cases():
        refused = tell(target, case).get("refused")
        if refused is None:
            continue
        assert refused["status"] == 400, case.name
        assert refused["code"] in (
            "unsupported_parameter", "unsupported_value", "invalid_value", "invalid_type", "invalid_json",
        ), case.name  # fmt: skip
        if refused["code"] != "invalid_json":
            assert refused["param"] and _PATH.fullmatch(refused["param"]), (case.name, refused)
            assert refused["message"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_makes_the_same_request_twice(target: Target) -> None:
    for case in read_cases()[::7]:
        assert show(tell(target, case)) == path_of(target, case).read_text()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_is_taken_by_the_strict_sandbox_and_answers_alike_whole_and_streamed(
    target: Target, sandbox: Sandbox, client: httpx.Client
) -> None:
    base, wrong = f"{sandbox.url}/llm/{target.name}", []
    asked = 0
    for case in read_cases():
        if not is_said(target, case):
            continue
        asked += 1
        try:
            streamed, tally = read_stream(client, target, case, base)
            if case.is_stream:
                continue
            whole, told = read_whole(client, target, case, base)
            assert streamed == whole
            assert tally.usage is not None and told.usage is not None and not tally.is_suspect and not told.is_suspect
            # A prompt that is asked twice may be read from the cache.
            assert tally.usage.prompt_tokens == told.usage.prompt_tokens
            assert tally.usage.completion_tokens == told.usage.completion_tokens
        except Refused:
            continue
        except (AssertionError, ValueError, GatewayError) as error:
            wrong.append(f"── {case.name}: {type(error).__name__} {str(error)[:1200]}")
    assert not wrong, "\n".join([f"{len(wrong)} of {asked}", *wrong])
    assert asked >= CASES_MIN
