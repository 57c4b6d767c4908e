#!/usr/bin/env bash
# cronsim 2.8 and croniter 7.0.0 (PyPI)
#
# "0 0 */10 * 1" names days of the month and a day of the week. For `*/10` cronsim, like the cron of Debian that it copies,
# wants both to hold (a Monday that is the 1st, 11th, 21st or 31st), croniter either. For `1-31/10`, the same days written
# otherwise, both libraries want either.
#
# A good engineer would guess: `*/10` and `1-31/10` are the same days, so each library treats the two alike.
# Seen: from June to August 2026: cronsim 1 time for `*/10`, 22 for `1-31/10`; croniter 22 for both.
#
# Why it matters: a schedule that a library shows for a crontab line is not what cron on the machine does: 22 starts
# in a quarter against one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check croniter==7.0.0 cronsim==2.8

cat > count.py <<'PY'
from datetime import datetime, timezone

from croniter import croniter
from cronsim import CronSim

start, end = datetime(2026, 6, 1, 12, tzinfo=timezone.utc), datetime(2026, 9, 1, tzinfo=timezone.utc)
for line in ["0 0 */10 * 1", "0 0 1-31/10 * 1"]:
    other = croniter(line, start)
    for library, following in [("cronsim", CronSim(line, start).__next__), ("croniter", lambda: other.get_next(datetime))]:
        times = 0
        while following() < end:
            times += 1
        print(line, library, times)
PY
venv/bin/python count.py | tee seen
diff - seen <<'EXPECTED'
0 0 */10 * 1 cronsim 1
0 0 */10 * 1 croniter 22
0 0 1-31/10 * 1 cronsim 22
0 0 1-31/10 * 1 croniter 22
EXPECTED
