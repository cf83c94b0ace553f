"""What a run is worth: one word, a sentence that says why, and notes.

The rules compare what the generator added to the times with the percentiles that are printed. Nothing
is subtracted: a part that is small enough is left in, and one that is not makes the run invalid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .._base._durations import short
from .._core import LoadHistogram
from ._stalls import Gap, Standing, stood_still

__all__ = ["Evidence", "Judgement", "Verdict", "judge", "nothing_answered"]

Verdict = Literal["ok", "stalled", "failures", "generator-limited", "partial"]

# Samples that a two-sided 95 % interval of the percentile needs (order statistics).
_SAMPLES = (("p95", 72), ("p99", 368), ("p99.9", 3688))

# What the generator may add to a percentile: this share of it, or this long.
_SHARE, _ALWAYS = 0.1, 100e-6
_PERCENTILES = (50.0, 95.0, 99.0)
_FEWEST_LOOKS = 20
# Lateness is taken at so many of its percentiles, and the percentile it makes searched for in so many steps.
_AMOUNTS, _HALVINGS = 50, 24
# What a process that would always compute, if it could, computes and waits for.
_ALWAYS_BUSY = 0.8
_MOST_FAILURES = 0.01
_NOTHING_STANDS = Standing()
# Ends without an answer: of a connection, or of the time.
_NO_ANSWER = (
    "timeout",
    "connect",
    "no answer",
    "no response",
    "no such socket",
    "host unreach",
    "socket:",
    "TLS:",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the judgement rests on besides the report. Times in seconds."""

    open_model: bool
    http: bool
    apart: bool = False
    users: int
    threads: int = 1
    null_cost: float | None = None
    late: LoadHistogram | None = None
    """How late the generator came round to what it had planned, for want of the processor."""
    late_total: float = 0.0
    cpu: float = 0.0
    """Processor time of this process, where the target is part of it."""
    foreign: bool = False
    """Calls on threads share the interpreter with a thread that was busy before the run."""
    throttled: float = 0.0
    never_suspended: bool = False
    think: bool = False
    ramp: bool = False
    stalls: Sequence[Gap] = ()
    standing: Standing = _NOTHING_STANDS
    """Without an arrival rate: requests that held up their users, which the times of others hide."""
    interrupted: bool = False
    aborted: bool = False
    lost: Sequence[str] = ()
    failures_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """``verdict`` in one word, ``reason`` in a sentence."""

    verdict: Verdict
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return self.verdict == "ok"


def judge(report: dict[str, Any], evidence: Evidence) -> Judgement:
    """What the run is worth. Of several reasons, the first names the verdict."""
    found: list[tuple[Verdict, str]] = []
    if evidence.interrupted:
        found.append(("partial", "the run was interrupted"))
    if evidence.aborted:
        found.append(("partial", "a threshold that could not hold any more ended the run"))
    for lost in evidence.lost:
        found.append(("partial", lost))
    if not report["successful"]:
        found.append(("failures", _without_success(report)))
    if limit := _limit(report):
        found.append(("generator-limited", limit))
    added: list[tuple[Verdict, str]] = [
        ("generator-limited", reason) for reason in _added(report, evidence) if reason
    ]
    stalled: list[tuple[Verdict, str]] = [("stalled", reason) for reason in _held_up(evidence) if reason]
    found += [*stalled, *added] if _is_the_targets(evidence) else [*added, *stalled]
    if report["successful"] and not evidence.failures_allowed and (failed := _failed(report)):
        found.append(("failures", failed))
    unsent: list[tuple[Verdict, str]] = [
        ("generator-limited", reason) for reason in _not_sent(report, evidence) if reason
    ]
    found += unsent
    notes = tuple(_notes(report, evidence))
    if found:
        return Judgement(found[0][0], "; ".join(reason for _, reason in found), notes)
    held = "the planned rate was held"
    return Judgement(
        "ok", held if evidence.open_model else "the target was the limit, not the generator", notes
    )


