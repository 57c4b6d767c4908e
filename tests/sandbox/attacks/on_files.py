"""Attacks on files: the user's, other children's, tako's own; by paths, links, outputs and artifacts."""

from __future__ import annotations

from pathlib import Path

from tako.config.schema import Settings
from tako.engine.steps.outputs import OUTPUT_MAX
from tako.layout.home import Home
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager
from tako.repositories.reference import parse_reference
from tests.sandbox.attacks.shot import (
    Attack,
    Shot,
    artifact,
    changed,
    collected,
    output,
    python,
    read_it,
    said_so,
    succeeded,
)
from tests.sandbox.attacks.targets import Range

_SWAPPING = r"""
out=$(dirname "$KEY")
mkdir -p d/below
for n in 1 2 3 4 5 6 7 8; do mkdir -p deep$n/a/b/c; done
(setsid sh -c '
  trap "" TERM HUP
  while :; do
    for n in 1 2 3 4 5 6 7 8; do
      mv deep$n/a aside && ln -s "$0" deep$n/a
      rm -f deep$n/a; mv aside deep$n/a
    done
    mv d e && ln -s "$0" d
    rm -f d; mv e d
  done
' "$out" > /dev/null 2>&1 &)
until test -L d; do :; done
"""
_GIT = r"""
cd "$CHECKOUT"
mkdir -p .git/hooks .git/info .git/refs .git/objects
run=$PWD/.git/run.sh
printf '#!/bin/sh\ntouch "%s"\ncat\n' "$PLANTED" > $run
chmod 755 $run
for hook in post-checkout pre-commit reference-transaction post-index-change pre-auto-gc; do
  cp $run .git/hooks/$hook
done
echo 'ref: refs/heads/main' > .git/HEAD
{
  echo '[core]'
  for key in fsmonitor sshCommand pager editor askPass gitProxy; do echo "$key = $run"; done
  echo '[filter "evil"]'
  for key in clean smudge process; do echo "$key = $run"; done
  printf '[uploadpack]\npackObjectsHook = %s\n[diff]\nexternal = %s\n' $run $run
  printf '[credential]\nhelper = !%s\n' $run
} > .git/config
echo '* filter=evil diff=evil' > .gitattributes
cp .gitattributes .git/info/attributes
"""


def _gits_own_use_runs_it(scene: Range, _: Shot) -> bool:
    """Everything that tako does with a checkout in the cache; its tako.yml is not the attacker's."""
    (scene.checkout / "tako.yml").write_text("version: 0.1.0\nworkflows: {w: {steps: [{run: 'true'}]}}\n")
    home = Home(scene.directory / "tako")
    cache = Cache(
        home, Settings(), LockManager(home.cache, 30.0, lambda _: None), local=True, on_note=lambda _: None
    )
    list(cache.discover("acme/lib", "default", "built"))
    resolved = cache.resolve(parse_reference("acme/dep"))
    cache.read_config_bytes(resolved)
    assert (Path(cache.snapshot(resolved)) / "tako.yml").exists()
    return scene.planted.exists()


ATTACKS = (
    Attack("read an ssh key", 'cat "$KEY"', read_it),
    Attack(
        "read it by `..` from the workspace",
        'cat "./../../../../../../../../../../../../../../..$KEY"',
        read_it,
    ),
    Attack("read it through a link in the workspace", 'ln -s "$KEY" link && cat link', read_it),
    Attack("read it through `/proc/PID/root`", 'cat "/proc/$VICTIM/root$KEY"', read_it),
    Attack("read it through `/proc/PID/cwd`", "cat /proc/$VICTIM/cwd/home/.ssh/id_ed25519", read_it),
    Attack("make a hard link to it", 'ln "$KEY" mine; exit 1', changed(lambda scene: scene.key)),
    Attack("change a login script of the user", 'echo x >> "$PROFILE"', changed(lambda scene: scene.profile)),
    Attack("read another child's workspace", 'cat "$NEIGHBOUR"', read_it),
    Attack("change another child's workspace", 'echo x > "$NEIGHBOUR"', changed(lambda s: s.neighbour)),
    Attack("read another repository in the cache", 'cat "$CACHED"', read_it),
    Attack("change the cache", 'echo x > "$CACHED"', changed(lambda scene: scene.cached)),
    Attack("read its own journal", 'grep -c RunStarted "$JOURNAL" && echo got through', said_so),
    Attack("open its own journal for writing", ': >> "$JOURNAL" && echo got through', said_so),
    Attack("open tako's own files for writing", ': >> "$TAKO" && echo got through', said_so),
    Attack(
        "hooks, filters and configuration in a checkout of the cache, for tako's own git",
        _GIT,
        _gits_own_use_runs_it,
    ),
    Attack(
        "links out of the workspace, for its removal",
        'ln -s "$(dirname "$KEY")" d; ln -s "$KEY" f; mkdir e; ln -s "$(dirname "$KEY")" e/d',
        changed(lambda scene: scene.key),
    ),
    Attack(
        "directories and links swapped all the time until its removal",
        _SWAPPING,
        changed(lambda scene: scene.key),
    ),
    Attack("an output that is a link to a file outside", 'ln -s "$KEY" out', read_it, output("out")),
    Attack(
        "an output behind a linked directory", 'ln -s "$(dirname "$KEY")" d', read_it, output("d/id_ed25519")
    ),
    Attack("an artifact that is a link to a file outside", 'ln -s "$KEY" out', collected, artifact("out")),
    Attack(
        "an artifact behind a linked directory", 'ln -s "$(dirname "$KEY")" d', collected, artifact("d/*")
    ),
    Attack("an output that is a FIFO", "mkfifo out", succeeded, output("out")),
    Attack("an artifact that is a FIFO", "mkfifo out", succeeded, artifact("out")),
    Attack("an output that is a device", "mknod out c 1 5 || ln -s /dev/zero out", succeeded, output("out")),
    Attack(
        "an artifact that is a device", "mknod out c 1 5 || ln -s /dev/zero out", succeeded, artifact("out")
    ),
    Attack("an output that is a whiteout", "mknod out c 0 0", succeeded, output("out")),
    Attack("an artifact that is a whiteout", "mknod out c 0 0", succeeded, artifact("out")),
    Attack("an output that the step has removed", "rm tracked", read_it, output("tracked")),
    Attack("an artifact that the step has removed", "rm tracked", collected, artifact("*")),
    Attack(
        "an output that has no end",
        f"head -c {OUTPUT_MAX + 1} /dev/zero > out",
        succeeded,
        output("out"),
    ),
    Attack(
        "change a setting of the kernel (/proc/sys)",
        "held=$(cat /proc/sys/vm/swappiness); echo $held > /proc/sys/vm/swappiness && echo got through",
        said_so,
    ),
    Attack(
        "open a disk or the machine's memory (/dev)",
        python(
            "for path in ('/dev/mem', '/dev/kmsg', '/proc/kcore', *('/dev/' + n for n in os.listdir('/dev')\n"
            "             if n.startswith(('sd', 'vd', 'nvme', 'loop', 'dm-')))):\n"
            "    try:\n"
            "        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))\n"
            "        print('got', 'through')\n"
            "    except OSError as error:\n"
            "        print(error)"
        ),
        said_so,
    ),
)
