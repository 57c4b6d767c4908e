"""`python -m tako`: the same as the `tako` command, without importing from the current directory."""

import sys

# With -m Python puts the current directory first: a `yaml.py` in it would run inside tako.
if not sys.flags.safe_path:
    del sys.path[0]

from tako.cli.main import main

main()
