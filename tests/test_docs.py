"""The documents say what the code does: their examples are read and run, their tables compared with it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from tako.cli.group import tako as command_line
from tako.cli.table import COMMANDS
from tako.config import built_in, declarations, loader, produces, settings, steps, unsupported, workflows
from tako.config.inputs import resolve_inputs
from tako.config.loader import load_config
from tako.config.schema import Input, Workflow
from tako.engine.run import environment
from tako.errors import ConfigError, InputsInvalidError, TakoError
from tako.events.ranges import parse_range
from tako.expressions import cel_functions
from tako.expressions.cel import evaluate_condition
from tako.expressions.errors import FieldMissingError
from tako.expressions.filters import FILTERS
from tako.expressions.templates import render
from tako.journal.records import Record
from tako.validation.check import check_config
from tests.support.git import Repositories
from tests.support.isolations import findings
from tests.support.modules import SOURCE
from tests.support.runner import Tako

DOCS = Path(__file__).parents[1] / "docs"
NAMES = ("tako-yml.md", "command-line.md", "internals.md", "sandbox.md", "recovery.md")
TEXTS = {name: (DOCS / name).read_text() for name in NAMES}
README = (DOCS.parent / "README.md").read_text()
REFERENCE, COMMAND_LINE, INTERNALS = (TEXTS[name] for name in NAMES[:3])

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


def blocks(text: str, mark: str = "") -> dict[str, str]:
    """Give the fenced blocks whose mark begins with `mark`, by mark and position."""
    found = (match for match in _BLOCK.finditer(text) if (match["mark"] or "").startswith(mark))
    return {f"{match['mark']} {number}": match["body"] for number, match in enumerate(found)}


def only_block(text: str, mark: str) -> str:
    """Give the body of the one block with that mark."""
    (body,) = blocks(text, mark).values()
    return body


def lines_of(mark: str) -> list[str]:
    """Give the lines of a marked block of the reference."""
    return only_block(REFERENCE, mark).splitlines()


def first_column(table: str) -> list[str]:
    """Give what stands as code in the first cells of a table, without its heading."""
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return [word for cell in rows[2:] for word in _CODE.findall(cell)]


def table_after(text: str, mark: str) -> str:
    """Give the table that follows a mark."""
    return text.split(f"<!-- {mark} -->\n", 1)[1].split("\n\n", 1)[0]


# --- examples --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", blocks(REFERENCE, "tako.yml"))
def test_every_whole_tako_yml_is_one(name: str) -> None:
    config = load_config(blocks(REFERENCE, "tako.yml")[name].encode(), "tako.yml")
    assert config.workflows
    assert check_config(config) == []


@pytest.mark.parametrize("name", [name for name in TEXTS if "```yaml" in TEXTS[name]])
def test_no_yaml_is_without_a_mark(name: str) -> None:
    for match in _BLOCK.finditer(TEXTS[name]):
        assert match["language"] != "yaml" or match["mark"].split()[0] in {"tako.yml", "config.yml"}


def test_the_example_of_config_yml_is_one(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(only_block(COMMAND_LINE, "config.yml"))
    assert settings.load_settings(file).repositories


SCOPE: dict[str, Any] = json.loads(only_block(REFERENCE, "scope"))


@pytest.mark.parametrize("line", lines_of("templates"))
def test_every_template_gives_what_the_reference_says(line: str) -> None:
    template, result = re.split(r" {3,}", line)
    assert render(template, SCOPE) == result


@pytest.mark.parametrize("line", lines_of("conditions"))
def test_every_condition_gives_what_the_reference_says(line: str) -> None:
    condition, result = re.split(r" {3,}", line)
    if result == "missing":
        with pytest.raises(FieldMissingError):
            evaluate_condition(condition, SCOPE)
    else:
        assert str(evaluate_condition(condition, SCOPE)).lower() == result


def _given(text: str) -> object:
    """Give what a payload of a tako.yml holds under `x`."""
    config = load_config(
        "version: 0.1.0\nworkflows: {w: {steps: [{run: x, produces: {events: [{type: t, payload:\n"
        f"  {{x: {text}}}}}]}}}}]}}}}\n".encode(),
        "tako.yml",
    )
    return config.workflows["w"].steps[0].produces.events[0].payload["x"]


@pytest.mark.parametrize("line", lines_of("conversions")[1:])
def test_every_value_comes_as_the_reference_says(line: str) -> None:
    given, text, condition = re.split(r" {2,}", line)
    if text == "refused":
        with pytest.raises(ConfigError, match=re.escape(condition)):
            _given(given)
        return
    value = json.loads(json.dumps(_given(given)))
    assert render("{{ .x }}", {"x": value}) == ("" if text == "nothing" else text)
    assert evaluate_condition(condition, {"x": value})


@pytest.mark.parametrize("line", lines_of("input-conversions")[1:])
def test_every_input_comes_as_the_reference_says(line: str) -> None:
    kind, given, comes = re.split(r" {2,}", line)
    workflow = Workflow("w", inputs={"x": Input("x", kind)})
    if comes == "refused":
        with pytest.raises(InputsInvalidError):
            resolve_inputs(workflow, {"x": given})
        return
    found = resolve_inputs(workflow, {"x": given})["x"]
    expected = json.loads(comes)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("line", lines_of("ranges")[1:])
def test_every_version_range_takes_what_the_reference_says(line: str) -> None:
    text, taken, *rest = re.split(r" {3,}", line)
    found = parse_range(text)
    assert all(found.contains(version) for version in taken.split())
    assert not any(found.contains(version) for words in rest for version in words.split())


def shape(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Give the keys of JSON data, without its values."""
    if isinstance(value, Mapping):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


