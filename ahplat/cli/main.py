"""`ah`: serves, and is the operator's tool. Without a subcommand it serves."""

import click

from ahplat.cli.backup import backup, restore
from ahplat.cli.demo import demo
from ahplat.cli.diff import diff
from ahplat.cli.doctor import doctor
from ahplat.cli.incident import incident
from ahplat.cli.log import log
from ahplat.cli.mcp import mcp
from ahplat.cli.operate import gc, unpark
from ahplat.cli.replay import replay
from ahplat.cli.rotate_key import rotate_key
from ahplat.cli.serve import SETTINGS, serve
from ahplat.cli.status import status
from ahplat.cli.transfer import export_log, import_log
from ahplat.cli.undo import undo
from ahplat.cli.usage import usage
from ahplat.cli.verify import verify
from ahplat.cli.why import why
from ahplat.version import VERSION


@click.group(
    invoke_without_command=True,
    params=[*SETTINGS],
    context_settings={"auto_envvar_prefix": "AH", "help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name=None, version=VERSION, prog_name="ah")
@click.pass_context
def main(context: click.Context, /, **settings: object) -> None:
    """A self-hosted platform that AI agents operate over REST. Without a command, ah serves.

    \b
    Try it:          ah demo
    On a laptop:     ah --dev --open-registration
    For real:        AH_BOOTSTRAP_TOKEN=$(openssl rand -hex 32) ah --domain apps.example.org

    Every option is also an environment variable: --data-dir is AH_DATA_DIR. Outside --dev the server wants
    AH_BOOTSTRAP_TOKEN (at least 32 characters; several, separated by commas, are valid at once), Docker and runsc.
    """
    if context.invoked_subcommand is None:
        serve(settings)


main.add_command(backup)
main.add_command(demo)
main.add_command(diff)
main.add_command(doctor)
main.add_command(replay)
main.add_command(export_log)
main.add_command(import_log)
main.add_command(restore)
main.add_command(rotate_key)
main.add_command(gc)
main.add_command(incident)
main.add_command(log)
main.add_command(mcp)
main.add_command(status)
main.add_command(undo)
main.add_command(unpark)
main.add_command(usage)
main.add_command(verify)
main.add_command(why)
