from __future__ import annotations

import pytest

from tako.config.loader import load_config
from tako.config.reading.problems import PROBLEMS_MAX
from tako.config.schema import Config, EventSpec, Produces, Resources, Retry, Sandbox, Step, Subscription
from tako.errors import ConfigError

WHOLE = """\
version: 1.10
artifacts:
  go-lib: {path: ./go.mod, ecosystem: go, description: the library}
workflows:
  release:
    on: exec
    description: makes a release
    env: {GOFLAGS: -mod=mod, LEVEL: 3}
    secrets: [GITHUB_TOKEN]
    resources: {cpu_limit: "1", mem_limit: 512Mi, disk_limit: 2Gi, process_limit: 9, address_space_limit: 1k}
    timeout: 1h
    parallel: true
    workspace: copy
    sandbox: {read: [/opt/tools, ~/.cargo], write: []}
    inputs:
      version-bump: {type: string, default: patch, validation: {enum: [major, minor, patch]}}
    steps:
      - id: build
        name: Build it
        if: inputs["version-bump"] != "none"
        run: ./scripts/build.sh --bump {{ .inputs.version-bump | shell_quote }}
        env: [A=1, "B=x=y"]
        secrets: [TOKEN]
        timeout: 30s
        retry: {max_attempts: 3, backoff: 2s, on: [1, 75], clean: true}
        rerun: never
        resources: {cpu_limit: 500m, cpu_time_limit: 90s}
        network: none
        image: python:3.12
        long_running: true
        cache_key_files: [go.sum]
        continue_on_error: true
        produces:
          artifact: go-lib
          artifacts: [dist/*.whl]
          outputs: {version: from_stdout, note: "from_file:a/b", home: "from_env:D", re: v(.), t: "{{ .x }}"}
          events:
            - type: library_built
              schema_version: 1.2.0
              payload: {version: "{{ .outputs.version }}", n: 3, deep: {list: [1, true, null]}}
        on_failure:
          - run: echo sorry
          - {id: cleanup, run: rm -rf x}
      - run: echo between
      - id: dependents
        uses: tako/fan-out@v1
        if: true
        with:
          event_type: library_built
          artifact: go-lib
          payload: {version: 1.0}
          schema_version: 1.10
          wait_for_children: false
          timeout: 2h
          concurrency_limit: 4
          on_child_failure: fail_fast
          idempotent: true
subscriptions:
  - artifact: github.com/my-org/team/go-lib:go-lib
    events: [library_built]
    schema_version: "(1.1.0...2.0.0]"
    filters:
      - semver.major(event.payload.version) > 0
      - true
    workflow: release
    inputs: {version-bump: "{{ .event.payload.bump }}", n: 1.10, b: true, s: "true"}
"""


def load(text: str) -> Config:
    return load_config(text.encode(), "tako.yml")


