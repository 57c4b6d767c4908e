"""`tako version`."""

from __future__ import annotations

import click

from tako.version import VERSION


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"tako {VERSION}")
