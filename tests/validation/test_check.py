from __future__ import annotations

import pytest

from tako.config.loader import load_config
from tako.validation.check import check_config, check_warnings

_GOOD = """\
version: 1.0
artifacts: {lib: {}}
workflows:
  release:
    env: {LEVEL: "{{ .inputs.bump }}"}
    inputs: {bump: {default: patch}, count: {type: integer, default: 1}}
    steps:
      - id: build
        if: inputs.bump != "none"
        run: ./build {{ .inputs.bump | shell_quote }} {{ .env.LEVEL | shell_quote }}
        env: {BUMP: "{{ .inputs.bump }}"}
        produces:
          outputs: {version: from_stdout, short: "v([0-9]+)", both: "{{ .outputs.version }}-x"}
          events:
            - type: built
              schema_version: 1.2.0
              payload: {version: "{{ .outputs.version }}", list: ["{{ .env.LEVEL }}", 3]}
        on_failure:
          - run: echo {{ .steps.build.exit_code }} ${#a[@]}
      - id: fan
        uses: tako/fan-out@v1
        with: {event_type: built}
      - uses: tako/fan-out@v1
        with:
          event_type: other
          payload: {a: "{{ .steps.build.outputs.version }}"}
          schema_version: "{{ .inputs.bump }}"
      - run: echo {{ .steps.fan.outputs | to_json | shell_quote }}
  react:
    on: event
    inputs: {version: {}, kind: {default: a, validation: {enum: [a, b]}}}
    steps: [{run: "echo {{ .event.payload.version | shell_quote }}"}]
subscriptions:
  - artifact: acme/lib:lib
    events: [built]
    schema_version: "(1.1.0...2.0.0]"
    filters: [semver.major(event.payload.version) > 0]
    workflow: react
    inputs: {version: "{{ .event.payload.version }}", kind: b}
"""


def _problems(text: str) -> list[str]:
    return [str(problem) for problem in check_config(load_config(text.encode(), "tako.yml"))]


def _of_step(step: str, *, workflow: str = "", before: str = "") -> str:
    text = f"version: 1.0\nworkflows: {{w: {{{workflow} steps: [{before} {{{step}}}]}}}}\n"
    found = _problems(text)
    assert len(found) == 1, found
    return found[0]


def _of_subscription(written: str, workflow: str = "steps: [{run: x}]") -> list[str]:
    head = f"version: 1.0\nworkflows: {{w: {{{workflow}}}}}\n"
    return _problems(f"{head}subscriptions: [{{artifact: 'a/b:c', events: [e], {written}}}]\n")


def test_a_right_file_has_no_problems() -> None:
    assert _problems(_GOOD) == []


@pytest.mark.parametrize(
    ("step", "key", "message"),
    [
        ("run: '{{ .inputs.x }}'", "run", "there is no 'inputs.x'"),
        ("run: '{{ .inputs.x'", "run", "never closed"),
        ("run: '{{ .inputs | nope }}'", "run", "there is no filter `nope`"),
        ("run: '{{ .outputs.x }}'", "run", "only in what a step produces"),
        ("run: x, env: {A: '{{ .steps.late.outputs.x }}'}", "env.A", "there is no step 'late'"),
        ("run: x, env: ['A={{ .nope }}']", "env.A", "there is no 'nope' here"),
        ("run: x, if: 'inputs.'", "if", ""),
        ("run: x, if: '1 + 1'", "if", "not true or false"),
        ("run: x, if: 'nope.x == 1'", "if", "nope"),
        ("run: x, produces: {outputs: {a: 'no group'}}", "produces.outputs.a", "group"),
        ("run: x, produces: {outputs: {a: '(a)(b)'}}", "produces.outputs.a", "group"),
        ("run: x, produces: {outputs: {a: '(a'}}", "produces.outputs.a", ""),
        ("run: x, produces: {outputs: {a: '{{ .x }}'}}", "produces.outputs.a", "there is no 'x' here"),
        (
            "run: x, produces: {events: [{type: e, schema_version: 1.10}]}",
            "produces.events[0].schema_version",
            "is not a semantic version",
        ),
        (
            "run: x, produces: {events: [{type: e, payload: {a: [{b: '{{ .nope }}'}]}}]}",
            "produces.events[0].payload.a[0].b",
            "there is no 'nope' here",
        ),
        (
            "uses: tako/fan-out@v1, with: {event_type: e}",
            "with.event_type",
            "no earlier step produces the event 'e'",
        ),
        (
            "uses: tako/fan-out@v1, with: {event_type: e, payload: {a: '{{ .outputs.x }}'}}",
            "with.payload.a",
            "only in what a step produces",
        ),
        (
            "uses: tako/fan-out@v1, with: {event_type: e, payload: {}, schema_version: one}",
            "with.schema_version",
            "is not a semantic version",
        ),
    ],
)
def test_a_mistake_of_a_step_is_reported_at_its_place(step: str, key: str, message: str) -> None:
    found = _of_step(step)
    assert found.startswith("tako.yml:2:")
    assert f" workflows.w.steps[0].{key}: " in found
    assert message in found