def make_examples(git_repo: Repositories, change: Callable[[str], str]) -> tuple[Path, Path]:
    """Make the repositories of the reference's first two examples."""
    library, application = blocks(REFERENCE, "tako.yml of").values()
    return (
        git_repo("acme/lib", {"tako.yml": library}),
        git_repo("acme/app", {"tako.yml": change(application)}),
    )


def test_the_pair_of_examples_works(tako: Tako, git_repo: Repositories) -> None:
    library, application = make_examples(git_repo, lambda text: text)
    assert tako("cache", "add", "acme/app", "--from", str(application)).code == 0
    result = tako("exec", "release", "--inputs.version-bump=minor", "--output", "json", cwd=library)
    assert result.code == 0
    assert result.json["steps"][1]["outputs"] == {"acme/app": {"tested": "1.3.0"}}


def test_the_first_tako_yml_of_the_readme_works(tako: Tako, git_repo: Repositories) -> None:
    library, service = blocks(README).values()
    build = (
        "#!/bin/sh -e\nmkdir -p dist && echo lib >lib.txt && tar -czf dist/lib.tar.gz lib.txt\n"
        'test "$1" = minor && echo 1.3.0 >VERSION\n'
    )
    checkout = git_repo("my-org/go-lib", {"tako.yml": library, "build.sh": build})
    test = '#!/bin/sh -e\ntest "$(cat lib.txt) $1" = "lib 1.3.0"\n'
    dependent = git_repo("my-org/service", {"tako.yml": service, "test.sh": test})
    assert tako("cache", "add", "my-org/service", "--from", str(dependent)).code == 0
    # At level `auto`, as everybody runs it first.
    result = tako("exec", "release", "--inputs.version-bump=minor", "--output", "json", cwd=checkout)
    assert result.code == 0, result.stderr
    [child] = result.json["steps"][1]["fan_out"]["children"]
    assert (child["status"], child["isolation"]) == ("succeeded", findings().strongest)


