"""Becomes a program under the restrictions of a systemd unit, where no systemd runs: `confined.py UNIT DATA SHOWN… -- argv`.

The same system calls that systemd makes for those options: a mount namespace, libseccomp, a bounding set, a umask. DATA
stands for the unit's first StateDirectory. SHOWN are folders that stay to be read though they lie where the unit hides what is
there: what the program is made of, on a machine on which it is not installed.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

NOT_TRIED = {"ProtectKernelLogs", "LockPersonality", "RestrictRealtime", "SystemCallArchitectures"}
"""Options of the sandbox that this does not bring about. The first is in the bounding set, too."""

TRIED = {
    *("UMask", "ProtectSystem", "ReadWritePaths", "StateDirectory", "StateDirectoryMode", "ProtectHome", "PrivateTmp"),
    *(
        "NoNewPrivileges",
        "ProtectKernelModules",
        "RestrictAddressFamilies",
        "SystemCallFilter",
        "SystemCallErrorNumber",
    ),
    "CapabilityBoundingSet",
}
HIDDEN = {"ProtectHome": ("/root", "/home", "/run/user"), "PrivateTmp": ("/tmp", "/var/tmp")}
API = ("/dev", "/proc", "/sys")  # ProtectSystem=strict leaves them as they are
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17}
FAMILIES_IN_ALL = 46
_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_AT_RECURSIVE, _RDONLY, _MOUNT_SETATTR = 0x8000, 1, 442
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_libc = ctypes.CDLL(None, use_errno=True)


def read_unit(path: Path) -> dict[str, list[str]]:
    """Option of `[Service]` → its words; of one that stands there more than once those of all its lines."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).extend(value.split())
    return found


def main() -> None:
    """Becomes the program."""
    split = sys.argv.index("--")
    unit, data, *shown = sys.argv[1:split]
    options = read_unit(Path(unit))
    assert options["ProtectSystem"] == ["strict"], options["ProtectSystem"]
    os.umask(int(options["UMask"][0], 8))
    confine_files(options, data, shown)
    argv = ["setpriv", f"--bounding-set={bounding_set(options)}", "--no-new-privs", "--", *sys.argv[split + 1 :]]
    if options["NoNewPrivileges"] != ["yes"]:
        argv.remove("--no-new-privs")
    filter_calls(options)
    os.execvp(argv[0], argv)


def confine_files(options: dict[str, list[str]], data: str, shown: list[str]) -> None:
    """All is read-only but what the unit names; homes are empty, and /tmp is our own."""
    call(_libc.unshare, _CLONE_NEWNS)
    mount("none", "/", _MS_REC | _MS_SLAVE)
    aside = Path(tempfile.mkdtemp(dir="/run"))
    mount("tmpfs", str(aside), 0, "tmpfs")
    state = [f"/var/lib/{name}" for name in options["StateDirectory"][1:]]
    for path in state:
        Path(path).mkdir(exist_ok=True)
    kept = [data, *shown]
    for number, path in enumerate(kept):
        (aside / str(number)).mkdir()
        mount(path, str(aside / str(number)), _MS_BIND | _MS_REC)
    hidden = [path for name, paths in HIDDEN.items() if options[name] == ["yes"] for path in paths]
    for path in (*hidden, "/usr/lib/modules"):
        if Path(path).exists():
            mount("tmpfs", path, 0, "tmpfs")
    for number, path in enumerate(kept):
        Path(path).mkdir(parents=True, exist_ok=True)
        mount(str(aside / str(number)), path, _MS_BIND | _MS_REC)
    call(_libc.umount2, str(aside).encode(), 2)
    aside.rmdir()
    named = [path.removeprefix("-") for path in options["ReadWritePaths"] if path[0] != "-" or Path(path[1:]).exists()]
    writable = [*named, *state, data, *HIDDEN["PrivateTmp"]]
    for path in (*named, *state):
        mount(path, path, _MS_BIND | _MS_REC)
    set_read_only("/", True)
    for path in (*API, *writable):
        set_read_only(path, False)


def filter_calls(options: dict[str, list[str]]) -> None:
    """The calls and the families of sockets that the unit refuses are answered with an error."""
    names = options["SystemCallFilter"]
    assert names[0].startswith("~") and options["SystemCallErrorNumber"] == ["EPERM"], names
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    made = ctypes.c_void_p(seccomp.seccomp_init(_ALLOW))
    for name in expanded([names[0][1:], *names[1:]]):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # below are those that this machine's kind does not have
            call(seccomp.seccomp_rule_add, made, _ERRNO | 1, number, 0)
    allowed = {FAMILIES[name] for name in options["RestrictAddressFamilies"]}
    socket = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in set(range(FAMILIES_IN_ALL)) - allowed:
        compared = (Comparison * 1)(Comparison(0, 4, family, 0))
        call(seccomp.seccomp_rule_add_array, made, _ERRNO | 97, socket, 1, compared)
    call(seccomp.seccomp_load, made)


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`; 4 is SCMP_CMP_EQ."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def expanded(groups: list[str]) -> list[str]:
    """The calls of systemd's groups, as this systemd has them."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", *groups], capture_output=True, text=True, check=True)
    return [
        line.strip() for line in said.stdout.splitlines() if line.startswith("    ") and line.strip()[0] not in "#@"
    ]


def bounding_set(options: dict[str, list[str]]) -> str:
    """As setpriv takes it."""
    return ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in options["CapabilityBoundingSet"])])


def mount(source: str, target: str, flags: int, kind: str = "none") -> None:
    """mount(2)."""
    call(_libc.mount, source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)


def set_read_only(path: str, wanted: bool) -> None:
    """A mount and all below it, by mount_setattr(2)."""
    attributes = (ctypes.c_uint64 * 4)(_RDONLY if wanted else 0, 0 if wanted else _RDONLY, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    call(_libc.syscall, _MOUNT_SETATTR, -100, path.encode(), _AT_RECURSIVE, attributes, size)


def call(function: "ctypes._NamedFuncPointer", *arguments: object) -> None:
    """Raises OSError where it fails."""
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}{arguments}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
