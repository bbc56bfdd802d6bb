"""The rules of the house, as pure functions from one module's source to what is wrong in it.

A rule sees names as they were imported: `from time import time as now` and `now()` is "time.time()". Names that are not
imported, such as a parameter, mean nothing to it. Invariant: `test_imports.py` shows of each rule here that it can fail.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "events": {"events"},
    "projections": {"events", "projections"},
    "ahplat": {"events", "projections", "ahplat"},
}
MAX_MODULE_LINES = 400
MAX_TEST_LINES = 500
MAX_FUNCTION_LINES = 60

# Programs of their own: they run outside our process and before or without our environment, so they do these things
# themselves. In return they may import the standard library only, and nothing of ours may import them.
PROGRAMS = (
    "ahplat/bootstrap.py",
    "ahplat/builders/archive.py",
    "ahplat/engines/shim.py",
    "ahplat/images/hello/main.py",
)

CLOCK = (
    *(f"time.{name}{ns}" for name in ("time", "monotonic", "perf_counter", "clock_gettime") for ns in ("", "_ns")),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("asyncio.get_running_loop().time", "asyncio.get_event_loop().time"),
)
PROCESSES = (
    *("subprocess", "multiprocessing", "pty", "concurrent.futures.ProcessPoolExecutor"),
    *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
    *("os.fork", "os.forkpty", "os.posix_spawn", "os.posix_spawnp", "os.system", "os.popen"),
    *(f"os.{verb}{how}" for verb in ("exec", "spawn") for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
)
IMPURE = (*CLOCK, "time", "ahplat.clock", "random", "uuid", "secrets", "os.environ", "os.getenv", "os.urandom")
PURE_FOLDERS = ("ahplat/commands/", "projections/")


@dataclass(frozen=True)
class Source:
    """One module: its path from the tree's root, as "ahplat/writer.py", and its text."""

    path: str
    text: str

    @property
    def room(self) -> str:
        """Where it stands: "events", "projections", "ahplat" or "tests"."""
        return self.path.partition("/")[0]


@dataclass(frozen=True)
class Monopoly:
    """What one module alone does: `home` is its path (a folder's ends with a slash), `names` what the others may not use."""

    home: str
    names: tuple[str, ...]


MONOPOLIES = {
    "opens database connections": Monopoly("events/database.py", ("apsw.Connection()",)),
    "reads the clock": Monopoly("ahplat/clock.py", CLOCK),
    "starts processes": Monopoly("ahplat/processes.py", PROCESSES),
    "talks to Docker": Monopoly("ahplat/engines/", ("docker",)),
}


def sources() -> list[Source]:
    """Every module of the three rooms and of the tests."""
    paths = [path for room in (*MAY_IMPORT, "tests") for path in sorted((TREE / room).rglob("*.py"))]
    return [Source(path.relative_to(TREE).as_posix(), path.read_text()) for path in paths]


def imports_go_one_way(source: Source) -> list[str]:
    """`ahplat` → `projections` → `events`, and never back."""
    allowed = MAY_IMPORT.get(source.room)
    found = imports(source)
    rooms = {name.partition(".")[0]: line for name, line in found if name.partition(".")[0] in {*MAY_IMPORT, "tests"}}
    return (
        []
        if allowed is None
        else [f"{at(source, n)} imports {room}" for room, n in rooms.items() if room not in allowed]
    )


def programs_stand_alone(source: Source) -> list[str]:
    """A program of its own imports the standard library only, and is imported by none of ours."""
    if source.path in PROGRAMS:
        tops = {name.partition(".")[0]: line for name, line in imports(source)}
        return [f"{at(source, n)} imports {top}" for top, n in tops.items() if top not in sys.stdlib_module_names]
    modules = {path.removesuffix(".py").replace("/", ".") for path in PROGRAMS}
    return [f"{at(source, n)} imports {m}" for m, n in imports(source) if m in modules and source.room in MAY_IMPORT]


def one_module_does(what: str) -> Callable[[Source], list[str]]:
    """The rule that one module alone does it."""

    def rule(source: Source) -> list[str]:
        ours = source.room in MAY_IMPORT and source.path not in PROGRAMS
        return uses_of(source, MONOPOLIES[what].names) if ours and not at_home(source, what) else []

    return rule


