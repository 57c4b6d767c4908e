"""`tako cache`: fills, shows, checks and cleans the shared cache of repositories.

Results go to stdout, what happens meanwhile to stderr. `sync` and `verify` end with exit code 1 if a
repository failed.
"""

from __future__ import annotations

import json
import os
from typing import Any

import click

from tako.cli.options import check_cache, check_cache_dir
from tako.config.settings import load_settings
from tako.layout.cache import CacheLayout
from tako.layout.home import home_from
from tako.repositories.cache import Cache
from tako.repositories.known import KnownRepository
from tako.repositories.locks import LockManager
from tako.repositories.reference import parse_reference, parse_repository
from tako.repositories.upkeep import CacheProblem
from tako.repositories.upstream.urls import without_credentials
from tako.system.terminal.text import shown, told
from tako.units import parse_duration
from tako.values import value


@value
class _Opened:
    layout: CacheLayout
    locks: LockManager
    cache: Cache


def _note(message: str) -> None:
    click.echo(told(message), err=True)


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _open(cache_dir: str, lock_timeout: float | None, *, local: bool) -> _Opened:
    home = home_from(dict(os.environ))
    settings = load_settings(home.config)
    home = home_from(dict(os.environ), cache_dir or settings.cache_dir)
    check_cache(home)
    timeout_s = settings.lock_timeout_s if lock_timeout is None else lock_timeout
    locks = LockManager(home.cache, timeout_s, _note)
    cache = Cache(home, settings, locks, local=local, on_note=_note)
    return _Opened(home.cache, locks, cache)


@click.group(name="cache", short_help="Fill, list, check and clean the repository cache.")
@click.option(
    "--cache-dir", default="", metavar="DIR", help="Use this cache instead of the one in $TAKO_HOME."
)
@click.option(
    "--lock-timeout", callback=_duration, metavar="DURATION", help="Wait at most this long for a lock."
)
@click.option("--local", is_flag=True, help="Use no network.")
@click.pass_context
def command(context: click.Context, cache_dir: str, lock_timeout: float | None, *, local: bool) -> None:
    """Fill, list, check and clean the repository cache."""
    if context.invoked_subcommand != "add":
        check_cache_dir(home_from(dict(os.environ), cache_dir))
    context.obj = _open(cache_dir, lock_timeout, local=local)


@command.command()
@click.argument("reference", metavar="OWNER/NAME[:BRANCH]")
@click.option(
    "--from",
    "url",
    metavar="URL-or-path",
    help="Fetch it from here; default: the registered URL, else `url_template` of config.yml.",
)
@click.pass_obj
def add(opened: _Opened, reference: str, url: str | None) -> None:
    """Register a repository and fetch it. BRANCH replaces its default branch."""
    registration = opened.cache.add(parse_reference(reference), url)
    commit = registration.branches[registration.default_branch]
    click.echo(f"{registration.repository.text}:{registration.default_branch} {commit}")


def _record(known: KnownRepository) -> dict[str, Any]:
    return {
        "repository": known.repository.text,
        "source": known.source,
        "default_branch": known.default_branch,
        "branches": list(known.branches),
        "commit": None if known.source == "checkout" else known.commits.get(known.default_branch),
        "path": str(known.path),
        "url": without_credentials(known.url) or None,
    }


def _line(known: KnownRepository) -> str:
    where = str(known.path) if known.source == "checkout" else without_credentials(known.url)
    commit = "" if known.source == "checkout" else f" {known.commits[known.default_branch][:12]}"
    return f"{known.repository.text}:{known.default_branch} {known.source}{commit} {where}"


@command.command(name="list")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@click.pass_obj
def list_(opened: _Opened, output: str) -> None:
    """Print every repository in the cache."""
    known = opened.cache.known()
    if output == "json":
        click.echo(json.dumps([_record(each) for each in known], indent=1))
        return
    for each in known:
        click.echo(shown(_line(each)))
    if not known:
        _note("the cache is empty; fill it: tako cache add OWNER/NAME --from URL-or-path")


@command.command()
@click.argument("repositories", metavar="[REPO]...", nargs=-1)
@click.pass_context
def sync(context: click.Context, repositories: tuple[str, ...]) -> None:
    """Fetch the named repositories again; without REPO, all registered ones."""
    opened: _Opened = context.obj
    named = [parse_repository(text) for text in repositories] or None
    failed = 0
    for repository, error in opened.cache.sync(named):
        if error is None:
            click.echo(f"{repository.text} fetched")
            continue
        failed += 1
        _note(f"{repository.text}: {error.message}" + (f"\n{error.hint}" if error.hint else ""))
    if failed:
        context.exit(1)


def _print(findings: list[CacheProblem]) -> None:
    for finding in findings:
        click.echo(told(f"{finding.repository.text}: {finding.message}"))


@command.command()
@click.pass_context
def verify(context: click.Context) -> None:
    """Check every mirror and snapshot. Remove damaged snapshots; tako makes them again when it needs them."""
    from tako.repositories import upkeep

    opened: _Opened = context.obj
    findings = upkeep.verify(opened.layout, opened.locks, opened.cache)
    _print(findings)
    if findings:
        context.exit(1)
    _note("all mirrors and snapshots are whole")


@command.command()
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@click.option(
    "--keep",
    callback=_duration,
    metavar="DURATION",
    help="Keep snapshots that a run has used within this time (168h).",
)
@click.pass_obj
def prune(opened: _Opened, keep: float | None, *, dry_run: bool) -> None:
    """Remove snapshots that no branch points to and that no run has used lately."""
    from tako.repositories import upkeep

    keep_s = upkeep.KEEP_S if keep is None else keep
    findings = upkeep.prune(opened.layout, opened.locks, opened.cache, dry_run=dry_run, keep_s=keep_s)
    _print(findings)
    _note(f"{len(findings)} snapshots {'would be ' if dry_run else ''}removed")
