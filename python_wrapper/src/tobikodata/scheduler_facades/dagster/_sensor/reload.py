"""Has Dagster's webserver load the code location again, so that added and removed models are seen."""

from __future__ import annotations

from threading import Thread
from typing import Any

import dagster as dg

from .._environment import Environment, GraphQL
from .._errors import TobikoFacadeError

TIME_LIMIT_S = 20.0
_READ_ONLY = (
    "the webserver at {} may not reload: it is read-only (--read-only). Give dagster_graphql_host and "
    "dagster_graphql_port of one that is not, or restart the code location"
)


def reload(context: dg.SensorEvaluationContext, environment: Environment) -> bool:
    """Whether the code location was loaded again. If not, the tick's log says why and what to do."""
    graphql = environment.graphql
    origin = context.code_location_origin
    if origin is None:
        context.log.warning(
            "models were added or removed, but this tick does not know its code location: reload it by hand"
        )
        return False
    name = origin.location_name
    if not graphql.host:
        context.log.info(
            f"models were added or removed: click Reload on code location {name}, or give SQLMeshEnterpriseDagster "
            "the dagster_graphql_host and dagster_graphql_port of Dagster's webserver to have it done"
        )
        return False
    if not origin.is_reload_supported:
        context.log.warning(
            f"models were added or removed, but Dagster cannot reload a code location like {name}: restart it"
        )
        return False
    trouble = _within(TIME_LIMIT_S, context.instance, environment, name)
    if trouble:
        context.log.warning(f"models were added or removed, but code location {name} was not reloaded: {trouble}")
        return False
    context.log.info(f"models were added or removed: code location {name} was reloaded")
    return True


def _within(limit_s: float, instance: dg.DagsterInstance, environment: Environment, location: str) -> str | None:
    """None if it worked. In a thread: the client's own limit is for each read, not for the whole."""
    answers: list[str | None] = []

    def work() -> None:
        trouble = _refresh(instance, environment)
        answers.append(trouble or _ask(environment.graphql, location, limit_s))

    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit_s)
    return answers[0] if answers else f"{_address(environment.graphql)} gave no answer within {limit_s:.0f} s"


def _refresh(instance: dg.DagsterInstance, environment: Environment) -> str | None:
    """None if what a component has stored is fresh now, or nothing is stored."""
    if environment.refresh_state is None:
        return None
    try:
        environment.refresh_state(instance)
    except TobikoFacadeError as error:
        return str(error)
    except Exception as error:  # a read-only file system, a bucket's client: the runs must go on
        cause = f"{type(error).__name__}: {str(error).strip()[:500]}"
        return f"its state could not be stored ({cause}): run `dg utils refresh-defs-state` where it is deployed from"
    return None


def _ask(graphql: GraphQL, location: str, limit_s: float) -> str | None:
    try:
        from dagster_graphql import DagsterGraphQLClient, ReloadRepositoryLocationStatus

        arguments: dict[str, Any] = {"timeout": int(limit_s), **graphql.kwargs}
        client = DagsterGraphQLClient(str(graphql.host), port_number=graphql.port, **arguments)
        answer = client.reload_repository_location(location)
    except KeyError as error:
        # The client expects a message, which a refusal has not.
        return _READ_ONLY.format(_address(graphql)) if error.args == ("message",) else _failure(graphql, error)
    except Exception as error:  # whatever the network or the user's arguments bring: the runs must go on
        return _failure(graphql, error)
    if answer.status == ReloadRepositoryLocationStatus.SUCCESS:
        return None
    return f"{answer.failure_type}: {str(answer.message).strip()[:500]}"


def _failure(graphql: GraphQL, error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{_address(graphql)}: {type(cause).__name__}: {str(cause).strip()[:500]}"


def _address(graphql: GraphQL) -> str:
    return f"{graphql.host}:{graphql.port}" if graphql.port else str(graphql.host)
