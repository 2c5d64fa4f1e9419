"""Environments and runs from a seed: whatever the scripted cloud can play, in any mixture."""

from __future__ import annotations

import random
from typing import Any


def environment(chance: random.Random, name: str) -> list[dict[str, Any]]:
    """A DAG in any shape, its names in a catalog of the environment's own."""
    nodes: list[dict[str, Any]] = []
    for number in range(chance.randint(3, 11)):
        above = [node["name"] for node in nodes]
        node: dict[str, Any] = {
            "name": f'"{name}"."s"."m{number}"',
            "source_type": chance.choices(["sql", "python", "seed", "external"], [8, 2, 1, 1])[0],
            "parents": chance.sample(above, min(len(above), chance.choice([0, 1, 1, 2, 3]))),
            "audits": [f"audit_{audit}" for audit in range(chance.choice([0, 0, 1, 2]))],
        }
        if node["source_type"] in ("seed", "external"):
            node["parents"] = []
        if chance.random() < 0.1:
            node["parents"].append(f'"{name}"."elsewhere"."table"')
        nodes.append(node)
    for number in range(chance.choice([0, 0, 1, 2])):
        covered = chance.sample(nodes, min(len(nodes), chance.randint(1, 3)))
        nodes.append(
            {
                "name": f'"{name}"."s"."check{number}"',
                "source_type": "audit",
                "parents": [node["name"] for node in covered if node["source_type"] != "audit"],
            }
        )
    return nodes


def run(chance: random.Random, nodes: list[dict[str, Any]], run_id: str, live: bool) -> dict[str, Any]:
    """A run's description. It ends, and it does not end well with something open."""
    trouble = chance.choice([0.0, 0.15, 0.5])
    outcomes = {node["name"]: outcome(chance, node, trouble) for node in nodes if chance.random() < 0.8}
    if chance.random() < 0.5:
        # Seeds and external models are not part of a run, unless they are.
        outcomes = {
            name: fate
            for name, fate in outcomes.items()
            if next(node for node in nodes if node["name"] == name)["source_type"] not in ("seed", "external")
        }
    description: dict[str, Any] = {
        "id": run_id,
        "nodes": outcomes,
        "task_s": [0.05, 0.5] if live else [0.01, 0.1],
        "lanes": chance.randint(1, 6),
        "announced": chance.random() < 0.3,
    }
    is_open = any(fate == "open" or "open" in str(fate) for fate in outcomes.values())
    if is_open or chance.random() < trouble / 2:
        description["ends"] = chance.choice(
            [
                {"at_s": round(chance.uniform(0.05, 2.0 if live else 0.5), 3)},
                {"at_s": round(chance.uniform(0.05, 2.0 if live else 0.5), 3), "message": None},
                {"at_s": round(chance.uniform(0.3, 1.5), 3), "status": "aborted"},
                {"at_s": round(chance.uniform(0.3, 1.5), 3), "status": "vanished", "message": "gone"},
            ]
        )
    elif chance.random() < trouble / 2:
        description["ends"] = chance.choice([{"status": "success", "message": "but no"}, {"status": "aborted"}])
    return description


def outcome(chance: random.Random, node: dict[str, Any], trouble: float) -> Any:
    """What becomes of a node in a run."""
    if chance.random() < 0.2:
        return "none"
    if chance.random() < 0.15:
        return {**_batch(chance, node, trouble), "batches": _batches(chance, node, trouble)}
    fate = _batch(chance, node, trouble)
    if chance.random() < 0.1:
        fate["start_s"] = round(chance.uniform(0, 1.5), 3)
    fate["despite_upstream"] = chance.random() < 0.2
    return fate


def _batches(chance: random.Random, node: dict[str, Any], trouble: float) -> list[dict[str, Any]]:
    batches = [_batch(chance, node, trouble) for _ in range(chance.randint(2, 3))]
    if chance.random() < 0.3:
        batches[-1]["start_s"] = round(chance.uniform(1, 2), 3)
    return batches


def _batch(chance: random.Random, node: dict[str, Any], trouble: float) -> dict[str, Any]:
    status = "success"
    if chance.random() < trouble:
        status = chance.choice(["failed", "failed", "preempted", "aborted", "skipped", "parked", "open"])
    fate: dict[str, Any] = {"status": status}
    if status == "parked" and chance.random() < 0.5:
        fate["open"] = True
    if status == "failed" and chance.random() < 0.5:
        fate["message"] = None
    if status in ("success", "parked", "preempted") and chance.random() < trouble / 4:
        fate["message"] = "but"
    results = ["success", "failed", "none", *(["blocks"] if chance.random() < trouble else [])]
    if chance.random() < 0.5:
        fate["audits"] = {audit: chance.choice(results) for audit in node.get("audits", ())}
    if node["source_type"] == "audit":
        fate["record"] = chance.random() < 0.5
        fate["audits"] = {"*": chance.choice(results)}
    return fate
