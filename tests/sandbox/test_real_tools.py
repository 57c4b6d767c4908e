"""Real tools, as steps of a child at the levels that hide most of the machine: what a build needs is there.

Each runs through the real engine without a network but loopback. A tool that is not installed skips its test.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import pwd
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Step
from tako.engine.run.spec import SSH_AGENT, secrets_of
from tako.layout.machine import RESOLV_CONF
from tako.sandbox.machine_view import machine_view
from tako.sandbox.policy import LANDLOCK, NAMESPACE
from tako.system.user_environment import user_home, user_homes
from tako.values import evolve
from tests.support.authority import made_by
from tests.support.git import Files, git, write_files
from tests.support.isolations import ENVIRONMENT as OWN
from tests.support.isolations import isolation
from tests.support.segments import ENVIRONMENT, Ran, run, run_spec

every_level = pytest.mark.parametrize("level", [LANDLOCK, NAMESPACE])
RESOLVER = Path(RESOLV_CONF)


def need(*tools: str) -> None:
    """Skip the calling test where a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def child(directory: Path, level: str, script: str, *, files: Files | None = None, **changes: Any) -> Ran:  # noqa: ANN401 - fields of a `RunSpec`
    """Run one script in a child whose repository holds `files`, and have it succeed; the log says why not."""
    (directory / "source").mkdir()
    write_files(directory / "source", files or {})
    ran = run(run_spec(directory, script, **{"isolation": isolation(level), **changes}))
    assert ran.end.status == "succeeded", ran.log()
    return ran


# --- Python ----------------------------------------------------------------------------------

# A build backend of its own: nothing has to be fetched.
PACKAGE = {
    "pyproject.toml": """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "greeting"
version = "1.0"
""",
    "backend.py": """
import zipfile

NAME = "greeting-1.0"
FILES = {
    "greeting.py": "def main():\\n    print('hello')\\n",
    f"{NAME}.dist-info/METADATA": "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n",
    f"{NAME}.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    f"{NAME}.dist-info/entry_points.txt": "[console_scripts]\\ngreet = greeting:main\\n",
}


def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = f"{NAME}-py3-none-any.whl"
    record = f"{NAME}.dist-info/RECORD"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for path, text in {**FILES, record: "".join(f"{path},,\\n" for path in (*FILES, record))}.items():
            wheel.writestr(path, text)
    return name
""",
}


@every_level
def test_pip_builds_an_sdist_and_installs_it_into_a_venv(tmp_path: Path, level: str) -> None:
    script = """
        mkdir -p sdist/greeting-1.0 && cp pyproject.toml backend.py sdist/greeting-1.0
        printf 'Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n' >sdist/greeting-1.0/PKG-INFO
        tar -czf greeting-1.0.tar.gz -C sdist greeting-1.0
        python3 -m venv venv
        venv/bin/pip wheel --no-index --no-deps --wheel-dir dist ./greeting-1.0.tar.gz
        venv/bin/pip install --no-index --find-links dist greeting
        test "$(venv/bin/greet)" = hello
        venv/bin/pip --version
    """
    child(tmp_path, level, script, files=PACKAGE)


@every_level
def test_the_python_of_pyenv_runs_by_its_shim(tmp_path: Path, level: str) -> None:
    shim = user_home(os.environ) / ".pyenv" / "shims" / "python3"
    if not shim.exists():
        pytest.skip("pyenv is not installed below the home")
    path = f"{shim.parent}:{os.environ['PATH']}"
    script = f"""
        test "$(command -v python3)" = {shim}
        python3 -c 'import sys, ssl, sqlite3, ctypes; assert ".pyenv/versions" in sys.prefix, sys.prefix'
        python3 -m venv venv && venv/bin/python -c 'import sys; assert sys.prefix != sys.base_prefix'
    """
    child(tmp_path, level, script, environment={**ENVIRONMENT, "PATH": path})


