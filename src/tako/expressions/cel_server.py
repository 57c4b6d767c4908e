"""Evaluates conditions in a process of its own: `python -m tako.expressions.cel_server PARENT`.

In: lines of JSON on stdin, first a scope, then conditions with the CPU seconds that each may use. Out: a line
for each. CEL cannot be interrupted and holds Python's lock: who must stay awake asks this process, which the
kernel ends when a condition takes too long.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any

from tako.errors import UsageError
from tako.expressions.cel import CelScope, compile_condition
from tako.expressions.errors import ExpressionError, FieldMissingError
from tako.system.process.companion import die_after_cpu, live_on, serve_until_parent_ends
from tako.values import value

MODULE = "tako.expressions.cel_server"
#: Address space; CEL frees nothing before a condition ends.
_MEMORY = 2 << 30


@value
class Answer:
    """Whether a condition holds, or what it raised; and the CPU seconds that took."""

    used_s: float
    holds: bool = False
    error: ExpressionError | None = None


def scope_question(scope: Any) -> bytes:  # noqa: ANN401 - JSON
    """Have the conditions that follow read this scope."""
    return json.dumps({"scope": scope}).encode()


def condition_question(text: str, cpu_s: float) -> bytes:
    """Ask whether a condition holds; it may use so many CPU seconds."""
    return json.dumps({"text": text, "cpu_s": cpu_s}).encode()


def answered(line: bytes) -> Answer:
    """Read an answer."""
    answer = json.loads(line)
    if "reason" not in answer:
        return Answer(answer["used_s"], holds=answer["holds"])
    used_s, kind = answer.pop("used_s"), FieldMissingError if answer.pop("missing") else ExpressionError
    return Answer(used_s, error=kind(answer.pop("reason"), **answer))


def _evaluated(text: str, scope: CelScope, names: tuple[str, ...]) -> dict[str, object]:
    try:
        return {"holds": compile_condition(text, names).evaluate(scope)}
    except ExpressionError as error:
        return {
            "missing": isinstance(error, FieldMissingError),
            "reason": error.reason,
            "expression": error.expression,
            "line": error.line,
            "column": error.column,
            "hint": error.hint,
        }


def serve() -> None:
    """Answer until nobody asks."""
    scope, names = CelScope({}), tuple[str, ...]()
    for line in sys.stdin.buffer:
        question = json.loads(line)
        answer: dict[str, object] = {}
        if "scope" in question:
            scope, names = CelScope(question["scope"]), tuple(question["scope"])
            # What it costs is no condition's doing; what is wrong with it, each that reads it says.
            with suppress(UsageError):
                scope.taken(names)
        else:
            before = time.process_time()
            die_after_cpu(question["cpu_s"])
            answer = _evaluated(question["text"], scope, names)
            live_on()
            answer["used_s"] = time.process_time() - before
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve_until_parent_ends(int(sys.argv[1]), _MEMORY)
    from setproctitle import setproctitle

    setproctitle("tako: filters")
    serve()
