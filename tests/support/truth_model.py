"""The table "The truth about a task", as a plain model: what Dagster should show for what the cloud says.

Written from the table alone, so that the executable and the package can be compared with it. It gets a run and its
evaluations as they are in the end, and says which outcomes are possible: a mirror that watches a run live may look at
it, or not, between two batches of a node, or before a node was evaluated at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

FINAL = ("success", "skipped", "failed", "preempted", "aborted")
STANDALONE = "audit"
RESULTS = ("passed", "WARN", "ERROR")  # the worse, the later


@dataclass(frozen=True)
class Told:
    """What is shown of one node. A check is its node, its audit, and `passed`, or the severity of its failure."""

    outcome: str
    materializations: tuple[str, ...] = ()
    checks: tuple[tuple[str, str, str], ...] = ()
    # Also by what came after the verdict.
    has_failed: bool = False

    @property
    def asset(self) -> str | None:
        """What its asset shows in the end; None: what it showed before. A run cannot fail what it has materialized."""
        if self.materializations:
            return "materialized"
        return "failed" if self.has_failed else None

    def and_late(self, later: Told) -> Told:
        """What comes after the verdict adds its events; the verdict stays."""
        return Told(
            self.outcome,
            self.materializations + later.materializations,
            tuple(sorted(self.checks + later.checks)),
            self.has_failed or later.has_failed,
        )


def shown(passed: bool, severity: str) -> str:
    """A check's result. That of one that passed has no severity worth a name."""
    return "passed" if passed else severity


def run_ended(run: dict[str, Any]) -> bool:
    return bool(run["end_at"]) or run["status"] in FINAL


def run_ended_well(run: dict[str, Any]) -> bool:
    return run_ended(run) and run["status"] in ("success", "skipped") and not run["error_message"]