def nothing_answered(errors: Mapping[str, int]) -> bool:
    """Whether all *errors* are those of a target that was not there, or said nothing."""
    return bool(errors) and all(kind.startswith(_NO_ANSWER) for kind in errors)


def _without_success(report: dict[str, Any]) -> str:
    kinds = ", ".join(list(report["errors"])[:3])
    what = "no request was answered" if nothing_answered(report["errors"]) else "no request succeeded"
    return f"{what} ({kinds})" if kinds else what


def _failed(report: dict[str, Any]) -> str:
    total = report["successful"] + report["failed"]
    share = report["failed"] / total
    if share <= _MOST_FAILURES:
        return ""
    return f"{share:.1%} of {total:,} requests failed"


def _is_the_targets(evidence: Evidence) -> bool:
    """Whether the stalls are longer than what the generator was late by. Over HTTP what it slept
    through is no gap to begin with."""
    if evidence.http:
        return True
    return sum(length for _, length, _ in evidence.stalls) > 2 * evidence.late_total


def _held_up(evidence: Evidence) -> list[str]:
    """Where all users waited, or some of them for too much of their time."""
    if evidence.stalls:
        return [_stalled(evidence.stalls)]
    standing = evidence.standing
    if standing.share <= _SHARE:
        return []
    return [
        f"single users waited while others were answered, {standing.share:.0%} of the time of all of them: "
        f"{standing.count:,} requests took over ten times their P99, up to {short(standing.longest)}"
    ]


def _stalled(stalls: Sequence[Gap]) -> str:
    longest = max(stalls, key=lambda gap: gap[1])
    times = "once" if len(stalls) == 1 else f"{len(stalls)} times"
    total = sum(length for _, length, _ in stalls)
    return (
        f"nothing was answered {times} while users waited, for {short(total)} in all, "
        f"the longest {short(longest[1])} from second {longest[0]:.1f} on"
    )


def _added(report: dict[str, Any], evidence: Evidence) -> list[str]:
    """What the generator itself added to the figures."""
    service = report["service"] if evidence.open_model else report["response"]
    reasons = [_cpu(report, evidence), _throttled(report, evidence)]
    if evidence.foreign:
        reasons.append("generator-limited: another thread of this process was busy before the run")
    if evidence.open_model:
        reasons.append(
            _too_late(report["send_lag"], report["response"], "requests were sent {late} late (p{percent:g})")
        )
    elif evidence.http:
        reasons.append(_little(report, evidence))
    if evidence.null_cost is not None and service.count:
        share = _share_of_median(evidence.null_cost, service)
        if share > _SHARE and evidence.null_cost > _ALWAYS:
            reasons.append(
                f"generator-limited: calling nothing costs {short(evidence.null_cost)}, "
                f"{min(share, 1):.0%} of the median service time"
            )
    if evidence.late is not None:
        where = "the generator" if evidence.http else "the event loop"
        text = where + " was late by {late} (p{percent:g}) for want of the processor"
        reasons.append(_too_late(evidence.late, service, text) or _stolen(report, evidence, service, where))
    return reasons


def _share_of_median(cost: float, service: LoadHistogram) -> float:
    return cost / max(service.percentile(50), 1e-9)


def _too_late(late: LoadHistogram, times: LoadHistogram, text: str) -> str:
    """The first percentile of *times* of which *late* is too large a part."""
    if late.count < _FEWEST_LOOKS or not times.count:
        return ""
    for percent in _PERCENTILES:
        if late.count * (1 - percent / 100) < 3:
            break  # too few looks to tell
        added = _added_to(late, times, percent)
        if added > _ALWAYS and added > _SHARE * times.percentile(percent):
            late_by = max(added, late.percentile(percent))
            return "generator-limited: " + text.format(late=short(late_by), percent=percent)
    return ""


