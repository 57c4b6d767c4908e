from __future__ import annotations

import sys

from tests.support.runner import Tako, run_program


def test_the_module_is_the_command_and_imports_nothing_from_where_it_is_started(tako: Tako) -> None:
    (tako.directory / "click.py").write_text("raise SystemExit(99)")
    words = [sys.executable, "-m", "tako", "runs", "--help"]
    by_module = run_program(words, tako.environment, tako.directory)
    assert by_module == tako("runs", "--help")
    assert by_module.code == 0
    assert by_module.stdout.startswith("Usage: ")