@every_level
def test_python_forks_locks_and_makes_sockets(tmp_path: Path, level: str) -> None:
    """What test suites do: semaphores in /dev/shm, a pool of processes, a socket with a path in TMPDIR."""
    program = """
import multiprocessing, os, socket, tempfile

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    path = os.path.join(tempfile.mkdtemp(), "a-socket-with-a-name-as-tools-choose-it.sock")
    assert path.startswith(os.environ["TMPDIR"]) and len(path) < 100, path
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"over a path")
    assert server.accept()[0].recv(100) == b"over a path"
"""
    child(tmp_path, level, "python3 program.py", files={"program.py": program})


# --- C, make, git ----------------------------------------------------------------------------


@every_level
def test_make_and_a_c_compiler_build_a_library_and_a_program(tmp_path: Path, level: str) -> None:
    need("make", "cc")
    files = {
        "Makefile": "all: app\n\t./app\n\n"
        "app: main.o libgreet.so\n\t$(CC) -o $@ main.o -L. -lgreet -Wl,-rpath,'$$ORIGIN'\n\n"
        "libgreet.so: greet.c\n\t$(CC) -shared -fPIC -o $@ $<\n",
        "greet.c": '#include <stdio.h>\nvoid greet(void) { puts("hello"); }\n',
        "main.c": "void greet(void);\nint main(void) { greet(); return 0; }\n",
    }
    ran = child(tmp_path, level, "make -j2", files=files)
    assert "hello" in ran.log().splitlines()


@every_level
def test_git_commits_in_the_workspace_as_the_user(tmp_path: Path, level: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    (source / "file").write_text("first\n")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "first")
    script = """
        echo second >file
        git commit --quiet --all --message second
        git log --format='%s by %an <%ae>'
        git checkout --quiet -b side HEAD~1 && git merge --quiet main && git tag -a -m tagged v1
        git clone --quiet . "$TMPDIR/clone" && git -C "$TMPDIR/clone" log --oneline
    """
    ran = run(
        run_spec(tmp_path, script, isolation=isolation(level), git_identity=("Åsa Example", "a@example.org"))
    )
    assert ran.end.status == "succeeded", ran.log()
    assert "second by Åsa Example <a@example.org>" in ran.log().splitlines()


@every_level
def test_the_small_tools_of_a_build_find_what_they_need(tmp_path: Path, level: str) -> None:
    need("perl")
    script = """
        test "$(getent hosts localhost | wc -l)" -ge 1 && id -un && date && locale && nproc
        echo "$LANG" | grep -q UTF-8 && test "$(printf å | wc -m)" -eq 1
        perl -e 'print "perl\\n"'
        head -c 16 /dev/urandom >/dev/null && cat /dev/fd/0 </dev/null
        mktemp && mktemp -d && find . -name x | sort | xargs -r ls
        tar -cf - . | gzip | tar -tzf - >/dev/null
    """
    ran = child(tmp_path, level, script)
    assert ran.log().splitlines()[0] == os.environ.get("USER", "root") or os.getuid() != 0


# --- other languages -------------------------------------------------------------------------


@every_level
def test_npm_packs_and_installs_a_package_without_a_registry(tmp_path: Path, level: str) -> None:
    need("node", "npm")
    files = {
        "lib/package.json": '{"name": "lib", "version": "1.0.0", "bin": {"greet": "greet.js"}}',
        "lib/greet.js": "#!/usr/bin/env node\nconsole.log('hello from lib')\n",
        "lib/index.js": "module.exports = 'lib'\n",
        "app/package.json": '{"name": "app", "version": "1.0.0", "scripts": {"test": "greet && node t.js"}}',
        "app/t.js": "const os = require('os')\nconsole.log(require('lib'), os.cpus().length > 0)\n",
    }
    script = "cd lib && npm pack && cd ../app && npm install --offline ../lib/lib-1.0.0.tgz && npm test"
    ran = child(tmp_path, level, script, files=files)
    assert {"hello from lib", "lib true"} <= set(ran.log().splitlines())