def test_the_result_in_the_document_has_the_keys_of_a_real_one(tako: Tako, git_repo: Repositories) -> None:
    library, application = make_examples(git_repo, lambda text: text.replace("echo tested", "exit 3; echo"))
    assert tako("cache", "add", "acme/app", "--from", str(application)).code == 0
    real = tako("exec", "release", "--output", "json", cwd=library).json
    shown = json.loads(only_block(COMMAND_LINE, "result"))
    real["steps"] = [step for step in real["steps"] if step["id"] == "dependents"]
    assert shape(shown) == shape(real)


# --- keys ------------------------------------------------------------------------------------

KEYS: dict[str, Iterable[str]] = {
    "file": loader._KEYS,
    "artifact": loader._ARTIFACT_KEYS,
    "workflow": workflows._KEYS,
    "sandbox": ("read", "write"),
    "input": declarations._INPUT_KEYS,
    "validation": declarations._VALIDATION_KEYS,
    "step": steps._KEYS,
    "retry": steps._RETRY_KEYS,
    "resources": declarations._RESOURCE_KEYS,
    "produces": produces._KEYS,
    "event": produces._EVENT_KEYS,
    "with": ("artifact", *built_in._BUILT_IN[built_in.FAN_OUT]),
    "subscription": workflows._SUBSCRIPTION_KEYS,
}


@pytest.mark.parametrize("table", KEYS)
def test_every_key_of_a_tako_yml_is_in_its_table_and_no_other(table: str) -> None:
    assert sorted(first_column(table_after(REFERENCE, f"keys: {table}"))) == sorted(KEYS[table])


def test_every_table_of_keys_is_compared() -> None:
    assert set(re.findall(r"<!-- keys: (\w+) -->", REFERENCE)) == set(KEYS)


def test_every_key_that_is_refused_at_run_time_is_listed() -> None:
    listed = {word.split(":")[0] for word in first_column(table_after(REFERENCE, "unsupported"))}
    refused = {name for name, _, _ in unsupported._OF_STEP}
    assert listed == refused


def test_every_key_of_config_yml_is_in_its_table_and_no_other() -> None:
    assert sorted(first_column(table_after(COMMAND_LINE, "settings"))) == sorted(settings._KEYS)


# --- templates and conditions ----------------------------------------------------------------


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_has_an_example(name: str) -> None:
    assert re.search(rf"\| {name}\b", only_block(REFERENCE, "templates"))


def test_every_function_of_conditions_is_named() -> None:
    named = {word for line in REFERENCE.splitlines() for word in _CODE.findall(line)}
    source = Path(cel_functions.__file__).read_text()
    functions = set(re.findall(r'_(?:function|method)\(\s*"([\w.]+)"', source))
    assert len(functions) == len(cel_functions.declarations())
    # What conditions are rewritten to is not for people.
    assert {name for name in functions if not name.startswith("tako_")} <= named


# --- the environment -------------------------------------------------------------------------


def words_of(source: str) -> set[str]:
    """Give the names of tako's own variables in a text."""
    return set(re.findall(r"TAKO_[A-Z_]+", source))


def test_every_word_of_a_steps_environment_is_documented_and_no_other() -> None:
    table = next(part for part in REFERENCE.split("\n\n") if part.startswith("| tako's variables"))
    assert set(first_column(table)) == words_of(Path(environment.__file__).read_text())


def test_every_variable_that_a_child_gets_is_documented() -> None:
    section = REFERENCE.split("## The environment of a step")[1].split("\n## ")[0]
    for name in environment._PASSED:
        assert name in section or (name.isupper() and name.lower() in section)


# --- the command line ------------------------------------------------------------------------