class Model:
    """One run of an environment: `dag` as the API has it, `run` with its evaluations, ended."""

    def __init__(self, dag: dict[str, Any], run: dict[str, Any], announced: bool = False) -> None:
        self.nodes = {node["name"]: node for node in dag["nodes"]}
        self.run = run
        self.announced = announced
        self.evaluations: dict[str, list[dict[str, Any]]] = {}
        for evaluation in sorted(run["evaluations"], key=lambda one: str(one["start_at"])):
            self.evaluations.setdefault(evaluation["node_name"], []).append(evaluation)
        self.children: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for parent in node["parent_names"]:
                self.children.setdefault(parent, []).append(name)

    def possible(self, node: str) -> list[Told]:
        """What may be told of a node; one thing only, unless the looks at the run decide."""
        episodes = self._episodes(node)
        if not episodes:
            return [Told(self._without_evaluation(node))]
        found = [_together(self._told(node, group) for group in groups) for groups in _compositions(episodes)]
        if self._may_be_passed_by(node, episodes[0][0]):
            found += [Told("nothing_due").and_late(late) for late in found]
        return list(dict.fromkeys(found))

    def final(self, node: str) -> Told:
        """What is told of a node by a mirror that looks after the end."""
        evaluations = self.evaluations.get(node)
        return self._told(node, evaluations) if evaluations else Told(self._without_evaluation(node))

    def _told(self, node: str, evaluations: list[dict[str, Any]]) -> Told:
        """The rows of the table, for these evaluations of a node."""
        well = [one for one in evaluations if _is(one, "success")]
        outcome = self._outcome(evaluations)
        materializations: tuple[str, ...] = ()
        if outcome == "success" and well and not self._is_only_audited(node):
            materializations = (max(well, key=lambda one: one["end_at"] or "")["evaluation_id"],)
        checks = self._checks(node, evaluations) if outcome in ("success", "failure") else ()
        return Told(outcome, materializations, checks, has_failed=outcome == "failure")

    def _is_only_audited(self, node: str) -> bool:
        """Nothing is loaded into it by SQLMesh: it is never materialized."""
        return self._is_standalone(node) or self.nodes.get(node, {}).get("source_type") == "external"

    def _outcome(self, evaluations: list[dict[str, Any]]) -> str:
        if any(_failed(one) for one in evaluations):
            return "failure"
        if any(one["status"] in ("preempted", "aborted") for one in evaluations):
            return "failure"
        open_ones = [one for one in evaluations if not one["end_at"] and one["status"] not in FINAL]
        unclear = [one for one in evaluations if one["end_at"] and one["status"] not in FINAL]
        if open_ones or unclear:
            return "success" if run_ended_well(self.run) else "failure"
        if all(one["status"] == "skipped" for one in evaluations):
            return "nothing_due"
        return "success"

    def _without_evaluation(self, node: str) -> str:
        """No evaluation, in a run that has ended."""
        known = self.nodes.get(node)
        if known is None or known["source_type"] in ("seed", "external"):
            return "nothing_due"
        if run_ended_well(self.run) or any(self.evaluations.get(name) for name in self._descendants(node)):
            return "nothing_due"
        return "skipped"

    def _may_be_passed_by(self, node: str, first: dict[str, Any]) -> bool:
        """Whether there was a time when something downstream had started, and the node had no evaluation."""
        if self.announced or node not in self.nodes:
            return False
        if self.nodes[node]["source_type"] in ("seed", "external"):
            return True
        starts = [one["start_at"] for name in self._descendants(node) for one in self.evaluations.get(name, ())]
        return any(start and start < first["start_at"] for start in starts)

    def _descendants(self, node: str) -> set[str]:
        found: set[str] = set()
        path = list(self.children.get(node, ()))
        while path:
            name = path.pop()
            if name not in found:
                found.add(name)
                path += self.children.get(name, ())
        return found - {node}

    def _episodes(self, node: str) -> list[list[dict[str, Any]]]:
        """The node's evaluations, apart where there was a time in which none of those so far was open."""
        episodes: list[list[dict[str, Any]]] = []
        end: str | None = ""
        for one in self.evaluations.get(node, ()):
            if episodes and (end is None or one["start_at"] <= end or self.announced):
                episodes[-1].append(one)
            else:
                episodes.append([one])
            # A status that nobody knows stays unclear until the run has ended.
            is_clear = one["status"] in FINAL and one["end_at"]
            end = max(end, one["end_at"]) if end is not None and is_clear else None
        return episodes

    def _checks(self, node: str, evaluations: list[dict[str, Any]]) -> tuple[tuple[str, str, str], ...]:
        """Each audit once, the worst result of all evaluations."""
        worst: dict[tuple[str, str], str] = {}
        for one in evaluations:
            severity = "ERROR" if _failed(one) else "WARN"
            results = [(audit["name"], audit["status"] == "success") for audit in one["audits"]]
            if self._is_standalone(node):
                # Its evaluation is its result, also without a record of the audit.
                if not results and (_is(one, "success") or _failed(one)):
                    results = [(node, not _failed(one))]
                covered = [name for name in self.nodes[node]["parent_names"] if name in self.nodes]
                told = [((name, node), passed) for name in covered for _, passed in results]
            else:
                told = [((node, audit), passed) for audit, passed in results]
            for check, passed in told:
                result = shown(passed, severity)
                worst[check] = max(result, worst.get(check, result), key=RESULTS.index)
        return tuple(sorted((*check, result) for check, result in worst.items()))

    def _is_standalone(self, node: str) -> bool:
        return node in self.nodes and self.nodes[node]["type"] == STANDALONE


def end_of(outcome: str) -> str:
    """How the step of a task with this outcome ends."""
    return "success" if outcome == "nothing_due" else outcome


def steps(job: dict[str, list[str]], outcomes: dict[str, str]) -> dict[str, str | None]:
    """How each step ends under the mirror's executor; None: it is not executed. `job` has each node's parents."""
    found: dict[str, str | None] = {}

    def of(node: str) -> str | None:
        if node not in found:
            above = [of(parent) for parent in job[node]]
            if any(end in ("failure", None) for end in above):
                found[node] = None
            elif above and set(above) == {"skipped"}:
                # Dagster's own rule. It makes a difference only for what came or went since the job was loaded.
                found[node] = "skipped"
            else:
                found[node] = end_of(outcomes[node])
        return found[node]

    for node in job:
        of(node)
    return found


def _failed(evaluation: dict[str, Any]) -> bool:
    return evaluation["status"] == "failed" or bool((evaluation["error_message"] or "").strip())


def _is(evaluation: dict[str, Any], status: str) -> bool:
    return evaluation["status"] == status and not _failed(evaluation)


def _together(told: Iterable[Told]) -> Told:
    first, *later = told
    for late in later:
        first = first.and_late(late)
    return first


def _compositions(episodes: list[list[dict[str, Any]]]) -> Iterable[list[list[dict[str, Any]]]]:
    """All ways in which looks may fall between the episodes."""
    if len(episodes) == 1:
        yield episodes
        return
    first, second, *rest = episodes
    yield from _compositions([first + second, *rest])
    for others in _compositions([second, *rest]):
        yield [first, *others]
