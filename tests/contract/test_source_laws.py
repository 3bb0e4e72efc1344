"""How the source is written: what it may touch, how long it may be, what is documented."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports
from tests.support.sources import (
    ROOT,
    Function,
    Source,
    called_names,
    functions,
    mentioned_names,
    sources,
)

MODULE_LINES = 400
FUNCTION_LINES = 50
ARGUMENTS = 6
OPTIONS = 8
# What Spark Connect and serverless compute do not have; and where it is allowed all the same.
CLASSIC_ONLY = {"rdd", "RDD", "sparkContext", "_jvm", "_jsc", "_sc", "_jsparkSession", "_jdf"}
ALLOWED = {
    # Spark's Thrift server has no Python API.
    "lib/matchlake/cli/sql/server.py": {"_jvm", "_jsparkSession"},
    # Which executors worked: asked on clusters of our own only, and only on classic Spark.
    "lib/matchlake/io/job_tags.py": {"_sc"},
    # That of the package deltalake, which needs no Spark.
    "lib/matchlake/io/delta_files.py": {"DeltaTable"},
    "lib/matchlake/io/spark_executors.py": {"_jsc"},
}
ACTIONS = {"collect", "count", "toPandas", "toArrow", "first", "head", "take", "show", "isEmpty"}
ACTIONS |= {"toLocalIterator", "foreach", "foreachPartition", "cache", "persist", "checkpoint"}
LAZY = ("transform", "score", "recommend_", "similar_")
# What may look at the environment; only the first of them builds sessions.
OUTWARD = ("lib/matchlake/runtime.py", "lib/matchlake/io/", "lib/matchlake/dev/sandbox/")


def _found(pairs: Iterator[tuple[str, int]], banned: set[str], source: Source) -> list[str]:
    return [f"{source.name}:{line} {name}" for name, line in pairs if name in banned]


def test_imports_point_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True, no_logo=True) == 0


def test_the_source_uses_only_the_api_of_connect() -> None:
    found = [
        each
        for source in sources("lib", "jobs")
        for each in _found(
            mentioned_names(source.tree),
            (CLASSIC_ONLY | {"DeltaTable", "parallelize"}) - ALLOWED.get(source.name, set()),
            source,
        )
    ]
    assert found == []


def test_only_the_runtime_builds_sessions_and_reads_the_environment() -> None:
    for source in sources("lib", "jobs"):
        names = {name for name, _ in mentioned_names(source.tree)}
        assert "getOrCreate" not in names or source.name == OUTWARD[0], source.name
        assert not names & {"environ", "getenv"} or source.name.startswith(OUTWARD), source.name


def test_nothing_prints_but_the_command_line() -> None:
    # jars.py runs at install time, before anything of the product's own can be imported.
    allowed = {"lib/matchlake/dev/sandbox/jars.py"}
    found = [
        each
        for source in sources("lib", "jobs")
        if source.name not in allowed
        for each in _found(called_names(source.tree), {"print", "pprint"}, source)
        if "console" not in source.text.lower()
    ]
    assert found == []


def test_lazy_functions_call_no_action() -> None:
    found = [
        f"{source.name}:{line} {name} in {function.name}"
        for source in sources("lib/matchlake/features", "lib/matchlake/recommender")
        if "Numpy" not in source.text or "DataFrame" in source.text
        for function in functions(source.tree)
        if function.name.startswith(LAZY)
        for name, line in called_names(function)
        if name in ACTIONS
    ]
    assert found == []


def test_deep_code_takes_no_time_and_no_seed_of_its_own() -> None:
    for source in sources("lib/matchlake/features", "lib/matchlake/recommender"):
        imported = {
            name.partition(".")[0] for node in ast.walk(source.tree) for name in _imported(node)
        }
        assert not imported & {"random", "uuid", "secrets"}, source.name
        # A duration for the log is fine (`time.monotonic`), what time it is is not.
        assert _found(called_names(source.tree), {"now", "utcnow", "today", "time"}, source) == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_modules_and_functions_are_short() -> None:
    too_long = [
        f"{source.name}: {lines} lines"
        for source in sources("lib", "jobs")
        if (lines := len(source.text.splitlines())) > MODULE_LINES
    ]
    for source in sources("lib", "jobs"):
        for function in functions(source.tree):
            lines = _lines_of_code(function)
            if lines > FUNCTION_LINES:
                too_long.append(f"{source.name}: {function.name} has {lines} lines")
            # A command has an argument per option.
            if _arguments(function) > (OPTIONS if "/cli/" in source.name else ARGUMENTS):
                too_long.append(f"{source.name}: {function.name} has many arguments")
    assert too_long == []


def _lines_of_code(function: Function) -> int:
    """The lines of a function without its docstring: what is explained well is not long."""
    first, *_ = function.body
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _arguments(function: Function) -> int:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return sum(each.arg not in ("self", "cls") for each in given)


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {Path(source.name).stem for source in sources("lib", "jobs")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


def test_everything_public_has_a_docstring() -> None:
    missing = [
        f"{source.name}: {getattr(node, 'name', 'module')}"
        for source in sources("lib", "jobs")
        for node in _public(source.tree)
        if not ast.get_docstring(node)
    ]
    assert missing == []


def _public(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | Function]:
    yield tree
    waiting: list[ast.Module | ast.ClassDef] = [tree]
    while waiting:
        for node in waiting.pop().body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                if any(ast.unparse(each) == "overload" for each in node.decorator_list):
                    continue  # The function that follows explains all of its signatures.
                yield node
                if isinstance(node, ast.ClassDef):
                    waiting.append(node)