def told(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.message


def step_of(text: str) -> Step:
    """Load one step, written as the lines of a flow mapping."""
    return load(with_step(text)).workflows["w"].steps[0]


def with_step(text: str) -> str:
    return f"version: 1.0\nworkflows: {{w: {{steps: [{{{text}}}]}}}}\n"


def with_workflow(text: str) -> str:
    return f"version: 1.0\nworkflows: {{w: {{steps: [{{run: x}}], {text}}}}}\n"


def with_input(text: str) -> str:
    return with_workflow(f"inputs: {{i: {{{text}}}}}")


def with_subscription(text: str) -> str:
    return f"version: 1.0\nsubscriptions: [{{{text}}}]\n"


def test_a_whole_file_is_read_into_its_values() -> None:
    config = load(WHOLE)
    release = config.workflows["release"]
    assert config.version == "1.10"
    assert config.artifacts["go-lib"].path == "./go.mod"
    assert (release.on, release.timeout_s, release.parallel, release.workspace) == (
        ("exec",),
        3600.0,
        True,
        "copy",
    )
    assert release.env == {"GOFLAGS": "-mod=mod", "LEVEL": "3"}
    assert release.secrets == ("GITHUB_TOKEN",)
    assert release.resources == Resources(1.0, 512 * 2**20, 2 * 2**30, 9, None, 1000)
    assert release.sandbox == Sandbox(("/opt/tools", "~/.cargo"), ())
    assert release.inputs["version-bump"].validation.enum == ("major", "minor", "patch")
    assert release.key == "workflows.release"


def test_every_key_of_a_step_is_read() -> None:
    build, between, _ = load(WHOLE).workflows["release"].steps
    assert (build.id, build.name, build.timeout_s, build.rerun) == ("build", "Build it", 30.0, "never")
    assert build.condition == 'inputs["version-bump"] != "none"'
    assert build.env == {"A": "1", "B": "x=y"}
    assert build.retry == Retry(3, 2.0, (1, 75), clean=True)
    assert build.resources == Resources(cpu_limit=0.5, cpu_time_limit=90.0)
    assert (build.network, build.image, build.long_running) == ("none", "python:3.12", True)
    assert (build.cache_key_files, build.continue_on_error, build.secrets) == (("go.sum",), True, ("TOKEN",))
    assert between == Step(id="step-2", run="echo between", key="workflows.release.steps[1]")
    assert [step.id for step in build.on_failure] == ["build-failure-1", "cleanup"]
    assert build.on_failure[1].key == "workflows.release.steps[0].on_failure[1]"


def test_the_products_of_a_step_are_read() -> None:
    assert load(WHOLE).workflows["release"].steps[0].produces == Produces(
        artifact="go-lib",
        artifacts={"go-lib": ("dist/*.whl",)},
        outputs={
            "version": "from_stdout",
            "note": "from_file:a/b",
            "home": "from_env:D",
            "re": "v(.)",
            "t": "{{ .x }}",
        },
        events=(
            EventSpec(
                "library_built",
                "1.2.0",
                {"version": "{{ .outputs.version }}", "n": 3, "deep": {"list": [1, True, None]}},
            ),
        ),
    )


def test_with_of_a_fan_out_is_plain_checked_data() -> None:
    fan_out = load(WHOLE).workflows["release"].steps[2]
    assert (fan_out.uses, fan_out.condition) == ("tako/fan-out@v1", "true")
    assert fan_out.with_ == {
        "event_type": "library_built",
        "artifact": "go-lib",
        "payload": {"version": 1.0},
        "schema_version": "1.10",
        "wait_for_children": False,
        "timeout": 7200.0,
        "concurrency_limit": 4,
        "on_child_failure": "fail_fast",
        "idempotent": True,
    }


def test_a_subscription_is_read_with_its_texts_as_written() -> None:
    assert load(WHOLE).subscriptions == (
        Subscription(
            artifact="github.com/my-org/team/go-lib:go-lib",
            events=("library_built",),
            workflow="release",
            schema_version="(1.1.0...2.0.0]",
            filters=("semver.major(event.payload.version) > 0", "true"),
            inputs={"version-bump": "{{ .event.payload.bump }}", "n": "1.10", "b": True, "s": "true"},
            key="subscriptions[0]",
        ),
    )


def test_every_key_path_has_its_place() -> None:
    marks = load(WHOLE).marks
    assert (marks["workflows.release.steps[0].run"].line, marks["workflows.release.steps[0].run"].column) == (
        21,
        9,
    )
    line = WHOLE.splitlines()[marks["subscriptions[0].filters[1]"].line - 1]
    assert line.lstrip() == WHOLE.partition("filters:")[2].splitlines()[2].lstrip()
    assert marks["workflows.release.steps[0].produces.events[0].payload.deep.list[2]"].file == "tako.yml"


def test_a_workflow_starts_by_both_ways_unless_it_says_otherwise() -> None:
    assert load(with_workflow("")).workflows["w"].on == ("exec", "event")
    assert load(with_workflow("on: event")).workflows["w"].on == ("event",)
    assert load(with_workflow("on: [event, exec, event]")).workflows["w"].on == ("event", "exec")


@pytest.mark.parametrize("version", ["0.1.0", "1", "1.2", "0.10.3", "'1.0'"])
def test_formats_0_and_1_are_accepted(version: str) -> None:
    assert load(f"version: {version}").version == version.strip("'")


@pytest.mark.parametrize(
    ("declared", "written", "collected"),
    [
        ("", "artifacts: [a, b/*.whl]", {"default": ("a", "b/*.whl")}),
        ("artifacts: {lib: {}}", "artifacts: [a]", {"lib": ("a",)}),
        ("artifacts: {lib: {}, doc: {}}", "artifacts: [a]", {"default": ("a",)}),
        ("artifacts: {lib: {}, doc: {}}", "artifact: doc, artifacts: [a]", {"doc": ("a",)}),
        (
            "artifacts: {lib: {}, doc: {}}",
            "artifacts: {lib: a, doc: [b, c]}",
            {"lib": ("a",), "doc": ("b", "c")},
        ),
        ("artifacts: {lib: {}}", "artifacts: {default: a}", {"default": ("a",)}),
    ],
)
def test_collected_files_belong_to_an_artifact(
    declared: str, written: str, collected: dict[str, tuple[str, ...]]
) -> None:
    text = f"version: 1.0\n{declared}\nworkflows: {{w: {{steps: [{{run: x, produces: {{{written}}}}}]}}}}\n"
    assert load(text).workflows["w"].steps[0].produces.artifacts == collected


@pytest.mark.parametrize(
    ("written", "given"),
    [("if: true", "true"), ("if: false", "false"), ("if: 'on'", "on"), ("if: a == 1", "a == 1"), ("", "")],
)
def test_a_condition_is_an_expression_or_a_plain_boolean(written: str, given: str) -> None:
    assert step_of(f"run: x, {written}").condition == given


def test_several_problems_come_at_once_in_the_order_of_lines() -> None:
    text = "workflos: {}\nversion: 3.0\nartifacts: []\nsubscriptions: {}\n"
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.exit_code == 2
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [
        (1, 1),
        (2, 10),
        (3, 12),
        (4, 16),
    ]
    assert caught.value.message.splitlines() == [
        "tako.yml:1:1: workflos: unknown key 'workflos'; did you mean 'workflows'?",
        "tako.yml:2:10: version: expected a version of the format, 0.x or 1.x such as 0.1.0, got '3.0'",
        "tako.yml:3:12: artifacts: expected a mapping, got a list",
        "tako.yml:4:16: subscriptions: expected a list, got a mapping",
    ]


def test_only_so_many_problems_are_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        load("version: 1.0\n" + "".join(f"k{number}: 1\n" for number in range(1000)))
    assert len(caught.value.problems) == PROBLEMS_MAX
    assert "only the first" in caught.value.hint


def test_a_huge_value_is_not_quoted_whole() -> None:
    assert len(told(with_step(f"run: x, network: {'n' * 500_000}"))) < 1000
    assert len(told(f"version: 1.0\n? {'k' * 5000}\n: 1\n")) < 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "tako.yml:1:1: expected a mapping, got a list"),
        ("hello", "tako.yml:1:1: expected a mapping, got a string"),
        ("workflows: {}", "tako.yml:1:1: the key 'version' is missing"),
        ("version: true", "expected a string, got a boolean; quote it"),
        ("version: [1]", "version: expected a string, got a list"),
        ("version:", "version: expected a string, got nothing"),
        ("version: 2.0", "expected a version of the format"),
        ("version: 1.x", "expected a version of the format"),
        ("version: 1.0\nartifacts: {a b: {}}", "artifact 'a b' is not a valid name"),
        ("version: 1.0\nartifacts: {a: {paht: x}}", "unknown key 'paht'; did you mean 'path'?"),
        ("version: 1.0\nartifacts: {a: {path: ../x}}", "it leads out with '..'"),
        ("version: 1.0\nartifacts: {a: }", "artifacts.a: expected a mapping, got nothing"),
        ("version: 1.0\nworkflows: {../w: {}}", "workflow '../w' is not a valid name"),
        ("version: 1.0\nworkflows: {w: {}}", "workflows.w: the key 'steps' is missing"),
        ("version: 1.0\nworkflows: {w: []}", "workflows.w: expected a mapping, got a list"),
        ("version: 1.0\nworkflows: {w: {steps: []}}", "expected at least one item, the list is empty"),
        ("version: 1.0\nworkflows: {w: {steps: {}}}", "workflows.w.steps: expected a list, got a mapping"),
        (
            "version: 1.0\nworkflows: {w: {steps: [3]}}",
            "workflows.w.steps[0]: expected a mapping, got an integer",
        ),
        (
            "version: 1.0\nworkflows: {w: {steps: [1.5]}}",
            "workflows.w.steps[0]: expected a mapping, got a number",
        ),
    ],
)
def test_mistakes_at_the_top_are_reported(text: str, message: str) -> None:
    assert message in told(text)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("on: exce", "workflows.w.on: expected one of exec, event, got 'exce'"),
        ("on: []", "expected at least one item"),
        ("on: true", "expected a string, got a boolean; quote it"),
        ("on: {exec: 1}", "workflows.w.on: expected a string, got a mapping"),
        ("stps: 1", "unknown key 'stps'; did you mean 'steps'?"),
        ("description: []", "expected a string, got a list"),
        ("env: 3", "expected a mapping or a list of NAME=value, got an integer"),
        ("env: {A: true}", "workflows.w.env.A: expected a string, got a boolean; quote it"),
        ("env: {A: }", "workflows.w.env.A: expected a string, got nothing"),
        ("env: {1A: x}", "'1A' is not a name of an environment variable"),
        ("env: {'A=B': x}", "'A=B' is not a name of an environment variable"),
        ("env: {tako_x: x}", "names that start with TAKO_ are tako's own"),
        ("env: [A]", "expected NAME=value, got 'A'"),
        ("env: [[A]]", "workflows.w.env[0]: expected a string, got a list"),
        ("env: [=x]", "'' is not a name of an environment variable"),
        ("env: [A=1, A=2]", "the name 'A' appears twice"),
        ("env: [TAKO_RUN_ID=1]", "names that start with TAKO_ are tako's own"),
        ("secrets: A", "workflows.w.secrets: expected a list, got a string"),
        ("secrets: [a-b]", "'a-b' is not a name of an environment variable"),
        ("secrets: [A, B, A]", "workflows.w.secrets[2]: the name 'A' appears twice"),
        ("secrets: [HOME]", "HOME cannot be a secret: every step has it"),
        ("secrets: [true]", "workflows.w.secrets[0]: expected a string, got a boolean"),
        ("resources: []", "workflows.w.resources: expected a mapping, got a list"),
        ("resources: {cpu-limit: 1}", "unknown key 'cpu-limit'; did you mean 'cpu_limit'?"),
        ("resources: {cpu_limit: lots}", "'lots' is not a number of CPUs"),
        ("resources: {cpu_limit: true}", "cpu_limit: expected a string, got a boolean"),
        ("resources: {mem_limit: 5K}", "did you mean 5Ki (1024) or 5k (1000)?"),
        ("resources: {mem_limit: 0}", "expected a size above 0"),
        ("resources: {cpu_time_limit: 500ms}", "expected at least 1s"),
        ("resources: {process_limit: 0}", "expected at least 1, got 0"),
        ("resources: {process_limit: 1.5}", "expected an integer, got a number"),
        ("timeout: 30", "'30' has no unit; expected a duration such as 30s"),
        ("timeout: 0", "expected a duration above 0"),
        ("timeout: 1ns", "expected a duration above 0"),
        ("timeout: -1s", "'-1s' is negative"),
        ("timeout: []", "expected a string, got a list"),
        ("parallel: yes", "expected true or false, got a string"),
        ("parallel: 'true'", "expected true or false, got a string; unquote it"),
        ("parallel: []", "expected true or false, got a list"),
        ("workspace: fast", "expected one of auto, copy, reflink, overlay, got 'fast'"),
        ("sandbox: {red: []}", "unknown key 'red'; did you mean 'read'?"),
        ("sandbox: {read: [etc]}", "it neither is absolute nor starts with ~/"),
        ("sandbox: {read: [/a/../b]}", "it leads out with '..'"),
        ("sandbox: {write: [~root/x]}", "it neither is absolute nor starts with ~/"),
        ("inputs: []", "workflows.w.inputs: expected a mapping, got a list"),
        ("inputs: {a.b: {}}", "input 'a.b' is not a valid name"),
    ],
)
def test_mistakes_of_a_workflow_are_reported(written: str, message: str) -> None:
    assert message in told(with_workflow(written))