def at_home(source: Source, what: str) -> bool:
    """Whether this is the module, or in the folder, that does it for all."""
    home = MONOPOLIES[what].home
    return source.path.startswith(home) if home.endswith("/") else source.path == home


def no_sqlite3(source: Source) -> list[str]:
    """SQLite is apsw's: the standard library's is as old as the machine, and the log's safety rests on the version."""
    return uses_of(source, ("sqlite3",)) if source.room in MAY_IMPORT else []


def deciders_and_projections_are_pure(source: Source) -> list[str]:
    """The same events and commands always give the same: no clock, chance or environment."""
    return uses_of(source, IMPURE) if source.path.startswith(PURE_FOLDERS) else []


def init_holds_a_docstring(source: Source) -> list[str]:
    """`__init__.py` holds a docstring and nothing else: a name is imported from where it stands."""
    if not source.path.endswith("/__init__.py"):
        return []
    body = parse(source).body
    if ast.get_docstring(parse(source)) is None:
        return [f"{at(source, 1)} has no docstring"]
    return [f"{at(source, node.lineno)} holds more than its docstring" for node in body[1:2]]


def modules_are_short(source: Source) -> list[str]:
    """A module is comfortable under 200 lines, and ends at 400; one of tests, which is a list, at 500."""
    lines = len(source.text.splitlines())
    allowed = MAX_TEST_LINES if source.path.startswith("tests/") else MAX_MODULE_LINES
    return [f"{source.path} has {lines} lines, {allowed} allowed"] if lines > allowed else []


def functions_are_short(source: Source) -> list[str]:
    """A function fits on a screen."""
    functions = [node for node in nodes(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    return [
        f"{at(source, node.lineno)} {node.name} has {lines} lines, {MAX_FUNCTION_LINES} allowed"
        for node, lines in lengths
        if lines > MAX_FUNCTION_LINES
    ]


RULES: Mapping[str, Callable[[Source], list[str]]] = {
    "imports go one way": imports_go_one_way,
    "programs stand alone": programs_stand_alone,
    **{f"one module {what}": one_module_does(what) for what in MONOPOLIES},
    "no sqlite3": no_sqlite3,
    "deciders and projections are pure": deciders_and_projections_are_pure,
    "__init__.py holds a docstring": init_holds_a_docstring,
    "modules are short": modules_are_short,
    "functions are short": functions_are_short,
}


def at(source: Source, line: int) -> str:
    """Where to look, as editors understand it."""
    return f"{source.path}:{line}:"


def uses_of(source: Source, names: tuple[str, ...]) -> list[str]:
    """Every line that imports or uses one of `names`, or something in it. "a.b()" is the call, "a.b" any use."""
    found = {(line, name) for name, line in (*imports(source), *uses(source))}
    starts = tuple(name + more for name in names for more in (".", "("))
    return [f"{at(source, line)} {name}" for line, name in sorted(found) if name in names or name.startswith(starts)]


@cache
def parse(source: Source) -> ast.Module:
    """Its syntax tree."""
    return ast.parse(source.text)


@cache
def nodes(source: Source) -> list[ast.AST]:
    """Every node of that tree."""
    return list(ast.walk(parse(source)))


@cache
def imports(source: Source) -> list[tuple[str, int]]:
    """What a module imports, with its line: "a.b" for `import a.b`, "a" and "a.b" for `from a import b`, also relatively."""
    found = []
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = source.path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            found += [(module, node.lineno), *((f"{module}.{alias.name}", node.lineno) for alias in node.names)]
    return found


@cache
def uses(source: Source) -> list[tuple[str, int]]:
    """Every imported name that is used, in full and with its line; a call's ends with "()"."""
    names = dict(bindings(source))
    used = (node for node in nodes(source) if isinstance(node, ast.Name | ast.Attribute | ast.Call))
    return [(name, node.lineno) for node in used if (name := dotted(node, names))]


def bindings(source: Source) -> Iterator[tuple[str, str]]:
    """What each imported name stands for: local name → full name."""
    for node in nodes(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def dotted(node: ast.AST, names: Mapping[str, str]) -> str:
    """The full name that an expression is, or "" where it does not begin with an imported one."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call):
        base = dotted(node.func, names)
        return f"{base}()" if base else ""
    return ""