def test_a_step_that_runs_later_cannot_be_read() -> None:
    text = "version: 1.0\nworkflows: {w: {steps: [{run: '{{ .steps.b.status }}'}, {id: b, run: x}]}}\n"
    assert "the step 'b' has not run yet at this place" in _problems(text)[0]


def test_a_fan_out_may_read_the_outputs_of_the_step_that_produced_its_event() -> None:
    before = "{run: x, produces: {events: [{type: built}]}},"
    step = "uses: tako/fan-out@v1, with: {event_type: built, payload: {a: '{{ .outputs.v }} {{ .nope }}'}}"
    assert "there is no 'nope' here" in _of_step(step, before=before)


def test_the_nearest_event_is_offered() -> None:
    before = "{run: x, produces: {events: [{type: library_built}]}},"
    found = _of_step("uses: tako/fan-out@v1, with: {event_type: libary_built}", before=before)
    assert "did you mean 'library_built'?" in found


def test_an_event_exists_only_where_events_start_the_workflow() -> None:
    assert "add 'event' to its 'on'" in _of_step("run: '{{ .event.type }}'", workflow="on: exec,")
    assert "event" in _of_step("run: x, if: 'event.type == \"a\"'", workflow="on: exec,")


def test_the_environment_of_a_workflow_cannot_read_itself() -> None:
    text = "version: 1.0\nworkflows: {w: {env: {A: '{{ .env.B }}', B: '1'}, steps: [{run: x}]}}\n"
    assert "workflows.w.env.A: there is no 'env' here" in _problems(text)[0]


def test_a_step_after_a_failure_may_read_the_one_that_failed() -> None:
    step = "id: a, run: x, on_failure: [{run: '{{ .steps.a.exit_code }} {{ .nope }}'}]"
    assert "workflows.w.steps[0].on_failure[0].run: there is no 'nope' here" in _of_step(step)


@pytest.mark.parametrize(
    ("written", "key", "message"),
    [
        ("workflow: v", "workflow", "there is no workflow 'v'; known here: w"),
        ("workflow: w, schema_version: nonsense(", "schema_version", ""),
        ("workflow: w, filters: ['event.']", "filters[0]", ""),
        ("workflow: w, filters: [true, 'inputs.x == 1']", "filters[1]", "inputs"),
        ("workflow: w, inputs: {nope: x}", "inputs.nope", "the workflow 'w' has no input 'nope'"),
    ],
)
def test_a_mistake_of_a_subscription_is_reported_at_its_place(written: str, key: str, message: str) -> None:
    found = _of_subscription(written)
    assert len(found) == 1
    assert f" subscriptions[0].{key}: " in found[0]
    assert message in found[0]


def test_a_subscription_needs_a_workflow_that_runs_on_events() -> None:
    found = _of_subscription("workflow: w", "on: exec, steps: [{run: x}]")
    assert ["does not run on events" in problem for problem in found] == [True]


def test_inputs_of_a_subscription_fit_its_workflow() -> None:
    workflow = (
        "inputs: {need: {}, n: {type: integer, default: 1}, e: {default: a, validation: {enum: [a]}}},"
        " steps: [{run: x}]"
    )
    found = _of_subscription("workflow: w, inputs: {n: many, e: b}", workflow)
    assert len(found) == 3
    assert "requires the input 'need'" in found[0]
    assert "the input must be an integer, got 'many'" in found[1]
    assert "the input must be one of a, got 'b'" in found[2]
    assert (
        _of_subscription("workflow: w, inputs: {need: '{{ .event.type }}', n: '{{ .event.type }}'}", workflow)
        == []
    )


def test_inputs_of_a_subscription_see_only_the_event() -> None:
    workflow = "inputs: {a: {default: x}}, steps: [{run: x}]"
    assert (
        "there is no 'inputs' here"
        in _of_subscription("workflow: w, inputs: {a: '{{ .inputs.a }}'}", workflow)[0]
    )


def _warnings(step: str) -> list[str]:
    text = f"version: 1.0\nworkflows: {{w: {{steps: [{{id: a, run: x}}, {{{step}}}]}}}}\n"
    return [problem.message for problem in check_warnings(load_config(text.encode(), "tako.yml"))]


