from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.bot.alerting.fakes import Desk, finding
from trainmaster.bot.core.alerts.alert import AlertState
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity

FINDINGS = st.builds(
    finding,
    check=st.sampled_from(["stalled", "process_died", "nonfinite", "run_gave_up", "clip_rate"]),
    key=st.sampled_from(["a", "b"]),
    severity=st.sampled_from(Severity),
    nature=st.sampled_from(Nature),
    ts=st.floats(1_700_000_000.0 - 500, 1_700_000_000.0 + 3000),
    title=st.sampled_from(["x", "y"]),
)
STEPS = st.lists(
    st.tuples(st.lists(FINDINGS, max_size=4), st.floats(0, 900), st.sampled_from(["", "send", "ack", "silence"])),
    max_size=10,
)


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_no_critical_alert_is_lost_and_no_resolution_comes_untold(
    steps: list[tuple[list[Finding], float, str]],
) -> None:
    desk = Desk()
    posted: set[str] = set()
    for findings, after_s, act in steps:
        desk.look(*findings, after_s=after_s)
        wanted = {row["key"] for row in desk.database.rows("SELECT key FROM messages")}
        silenced = bool(desk.pipeline.silences(desk.clock.ts))
        for alert in desk.pipeline.firing():
            if alert.finding.severity is Severity.CRITICAL and alert.finding.check == "process_died" and not silenced:
                assert alert.fingerprint in wanted or alert.resolved_ts is not None
        for key in wanted:
            stored = desk.records.get(key.partition("#")[0])
            assert stored is not None
            assert stored.alert.told
            if stored.alert.state is AlertState.RESOLVED and "#resolved" in key:
                assert key.partition("#")[0] in posted
        if act == "send":
            posted |= {key for key, _ in desk.send_all()}
        elif act and desk.pipeline.firing():
            target = desk.pipeline.firing()[0].fingerprint
            if act == "ack":
                desk.pipeline.ack(target, "U7", desk.clock.ts)
            else:
                desk.pipeline.silence(target, "U7", desk.clock.ts + 600, desk.clock.ts)