def _added_to(late: LoadHistogram, times: LoadHistogram, percent: float) -> float:
    """By how much the percentile of *times* would grow if as much lateness once more came upon them.

    Lateness comes when it comes, not when an answer is slow: one look in a hundred that is late by much
    does not move the P99 by as much.
    """
    if late.max <= _ALWAYS:
        return 0.0
    amounts = [late.percentile(100 * (step + 0.5) / _AMOUNTS) for step in range(_AMOUNTS)]
    before = times.percentile(percent)
    wanted = times.count * percent / 100 * _AMOUNTS
    low, high = before, before + late.max
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # Up to the resolution of the histogram, within which a value counts as reached.
        reached = middle * (1 + 1e-3)
        if sum(times.count_at_most(max(0.0, reached - amount)) for amount in amounts) >= wanted:
            high = middle
        else:
            low = middle
    return max(0.0, high - before)


def _stolen(report: dict[str, Any], evidence: Evidence, times: LoadHistogram, where: str) -> str:
    """Time in which the generator did not run is missing from its throughput, and is in the mean."""
    late = evidence.late
    elapsed = report["elapsed"]
    if elapsed < 0.05 or late is None:
        return ""
    share = evidence.late_total / elapsed
    computes = evidence.cpu + evidence.late_total > _ALWAYS_BUSY * elapsed
    if share <= _SHARE or not (computes or late.mean > max(_ALWAYS, _SHARE * times.mean)):
        return ""
    return f"generator-limited: {where} had to wait for the processor {min(share, 1):.0%} of the time"


def _throttled(report: dict[str, Any], evidence: Evidence) -> str:
    if report["elapsed"] < 0.05 or evidence.throttled <= _SHARE * report["elapsed"]:
        return ""
    return f"generator-limited: its CPU quota ran out for {short(evidence.throttled)}"


def _not_sent(report: dict[str, Any], evidence: Evidence) -> list[str]:
    """Load that was planned and could not be made, because the target kept every user busy."""
    return [_rate(report), _cap(report, evidence)] if evidence.open_model else []


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
    if evidence.stalls:
        return ""  # a request of the warm-up may be held up beyond it, and is no part of the figures
    inside = report["busy"] / report["elapsed"]
    if report["errors"] and report["failed"] > 0.01 * total:
        return ""  # users that back off from a target that refuses them are idle on purpose
    if inside >= 0.8 * evidence.users:
        return ""
    return f"generator-limited: {inside:.1f} of {evidence.users} users were in a request on average"


def _notes(report: dict[str, Any], evidence: Evidence) -> list[str]:
    notes = []
    response = report["response"]
    count = response.count
    short_of = [f"{name} (needs {needed:,})" for name, needed in _SAMPLES if 0 < count < needed]
    if short_of and report["successful"]:
        notes.append(f"{count:,} samples are too few for {', '.join(short_of)}")
    alone = 0 if _held_up(evidence) or not count else stood_still(response)
    if alone:
        notes.append(
            f"{alone:,} requests took over ten times the P99, up to {short(response.max)}, while others were "
            "answered: no percentile up to p99 shows them"
        )
    if not evidence.http and not evidence.apart:
        notes.append("target and generator share the machine, and this process")
    if evidence.null_cost is not None and count and _share_of_median(evidence.null_cost, response) > _SHARE:
        share = min(_share_of_median(evidence.null_cost, response), 1)
        notes.append(f"calling nothing costs {short(evidence.null_cost)}, {share:.0%} of the median")
    if evidence.never_suspended and evidence.users > 1:
        notes.append(
            f"the target never waits for anything, so its {evidence.users} users took turns: "
            "one call ran at a time"
        )
    if report["abandoned"]:
        notes.append(f"{report['abandoned']:,} requests were in flight when the run was stopped")
    if report["not_sent"]:
        notes.append(f"{report['not_sent']:,} requests were due and never sent")
    return notes
