"""A release with real builds at level `auto`: one child installs its wheel, another links its C library."""

from __future__ import annotations

import shutil

import pytest

from tests.support import isolations
from tests.support.scenes import SOURCE, Scene, children, fan_out, tako_yml, workflow

BACKEND = """
import zipfile

NAME = "greeting-1.0"
FILES = {
    "greeting.py": "def greet():\\n    return 'hello'\\n",
    f"{NAME}.dist-info/METADATA": "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n",
    f"{NAME}.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}


def build_wheel(directory, config_settings=None, metadata_directory=None):
    name, record = f"{NAME}-py3-none-any.whl", f"{NAME}.dist-info/RECORD"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for path, text in {**FILES, record: "".join(f"{path},,\\n" for path in (*FILES, record))}.items():
            wheel.writestr(path, text)
    return name
"""
FILES = {
    # In the tree, so that nothing has to be fetched.
    "backend.py": BACKEND,
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "greet.h": "int greet(void);\n",
    "greet.c": "int greet(void) { return 42; }\n",
    "Makefile": "libgreet.a: greet.o\n\t$(AR) rcs $@ $<\n",
}
BUILD = {
    "id": "build",
    "run": "python3 -m venv venv\nvenv/bin/pip wheel --no-index --no-deps --wheel-dir dist .\nmake\n"
    "cp libgreet.a greet.h dist",
    "produces": {"artifact": "lib", "artifacts": ["dist/*"]},
}
INSTALLED = """python3 -m venv venv
venv/bin/pip install --no-index "$TAKO_ARTIFACTS"/lib/dist/*.whl
test "$(venv/bin/python -c 'import greeting; print(greeting.greet())')" = hello
"""
LINKED = "app: app.c\n\t$(CC) -I$(LIB) -o $@ $< $(LIB)/libgreet.a\n\ntest: app\n\t./app\n"


def test_children_build_with_what_their_parent_has_just_built(scene: Scene) -> None:
    for tool in ("make", "cc", "ar"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    release = workflow(BUILD, fan_out(artifact="lib"), on="exec")
    config = tako_yml({"release": release}, artifacts={"lib": {}})
    checkout = scene.git_repo(SOURCE, {"tako.yml": config, **FILES})
    subscribed = {"subscribed": {"artifact": f"{SOURCE}:lib"}}
    scene.subscriber("acme/python", INSTALLED, **subscribed)
    native = {"Makefile": LINKED, "app.c": '#include "greet.h"\nint main(void) { return greet() != 42; }\n'}
    making = 'make test LIB="$TAKO_ARTIFACTS/lib/dist"'
    scene.subscriber("acme/native", making, files=native, **subscribed)
    result = scene.tako("exec", "release", "--output", "json", cwd=checkout)
    assert result.code == 0, result.stderr
    ended = {name: (child["status"], child["isolation"]) for name, child in children(result.json).items()}
    level = isolations.findings().strongest
    assert ended == {"acme/python": ("succeeded", level), "acme/native": ("succeeded", level)}