@every_level
def test_cargo_builds_and_tests_a_crate(tmp_path: Path, level: str) -> None:
    need("cargo", "cc")
    files = {
        "Cargo.toml": '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n',
        "src/main.rs": 'fn main() { println!("hello"); }\n#[test]\nfn works() { assert_eq!(1 + 1, 2); }\n',
    }
    script = "cargo build --offline && ./target/debug/app && cargo test --offline"
    ran = child(tmp_path, level, script, files=files)
    assert "hello" in ran.log().splitlines()


@every_level
def test_go_builds_and_tests_a_module(tmp_path: Path, level: str) -> None:
    need("go")
    files = {
        "go.mod": "module example.org/app\n\ngo 1.19\n",
        "main.go": 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("hello\\n") }\n',
        "main_test.go": 'package main\n\nimport "testing"\n\nfunc TestIt(t *testing.T) {}\n',
    }
    environment = {**ENVIRONMENT, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    script = "go vet ./... && go build -o app . && ./app && go test ./..."
    ran = child(tmp_path, level, script, files=files, environment=environment)
    assert "hello" in ran.log().splitlines()


@every_level
def test_java_compiles_and_runs(tmp_path: Path, level: str) -> None:
    need("java", "javac")
    program = 'public class App { public static void main(String[] a) { System.out.println("hello"); } }\n'
    script = "javac -d out src/App.java && jar --create --file app.jar -C out . && java -cp app.jar App"
    ran = child(tmp_path, level, script, files={"src/App.java": program})
    assert "hello" in ran.log().splitlines()


POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
 <modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>app</artifactId><version>1</version>
</project>
"""


@every_level
def test_maven_works_in_the_home_of_the_run_not_in_the_users(tmp_path: Path, level: str) -> None:
    """Java asks the password file where the home is; plugins cannot be had without a network."""
    need("mvn")
    script = 'mvn -o -B -X validate >said && grep "Using local repository at" said && test -d ~/.m2'
    ran = child(tmp_path, level, script, files={"pom.xml": POM})
    # A user whose home does not exist has one in the workspace.
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)
    inside = own if own.is_dir() else Path("/workspace/home")
    home = inside if level == NAMESPACE else ran.spec.paths.home
    assert f"Using local repository at {home}/.m2/repository" in ran.log()


def _newest_compiler(cache: Path, project: Path) -> str:
    """Give the goal of the newest compiler plugin in the user's cache that works offline outside."""
    need("mvn", "javac")
    plugins = cache / "repository/org/apache/maven/plugins/maven-compiler-plugin"
    versions = [path.name for path in plugins.glob("*") if any(path.glob("*.jar"))]
    for version in sorted(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])[::-1]:
        goal = f"org.apache.maven.plugins:maven-compiler-plugin:{version}:compile"
        done = subprocess.run(["mvn", "-o", "-B", "-q", goal], cwd=project, capture_output=True, check=False)
        if done.returncode == 0:
            return goal
    pytest.skip("no plugin with which Maven compiles offline is in the user's cache")


@every_level
def test_maven_compiles_with_the_plugins_of_the_users_cache(tmp_path: Path, level: str) -> None:
    cache = user_home(OWN) / ".m2"
    versions = (
        "<maven.compiler.source>8</maven.compiler.source><maven.compiler.target>8</maven.compiler.target>"
    )
    files = {
        "pom.xml": POM.replace("</project>", f"<properties>{versions}</properties></project>"),
        "src/main/java/App.java": "class App {}\n",
    }
    write_files(tmp_path / "outside", files)
    goal = _newest_compiler(cache, tmp_path / "outside")
    spec = isolation(level)
    if not spec.overlays:
        pytest.skip("no overlay can be mounted here, which a tool cache needs")
    script = f"mvn -o -B -q {goal} && test -f target/classes/App.class"
    child(tmp_path, level, script, files=files, isolation=spec, tool_caches=((cache, ".m2"),))


