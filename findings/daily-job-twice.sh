#!/usr/bin/env bash
# croniter 7.0.0, cronsim 2.8 (PyPI), croner 11.0.1, cron-parser 5.10.6 (npm)
#
# "30 2 * * *" in Europe/Berlin on 25 October 2026, when the clock goes back from 3:00 to 2:00: croniter gives two times,
# 02:30+02:00 and 02:30+01:00, the three others one. In spring, when 2:30 does not exist, cron-parser gives 3:30 and the
# three others 3:00.
#
# A good engineer would guess: a daily job has one time a day, and libraries for crontab lines agree on which.
# Seen: see EXPECTED (in UTC).
#
# Why it matters: a nightly release over all repositories is started twice in one night a year.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check croniter==7.0.0 cronsim==2.8 tzdata==2025.2
npm install --silent --no-audit --no-fund --prefix "$folder" croner@11.0.1 cron-parser@5.10.6

cat > times.py <<'PY'
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim

for name, start, end in [("autumn", (2026, 10, 24, 12), (2026, 10, 25, 12)), ("spring", (2026, 3, 28, 12), (2026, 3, 29, 12))]:
    zone = ZoneInfo("Europe/Berlin")
    first, last = datetime(*start, tzinfo=zone), datetime(*end, tzinfo=zone)
    other = croniter("30 2 * * *", first)
    for library, following in [("croniter", lambda: other.get_next(datetime)), ("cronsim", CronSim("30 2 * * *", first).__next__)]:
        times = []
        while (time := following()) < last:
            times.append(time.astimezone(timezone.utc).strftime("%H:%M"))
        print(name, library, *times)
PY
cat > times.js <<'JS'
const { Cron } = require("croner");
const { CronExpressionParser } = require("cron-parser");
const zone = "Europe/Berlin";
for (const [name, start, end] of [["autumn", "2026-10-24T10:00Z", "2026-10-25T11:00Z"], ["spring", "2026-03-28T11:00Z", "2026-03-29T10:00Z"]]) {
  const parsed = CronExpressionParser.parse("30 2 * * *", { currentDate: new Date(start), tz: zone });
  const three = [parsed.next().toDate(), parsed.next().toDate(), parsed.next().toDate()];
  for (const [library, times] of [["croner", new Cron("30 2 * * *", { timezone: zone }).nextRuns(3, new Date(start))], ["cron-parser", three]])
    console.log(name, library, ...times.filter((time) => time < new Date(end)).map((time) => time.toISOString().slice(11, 16)));
}
JS
{ venv/bin/python times.py; node times.js; } | LC_ALL=C sort | tee seen
diff - seen <<'EXPECTED'
autumn cron-parser 00:30
autumn croner 00:30
autumn croniter 00:30 01:30
autumn cronsim 00:30
spring cron-parser 01:30
spring croner 01:00
spring croniter 01:00
spring cronsim 01:00
EXPECTED
