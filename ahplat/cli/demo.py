"""`ah demo`."""

import click


@click.command()
def demo() -> None:
    """A tenant, a service, a URL."""
