"""What a container sees as /etc/resolv.conf: the gateway of its network, where the platform answers names.

A file for each network in the data folder, looked at whenever the network is. Invariant: it is whole or not there, for
it is written beside and renamed; not for two callers at once: the engine serialises them.
"""

from pathlib import Path

from ahplat.engines.engine import Network
from ahplat.errors import Unavailable

MODE = 0o644  # whoever the container's program runs as reads it


def content(network: Network) -> str:
    """`search internal`, so that `web` is `web.internal`; a name with a dot is asked for as it is first.

    Asked again each second for five: that bridges a restart of the platform.

    >>> print(content(Network("n", "ah0", "10.128.0.64/26", "i", "t")), end="")
    nameserver 10.128.0.65
    search internal
    options ndots:1 timeout:1 attempts:5
    """
    return f"nameserver {network.gateway}\nsearch internal\noptions ndots:1 timeout:1 attempts:5\n"


def path_of(folder: Path, network: Network) -> Path:
    """Where the file of a network is."""
    return folder / f"{network.bridge}.conf"


def ensure(folder: Path, network: Network) -> None:
    """Makes the file of a network where it is missing or other than it should be. Raises Unavailable."""
    path = path_of(folder, network)
    wanted = content(network)
    try:
        if path.exists() and path.read_text(errors="replace") == wanted:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(wanted)
        fresh.chmod(MODE)
        fresh.rename(path)
    except OSError as error:
        raise Unavailable("network_unavailable", f"{path} cannot be written: {error.strerror}") from error


def forget(folder: Path, network: Network) -> None:
    """Removes the file of a network that is gone."""
    path_of(folder, network).unlink(missing_ok=True)