def walked(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Give every command below one, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walked(below, f"{path} {name}")


ALL = {path: command for path, command in walked(command_line, "tako") if path != "tako"}


def sections() -> dict[str, str]:
    """Give the text of each command's section."""
    pieces = re.split(r"^##+ (.+)\n", COMMAND_LINE, flags=re.MULTILINE)
    return {heading: body for heading, body in zip(pieces[1::2], pieces[2::2], strict=True) if heading in ALL}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    headings = set(re.findall(r"^##+ (tako .+)$", COMMAND_LINE, flags=re.MULTILINE))
    assert headings == set(ALL)


def test_the_table_of_commands_is_complete() -> None:
    table = COMMAND_LINE.split("| command |", 1)[1].split("\n\n", 1)[0]
    assert first_column(f"| command |{table}") == [f"tako {name}" for name in COMMANDS]


@pytest.mark.parametrize("path", ALL)
def test_every_option_of_a_command_is_documented_and_no_other(path: str) -> None:
    table = next((part for part in sections()[path].split("\n\n") if part.startswith("| option")), "")
    documented = {word.split()[0] for word in first_column(table)}
    options = {
        name
        for parameter in ALL[path].params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert documented == options


@pytest.mark.parametrize("path", ALL)
def test_every_choice_of_an_option_is_documented(path: str) -> None:
    for parameter in ALL[path].params:
        if isinstance(parameter.type, click.Choice):
            for choice in parameter.type.choices:
                assert f"`{choice}`" in sections()[path]


def all_errors(kind: type[TakoError]) -> Iterator[type[TakoError]]:
    """Give an error class and all that are made from it."""
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_every_exit_code_is_in_the_table() -> None:
    table = COMMAND_LINE.split("| exit code |", 1)[1].split("\n\n", 1)[0]
    listed = {int(code) for line in table.splitlines()[2:] for code in re.findall(r"\d+", line.split("|")[1])}
    assert {kind.exit_code for kind in all_errors(TakoError)} <= listed


# --- inside ----------------------------------------------------------------------------------


def test_every_record_of_a_journal_is_described_and_no_other() -> None:
    table = INTERNALS.split("| record |", 1)[1].split("\n\n", 1)[0]
    assert set(first_column(f"| record |{table}")) == {kind.__name__ for kind in Record.__args__}


def test_every_package_has_its_place_in_the_table() -> None:
    here = {f"{path.parent.relative_to(SOURCE)}/" for path in SOURCE.rglob("*/__init__.py")}
    here |= {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    table = INTERNALS.split("| package |", 1)[1].split("\n\n", 1)[0]
    assert set(first_column(f"| package |{table}")) == here


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


PAGES = [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        if target.startswith("http"):
            continue
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked.read_text()), target


_FILE = re.compile(r"`((?:[a-z0-9_]+/)+)?([a-z0-9_]+\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    known = {
        path.as_posix() for top in ("src", "tests", "scripts") for path in (DOCS.parent / top).rglob("*.py")
    }
    for folder, file in _FILE.findall(page.read_text()):
        assert any(path.endswith(f"/{folder}{file}") for path in known), folder + file


STORIES = sorted((DOCS / "internals").glob("*.md"))
_FUNCTION = re.compile(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.py):([A-Za-z0-9_.]+)`")


def _names_of(body: Iterable[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Yield what statements define: functions, classes with their members, constants."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name, body=members):
                yield prefix + name
                yield from _names_of(members, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name


def _defined(module: str) -> set[str]:
    """Return the names that a module of tako defines; none if there is no such module."""
    path = SOURCE / module
    return set(_names_of(ast.parse(path.read_text()).body)) if path.is_file() else set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_function_that_a_page_names_exists(page: Path) -> None:
    named = _FUNCTION.findall(page.read_text())
    assert [f"{module}:{name}" for module, name in named if name not in _defined(module)] == []


@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.name)
def test_every_story_names_functions_and_is_linked(page: Path) -> None:
    assert _FUNCTION.search(page.read_text())
    for text in (INTERNALS, (DOCS.parent / "CONTRIBUTING.md").read_text()):
        assert f"internals/{page.name}" in text


def test_the_story_of_a_key_names_every_place_that_a_step_is_started_at() -> None:
    told = (DOCS / "internals" / "key-of-a-step.md").read_text()
    for level in ("process_level", "landlock_level", "namespace_level"):
        assert f"`sandbox/{level}.py:" in told
