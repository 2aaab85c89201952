"""The rules of the house, read from its own text: who may import whom, how long things are, and what they must say."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "models": set(),
    "curation": set(),
    "captioning": {"curation"},
    "retrieval_index": {"curation"},
    "pipelines": {"curation", "captioning", "retrieval_index", "models"},
}
"""Folder -> the other folders of ours that it may import, anywhere in a file."""

MODELS_LIBRARIES = {"torch", "numpy", "transformers", "safetensors", "tokenizers"}
"""What else `models` imports, beside the standard library; and `diffusers`, inside of functions."""

HEAVY = ("torch", "transformers", "diffusers", "ray", "faiss", "datasets", "yt_dlp")
"""Takes a second or more to import: no verb pays for what it does not use."""

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_LOOP_LINES = 500
MAX_ARGUMENTS = 8
MAX_VERB_ARGUMENTS = 12
"""The parameters of a verb are the options of a command line, which nobody gives by position."""

LOOP = "models.training.loop"
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager"}
TYPING_ONLY = "TYPE_CHECKING"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the five folders."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        return self.name.partition(".")[0]

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def at(self, node: ast.stmt | ast.expr | ast.ExceptHandler, what: str) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}: {what}"


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports."""

    name: str
    node: ast.stmt
    in_function: bool
    for_typing: bool


@cache
def house() -> dict[str, Module]:
    found = {}
    for folder in MAY_IMPORT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            found[name] = Module(name=name, path=path, text=text, tree=ast.parse(text))
    return found


def names_of(node: ast.stmt, package: str) -> list[str]:
    """Absolute names that an import statement names; `from a import b` names `a.b`, which may be a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parents = package.split(".")
        start = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
        source = ".".join(part for part in (start, node.module) if part)
        return [f"{source}.{alias.name}" for alias in node.names]
    return []


def imports(module: Module) -> list[Import]:
    """Every import of a module, wherever it stands."""

    def walk(node: ast.AST, in_function: bool, for_typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                for name in names_of(child, module.package):
                    yield Import(name, child, in_function, for_typing)
            guarded = isinstance(child, ast.If) and ast.unparse(child.test).endswith(TYPING_ONLY)
            yield from walk(child, in_function or isinstance(child, Function), for_typing or guarded)

    return list(walk(module.tree, False, False))


def module_of(name: str) -> str | None:
    """The module of ours that an imported name is, or is in."""
    return next((known for known in (name, name.rpartition(".")[0]) if known in house()), None)


def functions(module: Module) -> list[Function]:
    return [node for node in ast.walk(module.tree) if isinstance(node, Function)]


def arguments(function: Function) -> int:
    given = function.args
    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    first = [argument.arg for argument in (given.posonlyargs + given.args)[:1]]
    return count - (first in (["self"], ["cls"]))


def test_the_five_folders_are_read() -> None:
    assert {module.folder for module in house().values()} == set(MAY_IMPORT)
    assert len(house()) > 80


def test_folders_import_only_what_the_table_allows() -> None:
    ours = {*MAY_IMPORT, "tests", "benchmarks"}
    broken = [
        module.at(one.node, f"{module.folder} may not import {one.name}")
        for module in house().values()
        for one in imports(module)
        if (there := one.name.partition(".")[0]) in ours - {module.folder} - MAY_IMPORT[module.folder]
        or (there in ours and module_of(one.name) is None)
    ]
    assert broken == []


def test_models_import_only_what_a_gpu_machine_has() -> None:
    broken = []
    for module in house().values():
        for one in imports(module) if module.folder == "models" else ():
            library = one.name.partition(".")[0]
            is_late = library == "diffusers" and one.in_function
            if library not in {"models", *MODELS_LIBRARIES, *sys.stdlib_module_names} and not is_late:
                broken.append(module.at(one.node, f"models may not import {one.name} here"))
    assert broken == []


def test_curation_names_no_torch() -> None:
    broken = [
        module.at(one.node, one.name)
        for module in house().values()
        for one in imports(module)
        if module.folder == "curation" and one.name.partition(".")[0] == "torch" and not one.in_function
    ]
    assert broken == []


def test_no_modules_import_each_other() -> None:
    """Neither directly nor in a circle, imports inside functions included, those for type checkers left out."""
    graph = {
        name: {there for one in imports(module) if not one.for_typing and (there := module_of(one.name)) != name}
        - {None}
        for name, module in house().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def loaded_after(statement: str) -> set[str]:
    """Those of the heavy libraries that a fresh Python holds after a statement."""
    code = f"import sys; {statement}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_curation_loads_nothing_heavy() -> None:
    """All of it; but `curation.download`, which `fetch` imports when it opens, is yt-dlp's."""
    modules = [name for name, module in house().items() if module.folder == "curation"]
    light = [name for name in modules if not name.startswith("curation.download.")]
    assert loaded_after(f"import {', '.join(light)}") == set()
    assert loaded_after(f"import {', '.join(modules)}") <= {"yt_dlp"}


def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_after("import pipelines.program; pipelines.program.make_app()") == set()


def test_functions_are_short() -> None:
    broken = [
        module.at(function, f"{function.name} has {lines} lines")
        for module in house().values()
        for function in functions(module)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert broken == []


def test_files_are_short() -> None:
    broken = [
        f"{name} has {lines} lines"
        for name, module in house().items()
        if (lines := len(module.text.splitlines())) > (MAX_LOOP_LINES if name == LOOP else MAX_FILE_LINES)
    ]
    assert broken == []


def test_functions_have_few_arguments() -> None:
    from pipelines.evaluations import EVALUATIONS
    from pipelines.verbs import VERBS

    verbs = {place for place, _ in (*VERBS.values(), *EVALUATIONS.values())}
    broken = [
        module.at(function, f"{function.name} has {count} arguments")
        for module in house().values()
        for function in functions(module)
        if (count := arguments(function))
        > (MAX_VERB_ARGUMENTS if f"{module.name}:{function.name}" in verbs else MAX_ARGUMENTS)
    ]
    assert broken == []


def test_no_error_is_swallowed_unseen() -> None:
    """No bare `except`, and none for `Exception` or `BaseException`, alone or in a tuple."""
    broken = [
        module.at(node, f"except {ast.unparse(node.type) if node.type else ''}")
        for module in house().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or {getattr(part, "id", "") for part in ast.walk(node.type)} & {"Exception", "BaseException"}
        )
    ]
    assert broken == []


def test_files_are_named_for_a_noun() -> None:
    parts = {part.lstrip("_") for name in house() for part in name.split(".")}
    assert parts & BANNED_NAMES == set()


def undocumented(module: Module) -> Iterator[str]:
    """Public classes, functions and methods, and the module itself, that have no docstring."""

    def walk(node: ast.Module | ast.ClassDef) -> Iterator[str]:
        for child in node.body:
            if not isinstance(child, Function | ast.ClassDef) or child.name.startswith("_"):
                continue
            is_overload = any(ast.unparse(mark).endswith("overload") for mark in child.decorator_list)
            if not (ast.get_docstring(child) or "").strip() and not is_overload:
                yield module.at(child, child.name)
            if isinstance(child, ast.ClassDef):
                yield from walk(child)

    if module.text.strip() and not ast.get_docstring(module.tree):
        yield f"{module.name} says nothing of itself"
    yield from walk(module.tree)


def test_every_public_name_has_a_docstring() -> None:
    assert [line for module in house().values() for line in undocumented(module)] == []