def test_the_whole_file_system_may_be_named_in_a_sandbox() -> None:
    workflow = load(with_workflow("sandbox: {read: [/, ~/]}")).workflows["w"]
    assert workflow.sandbox == Sandbox(("/", "~/"), ())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("id: a", "a step needs 'run' (a shell script) or 'uses' (a built-in step)"),
        ("run: x, uses: tako/fan-out@v1", "a step has either 'run' or 'uses', this one has both"),
        ("run: x, with: {a: 1}", "'with' belongs to 'uses'"),
        ("run: ''", "run: expected a text, it is empty"),
        ("run: [a]", "run: expected a string, got a list"),
        ("run: false", "run: expected a string, got a boolean; quote it"),
        ("runs: x", "unknown key 'runs'; did you mean 'run'?"),
        ("run: x, id: ../a", "step id '../a' is not a valid name"),
        ("run: x, id: 3", "step id '3' is not a valid name"),
        ("run: x, id: ", "id: expected a string, got nothing"),
        ("run: x, if: ''", "if: expected a text, it is empty"),
        ("run: x, if: [a]", "if: expected a string, got a list"),
        ("uses: tako/fanout@v1", "unknown built-in step 'tako/fanout@v1'; did you mean 'tako/fan-out@v1'?"),
        ("uses: actions/checkout@v4", "unknown built-in step"),
        ("uses: true", "uses: expected a string, got a boolean"),
        ("run: x, timeout: soon", "'soon' is not a duration"),
        ("run: x, rerun: maybe", "expected one of allowed, never, got 'maybe'"),
        ("run: x, network: host", "expected one of default, none, got 'host'"),
        ("run: x, network: false", "expected a string, got a boolean; quote it"),
        ("run: x, continue_on_error: 1", "expected true or false, got an integer"),
        ("run: x, cache_key_files: [/etc/passwd]", "it is absolute"),
        ("run: x, retry: 3", "retry: expected a mapping, got an integer"),
        ("run: x, retry: {attempts: 3}", "unknown key 'attempts'"),
        ("run: x, retry: {max_attempts: 0}", "expected at least 1, got 0"),
        ("run: x, retry: {max_attempts: 99999999999999999999}", "does not fit into 64 bits"),
        ("run: x, retry: {on: [256]}", "expected at most 255, got 256"),
        ("run: x, retry: {on: []}", "expected at least one item"),
        ("run: x, retry: {backoff: 5}", "'5' has no unit"),
        ("run: x, on_failure: [{run: y, on_failure: [{run: z}]}]", "cannot have 'on_failure' itself"),
        ("run: x, on_failure: [{uses: tako/fan-out@v1}]", "without 'uses'"),
        ("run: x, on_failure: []", "expected at least one item"),
        ("run: x, produces: {output: {}}", "unknown key 'output'; did you mean 'outputs'?"),
        ("run: x, produces: {artifact: a}", "the artifact 'a' is not declared; add it under 'artifacts:'"),
        ("run: x, produces: {artifact: true}", "expected a string, got a boolean"),
        ("run: x, produces: {artifacts: a}", "expected a list of paths, or a mapping of artifacts to paths"),
        ("run: x, produces: {artifacts: {default: {}}}", "expected a path or a list of paths, got a mapping"),
        ("run: x, produces: {artifacts: {default: []}}", "expected at least one item"),
        ("run: x, produces: {artifacts: {a/b: x}}", "artifact 'a/b' is not a valid name"),
        ("run: x, produces: {artifacts: [../x]}", "it leads out with '..'"),
        ("run: x, produces: {artifacts: ['a/../../x']}", "it leads out with '..'"),
        ("run: x, produces: {artifacts: ['~/x']}", "it starts with '~'"),
        ('run: x, produces: {artifacts: ["a\\nb"]}', "it holds a control character"),
        ("run: x, produces: {artifacts: [true]}", "expected a string, got a boolean"),
        ("run: x, produces: {outputs: {a b: x}}", "output 'a b' is not a valid name"),
        ("run: x, produces: {outputs: {a: }}", "expected a string, got nothing"),
        ("run: x, produces: {outputs: {a: from_stdot}}", "did you mean 'from_stdout'?"),
        ("run: x, produces: {outputs: {a: 'from_stdout:x'}}", "takes nothing after it"),
        ("run: x, produces: {outputs: {a: 'from_file:/etc/passwd'}}", "it is absolute"),
        ("run: x, produces: {outputs: {a: from_file}}", "it is empty"),
        ("run: x, produces: {outputs: {a: 'from_env:A-B'}}", "is not a name of an environment variable"),
        ("run: x, produces: {events: {}}", "events: expected a list, got a mapping"),
        ("run: x, produces: {events: [{}]}", "the key 'type' is missing"),
        ("run: x, produces: {events: [{type: a b}]}", "event type 'a b' is not a valid name"),
        ("run: x, produces: {events: [{type: a, payload: []}]}", "payload: expected a mapping, got a list"),
        ("run: x, produces: {events: [{type: a, payload: {x: .nan}}]}", "not a finite number"),
        (
            "run: x, produces: {events: [{type: a, schema: 1}]}",
            "unknown key 'schema'; did you mean 'schema_version'?",
        ),
    ],
)
def test_mistakes_of_a_step_are_reported(written: str, message: str) -> None:
    assert message in told(with_step(written))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "the key 'event_type' is missing in 'with' of tako/fan-out@v1"),
        ("with: {}", "the key 'event_type' is missing in 'with' of tako/fan-out@v1"),
        ("with: []", "with: expected a mapping, got a list"),
        ("with: {event_typ: a}", "unknown key 'event_typ'; did you mean 'event_type'?"),
        ("with: {event_type: a b}", "event type 'a b' is not a valid name"),
        ("with: {event_type: [a]}", "event_type: expected a string, got a list"),
        ("with: {event_type: a, artifact: b}", "the artifact 'b' is not declared"),
        ("with: {event_type: a, payload: x}", "payload: expected a mapping, got a string"),
        ("with: {event_type: a, wait_for_children: 1}", "expected true or false, got an integer"),
        ("with: {event_type: a, timeout: 5}", "'5' has no unit"),
        ("with: {event_type: a, concurrency_limit: 0}", "expected at least 1, got 0"),
        ("with: {event_type: a, concurrency_limit: many}", "expected an integer, got a string"),
        (
            "with: {event_type: a, on_child_failure: stop}",
            "expected one of fail, fail_fast, ignore, got 'stop'",
        ),
        ("with: {event_type: a, idempotent: 'no'}", "expected true or false, got a string"),
        ("with: {event_type: a}, env: {A: b}", "'env' belongs to 'run', a built-in step does not take it"),
        ("with: {event_type: a}, image: x", "'image' belongs to 'run'"),
        ("with: {event_type: a}, produces: {}", "'produces' belongs to 'run'"),
    ],
)
def test_mistakes_of_a_fan_out_are_reported(written: str, message: str) -> None:
    assert message in told(with_step(f"uses: tako/fan-out@v1, {written}"))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("type: strng", "expected one of string, integer, number, boolean, got 'strng'"),
        ("defualt: 3", "unknown key 'defualt'; did you mean 'default'?"),
        ("required: 'yes'", "expected true or false, got a string"),
        ("required: true, default: a", "an input with a default cannot be required"),
        ("type: integer, default: a", "default: expected an integer, got a string"),
        ("type: number, default: a", "default: expected a number, got a string"),
        ("type: number, default: .inf", "not a finite number"),
        ("type: boolean, default: 'true'", "default: expected true or false, got a string; unquote it"),
        ("default: true", "default: expected a string, got a boolean; quote it"),
        ("default: [a]", "default: expected a string, got a list"),
        ("default: a, validation: {enum: [b, c]}", "the default must be one of b, c, got 'a'"),
        ("type: integer, default: 5, validation: {max: 4}", "the default must be at most 4, got 5"),
        ("default: abc, validation: {pattern: '^[0-9]+$'}", "the default must match ^[0-9]+$, got 'abc'"),
        ("default: abc, validation: {min_length: 4}", "the default must have at least 4 characters, got 3"),
        ("validation: {enum: []}", "expected at least one item"),
        ("type: integer, validation: {enum: [a]}", "enum[0]: expected an integer, got a string"),
        ("validation: {pattern: '(a'}", "not a regular expression of RE2: missing ): (a"),
        ("validation: {pattern: '(?=a)'}", "not a regular expression of RE2"),
        (
            "type: integer, validation: {pattern: a}",
            "'pattern' is for inputs of type string; this one is of type integer",
        ),
        ("validation: {min: 1}", "'min' is for inputs of type integer or number; this one is of type string"),
        ("type: number, validation: {min: 2, max: 1}", "2 is above the maximum 1"),
        ("validation: {min_length: 2, max_length: 1}", "2 is above the maximum 1"),
        ("validation: {min_length: -1}", "expected at least 0, got -1"),
        ("validation: {regex: a}", "unknown key 'regex'"),
    ],
)
def test_mistakes_of_an_input_are_reported(written: str, message: str) -> None:
    assert message in told(with_input(written))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("events: [a], workflow: w", "the key 'artifact' is missing"),
        ("artifact: 'a/b:c', workflow: w", "the key 'events' is missing"),
        ("artifact: 'a/b:c', events: [a]", "the key 'workflow' is missing"),
        ("artifact: 'a/b:c', events: a, workflow: w", "events: expected a list, got a string"),
        ("artifact: 'a/b:c', events: [], workflow: w", "expected at least one item"),
        ("artifact: 'a/b:c', events: [a b], workflow: w", "event type 'a b' is not a valid name"),
        (
            "artifact: a/b, events: [a], workflow: w",
            "use ':default' for a repository that declares no artifact",
        ),
        ("artifact: 'b:c', events: [a], workflow: w", "an owner and a name are needed"),
        ("artifact: 'host.example/b:c', events: [a], workflow: w", ""),
        ("artifact: '../b:c', events: [a], workflow: w", "it leads out with '..'"),
        ("artifact: '/a/b:c', events: [a], workflow: w", "it is absolute"),
        ("artifact: 'a//b:c', events: [a], workflow: w", "it has an empty part"),
        ("artifact: 'a/b:', events: [a], workflow: w", "artifact '' is not a valid name"),
        ("artifact: 'a/b c:d', events: [a], workflow: w", "the part 'b c' holds more than"),
        ("artifact: true, events: [a], workflow: w", "expected a string, got a boolean"),
        ("artifact: 'a/b:c', events: [a], workflow: w w", "workflow 'w w' is not a valid name"),
        ("artifact: 'a/b:c', events: [a], workflow: w, filters: x", "filters: expected a list, got a string"),
        ("artifact: 'a/b:c', events: [a], workflow: w, filters: ['']", "expected a text, it is empty"),
        (
            "artifact: 'a/b:c', events: [a], workflow: w, inputs: {a: [1]}",
            "expected a string, a number, true or false",
        ),
        ("artifact: 'a/b:c', events: [a], workflow: w, inputs: {a: }", "got nothing"),
        ("artifact: 'a/b:c', events: [a], workflow: w, schema: 1", "did you mean 'schema_version'?"),
    ],
)
def test_mistakes_of_a_subscription_are_reported(written: str, message: str) -> None:
    if message:
        assert message in told(with_subscription(written))
    else:
        assert load(with_subscription(written)).subscriptions


