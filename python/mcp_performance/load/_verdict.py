"""When the numbers of a run are about the target, and when about the generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Evidence", "judge"]

# Samples that a two-sided 95 % interval of the percentile needs (order statistics).
_SAMPLES = (("p95", 72), ("p99", 368), ("p99.9", 3688))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the judgement rests on besides the report. Times in seconds."""

    open_model: bool
    http: bool
    users: int
    threads: int = 1
    null_cost: float | None = None
    loop_lag_p99: float | None = None
    lag_is_ours: bool = False
    never_suspended: bool = False
    think: bool = False
    ramp: bool = False


def judge(report: dict[str, Any], evidence: Evidence) -> tuple[bool, str, tuple[str, ...]]:
    """Whether the run is valid, why (in one sentence), and what else to know."""
    reasons = [reason for reason in _reasons(report, evidence) if reason]
    notes = tuple(_notes(report, evidence))
    if reasons:
        return False, "; ".join(reasons), notes
    if report["successful"] == 0:
        return False, "no request succeeded", notes
    return (
        True,
        "the target was the limit, not the generator"
        if not evidence.open_model
        else ("the planned rate was held"),
        notes,
    )


def _reasons(report: dict[str, Any], evidence: Evidence) -> list[str]:
    service = report["service"] if evidence.open_model else report["response"]
    reasons = [_limit(report), _cpu(report, evidence)]
    if evidence.open_model:
        reasons += [_rate(report), _send_lag(report, service), _cap(report, evidence)]
    elif evidence.http:
        reasons.append(_little(report, evidence))
    if evidence.null_cost is not None and service.count:
        share = evidence.null_cost / max(service.percentile(50), 1e-9)
        if share > 0.2:
            reasons.append(
                f"generator-limited: calling nothing costs {evidence.null_cost * 1e6:.2g} us, "
                f"{min(share, 1):.0%} of the median service time"
            )
    reasons.append(_loop_lag(evidence, service))
    return reasons


def _loop_lag(evidence: Evidence, service: Any) -> str:
    """The rule is for callables, whose loop may be theirs or not; an ASGI app owns the loop it runs on."""
    lag = evidence.loop_lag_p99
    if not evidence.lag_is_ours or lag is None or evidence.never_suspended or not service.count:
        return ""
    if lag <= 0.1 * service.percentile(50):
        return ""
    return (
        f"the event loop was late by {lag * 1e3:.2g} ms (p99): "
        "times include waiting for the loop that the generator shares with the target"
    )


def _limit(report: dict[str, Any]) -> str:
    if not report["generator_limit"]:
        return ""
    parked = report["parked_users"]
    users = f"; {parked:,} users never got a connection" if parked else ""
    return f"generator-limited: {report['generator_limit']}{users}"


def _cpu(report: dict[str, Any], evidence: Evidence) -> str:
    if not evidence.http or report["elapsed"] < 0.01:
        return ""
    busy = report["generator_cpu"] / report["elapsed"]
    return f"generator-limited: its thread used {min(busy, 1):.0%} of a core" if busy > 0.8 else ""


def _rate(report: dict[str, Any]) -> str:
    ended = report["successful"] + report["failed"] + report["abandoned"]
    planned = ended + report["not_sent"]
    sent = ended / planned if planned else 0.0
    pace = min(1.0, report["last_due"] / report["last_sent"]) if report["last_sent"] > 0.1 else 1.0
    achieved = sent * pace
    return f"only {achieved:.1%} of the planned rate was achieved" if achieved < 0.99 else ""


def _send_lag(report: dict[str, Any], service: Any) -> str:
    lag = report["send_lag"].percentile(99)
    allowed = max(1e-3, 0.05 * service.percentile(50))
    return f"generator-limited: requests were sent {lag * 1e3:.2g} ms late (p99)" if lag > allowed else ""


def _cap(report: dict[str, Any], evidence: Evidence) -> str:
    total = report["successful"] + report["failed"]
    share = report["waited_for_user"] / total if total else 0.0
    if share <= 0.01:
        return ""
    return (
        f"{share:.1%} of the requests waited because {evidence.users} were in flight already: "
        "raise concurrent_users"
    )


def _little(report: dict[str, Any], evidence: Evidence) -> str:
    """N = X R: a closed loop without think time keeps every user in a request."""
    total = report["successful"] + report["failed"]
    if evidence.ramp or evidence.think or report["elapsed"] <= 0 or total < 20 * evidence.users:
        return ""
    inside = report["busy"] / report["elapsed"]
    if report["errors"] and report["failed"] > 0.01 * total:
        return ""  # users that back off from a target that refuses them are idle on purpose
    if inside >= 0.8 * evidence.users:
        return ""
    return f"generator-limited: {inside:.1f} of {evidence.users} users were in a request on average"


def _notes(report: dict[str, Any], evidence: Evidence) -> list[str]:
    notes = []
    count = report["response"].count
    short = [f"{name} (needs {needed:,})" for name, needed in _SAMPLES if 0 < count < needed]
    if short:
        notes.append(f"{count:,} samples are too few for {', '.join(short)}")
    if evidence.never_suspended and evidence.users > 1:
        notes.append(
            f"the target never waits for anything, so its {evidence.users} users took turns: "
            "one call ran at a time"
        )
    if evidence.http is False and not evidence.lag_is_ours and evidence.loop_lag_p99 is not None:
        median = report["response"].percentile(50)
        if count and evidence.loop_lag_p99 > median:
            notes.append(
                "the event loop, which target and generator share, "
                f"was late by {evidence.loop_lag_p99 * 1e3:.2g} ms (p99)"
            )
    if report["abandoned"]:
        notes.append(f"{report['abandoned']:,} requests were in flight when the run was stopped")
    if report["not_sent"]:
        notes.append(f"{report['not_sent']:,} requests were due and never sent")
    return notes
