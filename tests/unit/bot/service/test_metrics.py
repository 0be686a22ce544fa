"""The page of numbers: in Prometheus' format, never old, and an address that is taken is told."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clocks import SetClock
from tests.support.ports import free_port
from tests.unit.bot.core.test_metrics import critical, sight, view
from trainmaster.bot.core.metrics import Family, families
from trainmaster.bot.errors import TrainmasterError
from trainmaster.bot.service.metrics import MAX_AGE_S, MetricsPage, rendered, shown

DOCS = Path(__file__).parents[4] / "docs"
OURS = re.compile(r"trainmaster_[a-z0-9_]+")
SOME = (Family(name="trainmaster_x", about="X.", samples={(): 1.0}),)
RULES_TEST = f"""
rule_files: [{DOCS / "prometheus-rules.yml"}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'up{{job="trainmaster"}}', values: '1x30'}}
      - {{series: 'trainmaster_run_state{{run="n1", name="night", state="training"}}', values: '1x10 stale'}}
      - {{series: 'trainmaster_run_state{{run="n1", name="night", state="gave up"}}', values: '_x10 1x10'}}
      - {{series: 'trainmaster_run_state{{run="o1", name="old", state="crashed"}}', values: '1x30'}}
      - {{series: 'trainmaster_run_state{{run="r1", name="redo", state="starting"}}', values: '1x3 stale'}}
      - {{series: 'trainmaster_run_state{{run="r1", name="redo", state="refused"}}', values: '_x3 1x10 stale'}}
      - {{series: 'trainmaster_run_bad_batches{{run="y1", name="young"}}', values: '_x5 0+3x25'}}
      - {{series: 'trainmaster_run_bad_batches{{run="b1", name="back"}}', values: '50x9 0x10 20x11'}}
      - {{series: 'trainmaster_run_bad_batches{{run="a1", name="partly back"}}', values: '50x9 40x21'}}
      - {{series: 'trainmaster_run_bad_batches{{run="s1", name="known late"}}', values: '_x9 60x21'}}
      - {{series: 'trainmaster_delivery_oldest_age_seconds', values: '0+120x30'}}
    alert_rule_test:
      - eval_time: 2m
        alertname: TrainingEnded
        exp_alerts: []
      - eval_time: 5m
        alertname: TrainingEnded
        exp_alerts:
          - exp_labels: {{severity: critical, run: r1, name: redo, state: refused}}
            exp_annotations: {{summary: "redo: refused"}}
      - eval_time: 8m
        alertname: TrainingBatchesBad
        exp_alerts: []
      - eval_time: 12m
        alertname: TrainingBatchesBad
        exp_alerts:
          - exp_labels: {{severity: warning, run: y1, name: young}}
            exp_annotations: {{summary: "young: 21 bad batches in 15 minutes"}}
      - eval_time: 22m
        alertname: TrainingBatchesBad
        exp_alerts:
          - exp_labels: {{severity: warning, run: y1, name: young}}
            exp_annotations: {{summary: "young: 45 bad batches in 15 minutes"}}
          - exp_labels: {{severity: warning, run: b1, name: back}}
            exp_annotations: {{summary: "back: 20 bad batches in 15 minutes"}}
      - eval_time: 15m
        alertname: TrainingEnded
        exp_alerts:
          - exp_labels: {{severity: critical, run: n1, name: night, state: gave up}}
            exp_annotations: {{summary: "night: gave up"}}
      - eval_time: 5m
        alertname: TrainmasterMessagesWaiting
        exp_alerts: []
      - eval_time: 12m
        alertname: TrainmasterMessagesWaiting
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations:
              summary: A message has waited for Slack for more than 15 minutes
              description: Alerts may not reach anybody. trainmaster doctor says what is wrong.
"""
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool: apt-get install prometheus")


def samples(text: bytes) -> dict[str, dict[tuple[str, ...], float]]:
    """By name, then by label values."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            found.setdefault(one.name, {})[tuple(one.labels.values())] = one.value
    return found