@pytest.mark.parametrize(
    ("step", "count"),
    [
        ("run: 'echo {{ .event.payload.x }}'", 1),
        ("run: 'echo {{ .event.payload.x | shell_quote }}'", 0),
        ("run: 'echo {{ .event.payload.x | shell_quote | upper }}'", 1),
        ("run: 'echo {{ .steps.a.outputs.x }} {{ .event.type }}'", 2),
        ("run: 'echo {{ .steps.a.status }} {{ .steps.a.exit_code }}'", 0),
        ("run: 'echo {{ .steps.a }}'", 1),
        ("run: 'echo {{ .inputs.x }}'", 0),
        ("run: 'echo {{ broken'", 0),
        ("run: x, on_failure: [{run: 'echo {{ .event.type }}'}]", 1),
    ],
)
def test_texts_of_others_are_quoted_for_the_shell_or_warned_of(step: str, count: int) -> None:
    found = _warnings(step)
    assert len(found) == count
    assert all("add '| shell_quote'" in message for message in found)


def test_keys_that_are_not_supported_yet_cause_a_warning() -> None:
    assert _warnings("run: x, image: y") == ["image is not supported yet"]


_FED = """
version: 1.0
workflows:
  fed:
    inputs:
      {version: {}, fixed: {}, count: {type: integer}, kind: {validation: {enum: [a, b]}}, own: {default: x}}
    env: {HOLDS: "v{{ .inputs.version }}", OF_EVENT: "{{ .event.type }}", OWN: "{{ .inputs.own }}", PLAIN: x}
    steps:
      - run: |
          echo {{ .inputs.version | shell_quote }} {{ .inputs.fixed }} {{ .inputs.count }} {{ .inputs.kind }}
          echo {{ .inputs.version }} {{ .inputs.own }} {{ .env.OWN }} {{ .env.PLAIN }}
          echo {{ .env.HOLDS }} "$HOLDS"
          echo {{ .inputs.version }} {{ .env.OF_EVENT }}
      - {run: "true", env: {V: "{{ .inputs.version }}"}, on_failure: [{run: "echo {{ .inputs.version }}"}]}
  started:
    on: event
    inputs: {version: {}}
    steps: [{run: "echo {{ .inputs.version }}"}]
  typed:
    on: exec
    inputs: {version: {}}
    steps: [{run: "echo {{ .inputs.version }}"}]
subscriptions:
  - artifact: acme/lib:default
    events: [built]
    workflow: fed
    inputs:
      version: "{{ .event.payload.version }}"
      fixed: always
      count: "{{ .event.payload.n }}"
      kind: "{{ .event.type }}"
"""


def test_inputs_that_subscriptions_feed_are_foreign_wherever_they_go() -> None:
    found = check_warnings(load_config(_FED.encode(), "tako.yml"))
    told = [(problem.key, problem.message.partition(" comes from elsewhere")) for problem in found]
    assert [(key, what, why.partition("; add")[0]) for key, (what, _, why) in told] == [
        (
            "workflows.fed.steps[0].run",
            "'inputs.version'",
            " (subscriptions[0] feeds it) and reaches the shell unquoted in line 2 of the script",
        ),
        (
            "workflows.fed.steps[0].run",
            "'env.HOLDS'",
            " (it holds 'inputs.version') and reaches the shell unquoted in line 3 of the script",
        ),
        (
            "workflows.fed.steps[0].run",
            "'inputs.version'",
            " (subscriptions[0] feeds it) and reaches the shell unquoted in line 4 of the script",
        ),
        (
            "workflows.fed.steps[0].run",
            "'env.OF_EVENT'",
            " (it holds 'event.type') and reaches the shell unquoted in line 4 of the script",
        ),
        (
            "workflows.fed.steps[1].on_failure[0].run",
            "'inputs.version'",
            " (subscriptions[0] feeds it) and reaches the shell unquoted",
        ),
        (
            "workflows.started.steps[0].run",
            "'inputs.version'",
            " (events start this workflow) and reaches the shell unquoted",
        ),
    ]


@pytest.mark.parametrize(
    "step",
    [
        r'run: x, produces: {events: [{type: t, payload: {"a\a": ["\e"]}}]}',
        r'uses: tako/fan-out@v1, with: {event_type: t, payload: {"a\a": ["\e"]}}',
    ],
)
def test_a_payload_that_could_not_be_emitted_is_a_mistake(step: str) -> None:
    text = f"version: 1.0\nworkflows: {{w: {{steps: [{{{step}}}]}}}}\n"
    found = check_config(load_config(text.encode(), "tako.yml"))
    assert [problem.message for problem in found] == [
        "this cannot be part of a payload: it holds the control character U+0007",
        "this cannot be part of a payload: it holds the control character U+001B",
    ]
