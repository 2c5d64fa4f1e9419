"""The component: one SQLMesh environment in a `dg` project, declared in YAML.

Its state is the manifest, which a refresh asks the cloud for. What is declared from it, is declared as
`create_definitions` does.
"""

# Annotations are read at run time, by Dagster: they are no text, and Optional is not written as `|` on Python 3.9.
import asyncio
import copy
import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union, cast
from urllib.parse import urlsplit

from pydantic import Field

import dagster as dg
from dagster.components import DefsStateConfig, DefsStateConfigArgs, ResolvedDefsStateConfig
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver

from .._definitions.load import DefinitionsOf
from .._errors import TobikoFacadeError
from .._facade import SQLMeshEnterpriseDagster
from .._freshness import SQLMeshFreshness
from .._internals import DefinitionsLoadContext, DefinitionsLoadType, DefsStateManagementType, set_defs_state_storage
from .._launch.launcher import Launcher
from .._manifest import Manifest
from .._models import SQLMeshAudit, SQLMeshModel
from .._options import SENSOR_INTERVAL_S, Options
from .._translator import DagsterSQLMeshTranslator, adds_event_metadata
from .scaffolder import SQLMeshComponentScaffolder

logger = logging.getLogger(__name__)

_AT_LOAD = DefsStateManagementType.LEGACY_CODE_SERVER_SNAPSHOTS
_HOW_TO_STORE = {
    DefsStateManagementType.LOCAL_FILESYSTEM: "run `dg utils refresh-defs-state` in the project's folder before it is "
    "deployed, where its image is built: the state is a file of the project",
    DefsStateManagementType.VERSIONED_STATE_STORAGE: "run `dg utils refresh-defs-state` in the project's folder, with "
    "the DAGSTER_HOME of the deployment",
}


def _described(text: str) -> Any:
    return dg.Resolver.default(description=text)


def _template(text: str) -> Any:
    """An object, which YAML names as a template variable: `"{{ name }}"`."""
    return dg.Resolver.default(model_field_type=str, description=f'{text} A template variable: "{{{{ name }}}}".')


class FreshnessModel(dg.Model):
    """`SQLMeshFreshness` in YAML."""

    slack: timedelta = Field(
        default=SQLMeshFreshness().slack,
        description="How long after a model is due its evaluation may end: 02:00:00, or PT2H.",
    )


def _resolve_freshness(_: dg.ResolutionContext, given: Optional[FreshnessModel]) -> Optional[SQLMeshFreshness]:
    return SQLMeshFreshness(given.slack) if given else None