# --- TLS and ssh -----------------------------------------------------------------------------


class _Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"over TLS\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _served(directory: Path) -> Iterator[tuple[int, Path]]:
    """Serve https on loopback with a certificate of an authority of our own; gives port and authority."""
    authority = made_by(directory)
    with http.server.HTTPServer(("127.0.0.1", 0), _Quiet) as server:
        server.socket = authority.context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port, authority.certificate
        finally:
            server.shutdown()
            thread.join()


@every_level
def test_tls_trusts_the_authorities_that_the_user_names(tmp_path: Path, level: str) -> None:
    (tmp_path / "tls").mkdir()
    with _served(tmp_path / "tls") as (port, authority):
        url = f"https://localhost:{port}/"
        named = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(authority))
        seen = machine_view({**OWN, **named}, user_homes(OWN), ())
        get = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
        script = [f"python3 -c '{get}' {url} | grep -qx 'over TLS'"]
        if shutil.which("curl"):
            script.append(f"curl --silent --show-error --noproxy '*' {url} | grep -qx 'over TLS'")
        if shutil.which("node"):
            script.append(
                f'node -e \'require("https").get("{url}", r => r.pipe(process.stdout))\' | grep over'
            )
        # Without them the same server is not trusted.
        script.append(f"! env -u SSL_CERT_FILE python3 -c '{get}' {url} 2>refused")
        script.append("grep -q CERTIFICATE_VERIFY_FAILED refused")
        child(
            tmp_path,
            level,
            "\n".join(script),
            isolation=evolve(isolation(level), machine=seen),
            environment={**ENVIRONMENT, **named},
        )


@every_level
def test_the_systems_authorities_and_resolver_can_be_read(tmp_path: Path, level: str) -> None:
    paths = ssl.get_default_verify_paths()
    if not (os.path.exists(paths.openssl_cafile) or os.path.exists(paths.openssl_capath)):
        pytest.skip("the system has no authorities")
    look = "import ssl; paths = ssl.get_default_verify_paths(); assert paths.cafile or paths.capath, paths"
    script = f"python3 -c '{look}'"
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    script += f"\ngrep -c BEGIN {bundle}" if bundle.exists() else ""
    script += f"\ncat {RESOLVER}" if RESOLVER.exists() else ""
    child(tmp_path, level, script)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """A real ssh agent with one key; gives its socket."""
    need("ssh-agent", "ssh-add", "ssh-keygen")
    path = tmp_path / "agent"
    words = ["ssh-agent", "-D", "-a", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            # It says where it listens when it does.
            assert process.stdout.readline()
            key = tmp_path / "key"
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a key", "-f", key], check=True
            )
            named = {**os.environ, SSH_AGENT: str(path)}
            subprocess.run(["ssh-add", "-q", key], env=named, check=True, capture_output=True)
            yield path
        finally:
            process.terminate()


@every_level
def test_an_ssh_agent_that_was_granted_answers(tmp_path: Path, level: str, agent: Path) -> None:
    step = Step(id="step-1", run="ssh-add -l", secrets=(SSH_AGENT,))
    spec = run_spec(tmp_path, step, isolation=isolation(level))
    ran = run(spec, secrets=secrets_of({SSH_AGENT: str(agent)}))
    assert ran.end.status == "succeeded", ran.log()
    assert "a key" in ran.log()


@every_level
def test_an_ssh_agent_that_was_not_granted_is_not_named(tmp_path: Path, level: str, agent: Path) -> None:
    child(tmp_path, level, 'test -z "${SSH_AUTH_SOCK-}" && ! ssh-add -l', environment=ENVIRONMENT)


def test_an_ssh_agent_that_was_not_granted_is_not_reachable(tmp_path: Path, agent: Path) -> None:
    child(tmp_path, NAMESPACE, f"test ! -e {agent} && ! SSH_AUTH_SOCK={agent} ssh-add -l")