async def get(port: int, path: str = "/metrics") -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.read()


def test_every_family_can_be_read_back_and_untrusted_text_stays_a_label() -> None:
    odd = 'q"\\{} 7\ntrainmaster_forged 1\n\udcff'
    told = families(sight(view("night"), view(odd), alerts=(critical("1"),)))
    found = samples(rendered(told))
    assert {one.name for one in told if one.samples} == set(found)
    for one in told:
        order = sorted(range(len(one.labels)), key=one.labels.__getitem__)  # the library orders labels by name
        given = {tuple(values[place] for place in order): number for values, number in one.samples.items()}
        assert given == found.get(one.name, {})


@needs_promtool
def test_promtool_finds_nothing_to_say_of_the_page() -> None:
    text = rendered(families(sight(view("night"), alerts=(critical("1"),))))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_the_page_shows_what_was_last_collected_and_asks_for_nothing() -> None:
    collected = 0

    def collect() -> tuple[Family, ...]:
        nonlocal collected
        collected += 1
        return SOME

    port = free_port()
    page = MetricsPage(("127.0.0.1", port), collect)
    await page.start()
    try:
        assert (await get(port))[0] == 503
        await page.refresh()
        for _ in range(3):
            assert samples((await get(port))[1]) == {"trainmaster_x": {(): 1.0}}
        assert collected == 1
        assert (await get(port, "/"))[0] == 404
    finally:
        await page.close()
        await page.close()
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(port)


async def test_old_numbers_are_refused_and_a_failed_collection_changes_nothing() -> None:
    port, clock = free_port(), SetClock()
    answers: Iterator[Any] = iter([SOME, None, SOME])
    page = MetricsPage(("127.0.0.1", port), lambda: next(answers), monotonic=clock)
    await page.start()
    try:
        await page.refresh()
        with pytest.raises(TypeError):
            await page.refresh()
        clock.pass_s(MAX_AGE_S)
        assert (await get(port))[0] == 200
        clock.pass_s(1.0)
        status, text = await get(port)
        assert (status, text[:11]) == (503, b"metrics-old")
        await page.refresh()
        assert (await get(port))[0] == 200
    finally:
        await page.close()


async def test_a_port_in_use_and_an_address_of_another_host_are_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            TrainmasterError, match=rf"METRICS_ADDRESS 127\.0\.0\.1:{port} can't be listened on: .*in use"
        ):
            await MetricsPage(("127.0.0.1", port), lambda: SOME).start()
    with pytest.raises(TrainmasterError, match=r"192\.0\.2\.1:9464 can't be listened on"):
        await MetricsPage(("192.0.2.1", 9464), lambda: SOME).start()


@pytest.mark.parametrize(
    ("address", "text"), [(("127.0.0.1", 9464), "127.0.0.1:9464"), (("::1", 9464), "[::1]:9464")], ids=["four", "six"]
)
def test_an_address_is_shown_as_it_is_written(address: tuple[str, int], text: str) -> None:
    assert shown(address) == text


def test_the_library_is_loaded_only_where_numbers_are_wanted() -> None:
    code = "import sys, trainmaster.bot.app; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("page", ["grafana.json", "prometheus-rules.yml"])
def test_what_the_dashboard_and_the_rules_name_is_there(page: str) -> None:
    named = set(OURS.findall((DOCS / page).read_text(encoding="utf-8")))
    assert len(named) >= 8
    assert named <= {one.name for one in families(sight())}


def test_every_number_is_explained_in_the_docs() -> None:
    text = (DOCS / "running.md").read_text(encoding="utf-8")
    assert [one.name for one in families(sight()) if f"`{one.name.removeprefix('trainmaster_')}`" not in text] == []


def test_every_panel_of_the_dashboard_asks_for_something_in_a_place_of_its_own() -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    rules = DOCS / "prometheus-rules.yml"
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"].replace("$name", ".*") for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_rules_fire_for_what_they_are_for_and_stay_quiet_before(tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    file.write_text(RULES_TEST, encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