@dg.scaffold_with(SQLMeshComponentScaffolder)
@dataclasses.dataclass
class SQLMeshComponent(dg.StateBackedComponent, dg.Resolvable):
    """A SQLMesh environment in Dagster: a mirror of its runs, with an asset for each model and a check for each audit.

    The attributes are the arguments of `SQLMeshEnterpriseDagster` and of its `create_definitions`; `translation`
    changes the assets in YAML. A subclass may override `get_asset_spec` and its neighbors.
    """

    url: Annotated[str, _described("Base URL of the project.")]
    environment: Annotated[str, _described("The SQLMesh environment.")] = "prod"
    token: Annotated[Optional[str], _described("Static API token (deprecated).")] = dataclasses.field(
        default=None, repr=False
    )
    oauth_client_id: Annotated[Optional[str], _described("OAuth client provisioned for Dagster.")] = None
    oauth_client_secret: Annotated[Optional[str], _described("Its secret: from the environment.")] = dataclasses.field(
        default=None, repr=False
    )
    asset_prefix: Annotated[Optional[str], _described("First part of every asset key.")] = None
    name: Annotated[Optional[str], _described("Goes into the names of jobs and sensor.")] = None
    enable_sensor_by_default: Annotated[bool, _described("Whether the sensor runs without being switched on.")] = True
    sensor_interval_seconds: Annotated[int, _described("How long from one tick of the sensor to the next.")] = (
        SENSOR_INTERVAL_S
    )
    group_by: Annotated[Optional[Literal["schema"]], _described("Groups the assets by schema.")] = None
    external_models: Annotated[
        Literal["declare", "dependencies"], _described("Whether external models are assets, or only dependencies.")
    ] = "declare"
    external_asset_keys: Annotated[
        Optional[dict[str, Union[str, list[str]]]], _described("Asset keys of external models, by their names.")
    ] = None
    include: Annotated[Optional[list[str]], _described("The models to declare: names, globs, tag:x, +name+.")] = None
    exclude: Annotated[Optional[list[str]], _described("The models to leave out, in the same way.")] = None
    freshness: Annotated[
        Optional[SQLMeshFreshness],
        dg.Resolver(
            _resolve_freshness,
            model_field_type=Optional[FreshnessModel],
            description="A freshness policy for each model whose cron is known.",
        ),
    ] = None
    translation: Annotated[
        Optional[TranslationFn[SQLMeshModel]],
        TranslationFnResolver[SQLMeshModel](template_vars_for_translation_fn=lambda model: {"model": model}),
    ] = None
    translator: Annotated[
        Optional[DagsterSQLMeshTranslator], _template("A DagsterSQLMeshTranslator, which `translation` builds on.")
    ] = None
    dagster_graphql_host: Annotated[
        Optional[str], _described("Host of Dagster's webserver: with it, added and removed models are picked up.")
    ] = None
    dagster_graphql_port: Annotated[Optional[int], _described("Its port.")] = None
    dagster_graphql_kwargs: Annotated[
        Optional[dict[str, Any]], _described("Further arguments for DagsterGraphQLClient.")
    ] = dataclasses.field(default=None, repr=False)
    launcher: Annotated[
        Optional[Launcher], _template("Where sync and mirror run the executable, such as a KubernetesLauncher.")
    ] = None
    defs_state: ResolvedDefsStateConfig = dataclasses.field(
        default_factory=DefsStateConfigArgs.legacy_code_server_snapshots
    )

    def get_asset_spec(self, model: SQLMeshModel) -> Optional[dg.AssetSpec]:
        """The asset of a model, for subclasses to override; None: it is not declared."""
        spec = self._base_translator.get_asset_spec(model)
        return self.translation(spec, model) if spec and self.translation else spec

    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> Optional[dg.AssetCheckSpec]:
        """The check of an audit, for subclasses to override; None: it is not declared."""
        return self._base_translator.get_asset_check_spec(audit, asset_key)

    def get_event_metadata(self, event: Any) -> Mapping[str, Any]:
        """What is added to the metadata of a materialization or a check, for subclasses to override."""
        return self._base_translator.get_event_metadata(event)

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """The key names what the manifest depends on, and holds no credentials."""
        address = urlsplit(self.url)
        which = f"{address.netloc.rpartition('@')[2]}{address.path.rstrip('/')}", self.environment, self.asset_prefix
        return DefsStateConfig.from_args(
            self.defs_state, default_key=f"SQLMeshComponent[{', '.join(part for part in which if part)}]"
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """In `dg` and `dagster dev` from a fresh state; while the cloud is away, from the stored one."""
        try:
            with _load_context():
                return super().build_defs(context)
        except TobikoFacadeError as error:
            if not (error.outage and self.defs_state.refresh_if_dev):
                raise
            logger.warning("%s; what is stored is declared", error)
        stored = copy.copy(self)
        stored.defs_state = self.defs_state.model_copy(update={"refresh_if_dev": False})
        return stored.build_defs(context)

    def write_state_to_path(self, state_path: Path) -> None:
        """Asks the cloud for the manifest and stores it. What was stored before stays if that fails.

        Raises:
            TobikoFacadeError: The cloud gave none. Not where the state lives as long as the code server: there an
                outage is bridged as `create_definitions` does.
        """
        text = self._fetch_state()
        new = state_path.with_name(f"{state_path.name}.new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, state_path)

    def build_defs_from_state(self, context: dg.ComponentLoadContext, state_path: Optional[Path]) -> dg.Definitions:
        """Declares what the state holds; run and step workers get the code server's.

        Raises:
            TobikoFacadeError: Nothing is stored.
        """

        def read() -> str:
            if state_path is None:
                raise self._nothing_stored()
            return state_path.read_text(encoding="utf-8")

        definitions = self._definitions_of()
        if self.defs_state_config.management_type == _AT_LOAD:
            return definitions.defs_from_state(read())
        refresh = partial(self._refresh_for_sensor, context.project_root)
        return dataclasses.replace(definitions, stored_state=read, refresh_state=refresh).load()

    def _fetch_state(self) -> str:
        definitions = self._definitions_of()
        if self.defs_state_config.management_type == _AT_LOAD:
            return definitions.fetch_state()
        text = definitions.fetch_manifest()
        kept = Manifest.from_json(text).kept
        if kept:
            reason = definitions.connection.redact(kept.reason)
            raise TobikoFacadeError(
                f"the state of {self.defs_state_config.key} was not refreshed: {reason}", outage=True
            )
        return text

    def _refresh_for_sensor(self, project_root: Path, instance: dg.DagsterInstance) -> None:
        """Stores a fresh state, which the reload that follows reads."""
        with set_defs_state_storage(instance.defs_state_storage):
            asyncio.run(self.refresh_state(project_root))

    def _nothing_stored(self) -> TobikoFacadeError:
        config = self.defs_state_config
        return TobikoFacadeError(
            f"no state is stored for {config.key} (defs_state: {config.management_type.value}): "
            f"{_HOW_TO_STORE.get(config.management_type, 'reload the code location')}"
        )

    def _definitions_of(self) -> DefinitionsOf:
        facade = SQLMeshEnterpriseDagster(
            url=self.url,
            token=self.token,
            oauth_client_id=self.oauth_client_id,
            oauth_client_secret=self.oauth_client_secret,
            dagster_graphql_host=self.dagster_graphql_host,
            dagster_graphql_port=self.dagster_graphql_port,
            dagster_graphql_kwargs=self.dagster_graphql_kwargs,
            launcher=self.launcher,
        )
        options = Options.checked(
            translator=self._component_translator(),
            group_by=self.group_by,
            external_models=self.external_models,
            external_asset_keys=self.external_asset_keys,
            include=self.include,
            exclude=self.exclude,
            name=self.name,
            freshness=self.freshness,
            sensor_interval_seconds=self.sensor_interval_seconds,
        )
        return facade.definitions_of(self.environment, self.asset_prefix, self.enable_sensor_by_default, options)

    def _component_translator(self) -> DagsterSQLMeshTranslator:
        """Where nobody adds metadata to events, none is asked for, event by event."""
        is_overridden = type(self).get_event_metadata is not SQLMeshComponent.get_event_metadata
        adds = is_overridden or adds_event_metadata(self._base_translator)
        # Errors name the translator's class: that of the component is the one that the user knows.
        named = type(type(self).__name__, (_TranslatorOfEvents if adds else _ComponentTranslator,), {})
        return cast(DagsterSQLMeshTranslator, named(self))

    @property
    def _base_translator(self) -> DagsterSQLMeshTranslator:
        return self.translator or DagsterSQLMeshTranslator()


@contextmanager
def _load_context() -> Iterator[None]:
    """`dg launch` loads as a run worker does, though nothing was loaded before that it could be handed: without this,
    it finds no state in two modes of three."""
    before = DefinitionsLoadContext.get() if DefinitionsLoadContext.is_set() else None
    was_loaded = before and (before.load_type == DefinitionsLoadType.INITIALIZATION or before.reconstruction_metadata)
    if was_loaded:
        yield
        return
    DefinitionsLoadContext.set(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION))
    try:
        yield
    finally:
        DefinitionsLoadContext.set(before)  # type: ignore[arg-type]  # None, if there was none


class _ComponentTranslator(DagsterSQLMeshTranslator):
    """Asks the component, whose methods a subclass may have overridden."""

    def __init__(self, component: SQLMeshComponent) -> None:
        self._component = component

    def get_asset_spec(self, model: SQLMeshModel) -> Optional[dg.AssetSpec]:
        return self._component.get_asset_spec(model)

    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> Optional[dg.AssetCheckSpec]:
        return self._component.get_asset_check_spec(audit, asset_key)


class _TranslatorOfEvents(_ComponentTranslator):
    def get_event_metadata(self, event: Any) -> Mapping[str, Any]:
        return self._component.get_event_metadata(event)