def test_an_input_without_default_is_required_unless_it_says_otherwise() -> None:
    text = with_workflow("inputs: {a: {}, b: {default: x}, c: {required: false}, d: {required: true}}")
    required = {name: declared.required for name, declared in load(text).workflows["w"].inputs.items()}
    assert required == {"a": True, "b": False, "c": False, "d": True}


def test_a_default_has_the_type_of_its_input() -> None:
    defaults = {"string": "1.10", "integer": "7", "number": "1", "boolean": "false"}
    text = ", ".join(f"{kind}: {{type: {kind}, default: {value}}}" for kind, value in defaults.items())
    inputs = load(with_workflow(f"inputs: {{{text}}}")).workflows["w"].inputs
    assert [declared.default for declared in inputs.values()] == ["1.10", 7, 1, False]
    assert all(declared.has_default for declared in inputs.values())


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            "[{id: a, run: x}, {id: a, run: y}]",
            "2:32: workflows.w.steps[1].id: the step id 'a' is used twice, first at line",
        ),
        ("[{id: a, run: x, on_failure: [{id: a, run: y}]}]", "the step id 'a' is used twice"),
        ("[{id: step-2, run: x}, {run: y}]", "a step without an id gets this one; give it another"),
        ("[{run: x}, {id: step-1, run: y}]", "the step id 'step-1' is used twice"),
    ],
)
def test_an_id_used_twice_is_named_with_both_places(steps: str, message: str) -> None:
    found = told(f"version: 1.0\nworkflows: {{w: {{steps: {steps}}}}}\n")
    assert message.partition(": ")[2] in found
    assert "first at line 2, column" in found


def test_ids_may_be_the_same_in_two_workflows() -> None:
    text = "version: 1.0\nworkflows: {a: {steps: [{id: x, run: y}]}, b: {steps: [{id: x, run: y}]}}\n"
    assert len(load(text).workflows) == 2


def test_an_id_made_of_a_very_long_one_is_refused() -> None:
    assert "give this step an id" in told(with_step(f"id: {'a' * 100}, run: x, on_failure: [{{run: y}}]"))


def test_an_alias_can_be_used_for_what_is_the_same() -> None:
    text = "version: 1.0\nworkflows:\n  a: &a {steps: [{run: x}]}\n  b: *a\n"
    config = load(text)
    assert config.workflows["b"].steps[0].key == "workflows.b.steps[0]"
    assert config.marks["workflows.b.steps[0].run"].line == 3


def test_keys_that_yaml_1_1_would_change_are_read_as_written() -> None:
    step = step_of("run: x, env: {no: 'off', yes: on, y: 1:30, n: 0x10, NULL: 1e3, e: 1_0}")
    assert step.env == {"no": "off", "yes": "on", "y": "1:30", "n": "0x10", "NULL": "1e3", "e": "1_0"}
