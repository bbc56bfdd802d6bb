"""`ahc completion`: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from ahplat.ahc.session import Session, pass_session


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_session
@click.pass_context
def completion(context: click.Context, session: Session, shell: str) -> None:
    """Print what makes your shell complete ahc's commands and options.

    \b
      eval "$(ahc completion bash)"                                        in ~/.bashrc
      eval "$(ahc completion zsh)"                                         in ~/.zshrc
      ahc completion fish > ~/.config/fish/completions/ahc.fish
    """
    made = get_completion_class(shell)
    assert made, f"click knows {shell}"
    session.screen.raw(made(context.find_root().command, {}, "ahc", "_AHC_COMPLETE").source())
