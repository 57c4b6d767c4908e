"""The sessions that developers and CI run: `nox --list` names them.

Everything works in environments that nox makes; only `real_world` asks the package index for
more than the installation itself.
"""

from __future__ import annotations

from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = False


def _tako_of(session: nox.Session) -> dict[str, str]:
    """Tell scripts/* to use this session's tako instead of setting one up."""
    return {"TAKO": str(Path(session.bin) / "tako")}


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with coverage, or what the arguments name without."""
    session.install("--editable", ".[dev]")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    report = str(Path(session.create_tmp()) / "coverage.json")
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp()) / "coverage")
    session.run("pytest", "-n", "2", "-m", "unmeasured")
    coverage = ("--cov", "--cov-config=pyproject.toml", "--cov-report=")
    session.run("pytest", "-n", "2", "-m", "not unmeasured", *coverage)
    session.run("coverage", "json", "--quiet", "-o", report)
    session.run("python", "scripts/coverage_thresholds.py", report)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types over src, tests and this file."""
    session.install("--editable", ".[dev]")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory as ratios; arguments go to scripts/bench."""
    session.install("--editable", ".")
    session.run("scripts/bench", *session.posargs, external=True, env=_tako_of(session))


@nox.session
def stress(session: nox.Session) -> None:
    """Kill tako at 300 random moments, plan with 2,000 random files, damage 200; arguments: the kills."""
    session.install("--editable", ".[dev]")
    session.run("python", "-m", "tests.crash.random_kills", *session.posargs)
    session.run("pytest", "-q", "tests/engine/fan_out/test_any_tako_yml.py", env={"TAKO_CASES": "2000"})
    session.run("python", "-m", "tests.crash.random_damage")


@nox.session
def real_world(session: nox.Session) -> None:
    """Release a real library to real dependents (uses the package index)."""
    session.install("--editable", ".")
    session.run("scripts/real_world", *session.posargs, external=True, env=_tako_of(session))


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel in a fresh environment, run it there."""
    session.install("build>=1.2")
    built = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--outdir", str(built), ".")
    fresh = Path(session.create_tmp()) / "fresh"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    wheel = max(built.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.run(str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.run(str(fresh / "bin" / "tako"), "version", external=True)
    session.run("scripts/demo", external=True, env={"TAKO": str(fresh / "bin" / "tako")})
