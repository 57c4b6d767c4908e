"""The table of attacks in docs/sandbox.md: read, and written anew."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from tests.sandbox.attacks.catalogue import ATTACKS
from tests.sandbox.attacks.outcomes import IN_NAMESPACES, STOPPED, outcome
from tests.support.isolations import LEVELS, isolation

PAGE = Path(__file__).parents[3] / "docs" / "sandbox.md"
BEGIN, END = "<!-- attacks: begin -->\n", "<!-- attacks: end -->\n"


@cache
def documented() -> dict[str, dict[str, str]]:
    """What the page says came of each attack, by level."""
    rows = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0]: dict(zip(LEVELS, row[1:], strict=True)) for row in cells}


def observed() -> str:
    """Run all attacks at all levels and give the table."""
    lines = [f"| what the step tries | {' | '.join(f'`{level}`' for level in LEVELS)} |"]
    lines += ["|---" * (1 + len(LEVELS)) + "|"]
    for attack in ATTACKS:
        cells = []
        for level in LEVELS:
            with tempfile.TemporaryDirectory() as directory:
                word = outcome(attack, isolation(level), Path(directory)).word
            cells.append(IN_NAMESPACES if word == STOPPED and level in attack.by_namespaces else word)
        lines.append(f"| {attack.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + observed() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
