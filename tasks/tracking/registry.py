"""Versions in MLflow's Model Registry: a pair's detector is registered, however often, or fetched.

A pair's row in the table of models is external, without files, until it is registered. Then it gets those of
a pyfunc model, and the tag that called it external is deleted last: without it the files are whole.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE, load_spec, require_weights
from jdn_core.errors import InputMissing, UsageError
from jdn_core.reports.contest import cautions, headline
from jdn_core.reports.markdown import model_card
from jdn_core.reports.tables import NO_PAIR, Candidate
from jdn_core.run import outcome
from jdn_core.run.folder import Run
from jdn_core.run.result_rows import lines, result_row
from jdn_core.settings.values import LONGEST_NAME, NAME
from tasks.tracking.entries import PAIR_TAG, STAGE_TAG, control_name
from tasks.tracking.fetching import restore_files
from tasks.tracking.packaging import Package, save
from tasks.tracking.pages import address_of, shown, tracking_uri
from tasks.tracking.search_run import SearchRun
from tasks.tracking.server import Experiment, asking, client_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from tasks.tracking.server import MlflowRun

WEIGHTS_TAG, FRAME_TAG = "jdn.weights_sha256", "jdn.resolution"
LONGEST_CARD = 5000  # characters, of MLflow's own limit
_EXTERNAL, _VERSIONS = "mlflow.model.isExternal", "mlflow.modelVersions"
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,246}")  # MLflow's 255, with room for `before_of`
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)  # MLflow reads them as versions


class Registered(NamedTuple):
    """A version and its addresses: ``uri`` follows the alias, ``page`` shows it in MLflow's pages."""

    model: str
    version: int
    alias: str
    uri: str
    page: str
    pair: int | None
    key: str
    sha256: str


class RolledBack(NamedTuple):
    """The version that an alias points to again, and the one that it left."""

    model: str
    version: int
    alias: str
    left: int
    uri: str


def check_names(model: str, alias: str) -> None:
    """Refuses names that MLflow, a URI or a shell would not take.

    Raises:
        UsageError: one of them breaks its rule.
    """
    if not _ALIAS.fullmatch(alias) or _RESERVED.fullmatch(alias):
        rule = "must be letters, digits, - and _, and neither latest nor v1, v2, ..."
        raise UsageError(f"alias {rule}, got {alias!r}")
    if not re.fullmatch(NAME, model) or len(model) > LONGEST_NAME:
        rule = f"must be up to {LONGEST_NAME} letters, digits, ., - and _, a letter or digit first"
        raise UsageError(f"model's name {rule}, got {model!r}")


def register_pair(run: Run, row: Candidate, base: Candidate, *, model: str, alias: str) -> Registered:
    """Registers a pair's detector and gives it the alias; a second time only the alias moves.

    Damaged or dropped weights are fetched from MLflow first; none are registered whose hash does not hold.

    Args:
        run: of the search, which may be running.
        row: of the pair.
        base: row of the base, to compare with.
        model: name of the registered model.
        alias: of the version.

    Raises:
        UsageError: a name breaks MLflow's rules.
        InputMissing: MLflow has no run of the pair, or weights are nowhere.
        CheckpointError: the weights are damaged, and MLflow's copy too.
        ServiceUnavailable: MLflow does not answer.
    """
    check_names(model, alias)
    folder, uri = Path(str(row.weights)).parent, tracking_uri(run)
    if row.index == NO_PAIR:
        require_weights(folder, str(row.sha256))
    else:
        restore_files(run, row.key)
    with asking(uri):
        search_run = SearchRun.find(run)
        found = search_run.child(*identity_of(run, row)) if search_run else None
        if search_run is None or found is None:
            raise InputMissing(f"MLflow at {shown(uri)} has no run of {called(row)}")
        classes = [name for _, name in load_spec(folder).classes]
        name, digest = run.settings.name, run.settings.digest
        said = said_of(run, row)
        card = model_card(row, base, classes=classes, model=model, search=name, digest=digest, said=said)
        tags = _origin(search_run, row, found.info.run_id)
        package = Package(folder, model, alias, str(row.resolution), card, tags)
        version = register(search_run.experiment, found, package)
    return Registered(
        model=model,
        version=version,
        alias=alias,
        uri=f"models:/{model}@{alias}",
        page=f"{address_of(uri)}/#/models/{quote(model)}/versions/{version}",
        pair=None if row.index == NO_PAIR else row.index,
        key=row.key,
        sha256=str(row.sha256),
    )


def said_of(run: Run, row: Candidate) -> tuple[str, ...]:
    """Returns what held-out photos say of the search's result; nothing of any other detector, or without."""
    found = outcome.of(run)
    if found.held_out is None or result_row(found).key != row.key:
        return ()
    return (headline(lines(found), found.held_out), *cautions(found.held_out))


def identity_of(run: Run, row: Candidate) -> tuple[str, str]:
    """Returns the tag, and its value, that finds the run in MLflow of a pair, or of what stands beside it."""
    if row.index != NO_PAIR:
        return PAIR_TAG, row.key
    names = {each.contender.key: control_name(each.contender) for each in outcome.of(run).records}
    return STAGE_TAG, names[row.key]


def called(row: Candidate) -> str:
    """Returns how a row is called in a sentence: ``pair 7``, ``control longer``."""
    return row.action if row.index == NO_PAIR else f"pair {row.index}"


def register(experiment: Experiment, run: MlflowRun, package: Package) -> int:
    """Makes the version of a pair, unless it is there, and gives it the alias; its number.

    Raises:
        InputMissing: the pair's run has no row in the table of models.
    """
    client = experiment.client
    found = _version_of(client, package)
    if found is None:
        model = experiment.model_of(run.info.run_id)
        if model is None:
            raise InputMissing(f"{run.info.run_name}: MLflow has no model of its run {run.info.run_id}")
        _fill(client, model, package)
        _require_name(client, package)
        client.create_model_version(
            package.name,
            model.artifact_location,  # unlike models:/ID it needs no tracking URI of the whole process
            run.info.run_id,
            dict(package.tags),
            description=package.card[:LONGEST_CARD],
            model_id=model.model_id,
        )
        found = _version_of(client, package)
        assert found is not None
        _link(client, model, found)
    if package.alias not in found.aliases:
        before = client.get_registered_model(package.name).aliases.get(package.alias)
        if before is not None:  # first, so that a crash in between loses no version's name
            client.set_registered_model_alias(package.name, before_of(package.alias), str(before))
        client.set_registered_model_alias(package.name, package.alias, found.version)
    return int(found.version)


def before_of(alias: str) -> str:
    """Returns the alias of the version that had this alias before."""
    return "previous" if alias == "champion" else f"{alias}-previous"


def roll_back(model: str, uri: str, *, alias: str = "champion") -> RolledBack:
    """Gives the alias back to the version that had it before, and that version's alias to the one it leaves.

    A second time takes it back.

    Args:
        model: name of the registered model.
        uri: where MLflow listens.
        alias: of the version that is left.

    Raises:
        UsageError: a name breaks MLflow's rules.
        InputMissing: there is no such model or alias, or no version before it.
        ServiceUnavailable: MLflow does not answer.
    """
    check_names(model, alias)
    with asking(uri):
        from mlflow.exceptions import MlflowException

        client = client_of(uri)
        try:
            aliases = client.get_registered_model(model).aliases
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            raise InputMissing(f"{model}: no such model in MLflow at {shown(uri)}") from error
        left, before = aliases.get(alias), aliases.get(before_of(alias))
        if left is None:
            raise InputMissing(f"models:/{model}@{alias}: no such alias in MLflow at {shown(uri)}")
        if before is None or before == left:
            raise InputMissing(f"models:/{model}@{alias}: version {left} has none before it to go back to")
        client.set_registered_model_alias(model, alias, str(before))
        client.set_registered_model_alias(model, before_of(alias), str(left))
    return RolledBack(model, int(before), alias, int(left), f"models:/{model}@{alias}")


def fetch_model(name: str, label: str, uri: str, folder: Path) -> tuple[Path, str, str]:
    """Returns where a registered detector lies, its frame, and the hash that its weights must have.

    Only ``detector.json`` and the weights are read; code that MLflow has of the model is never run.

    Args:
        name: of the registered model.
        label: an alias with ``@`` before it, or the number of a version.
        uri: where MLflow listens.
        folder: for downloads; files of a store on this machine are read where they lie.

    Raises:
        InputMissing: there is no such model, version or alias, or it is no detector of ours.
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(uri):
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        client, what = client_of(uri), f"models:/{name}{label if label.startswith('@') else f'/{label}'}"
        try:
            alias = label.removeprefix("@")
            version = (
                client.get_model_version(name, label)
                if alias == label
                else client.get_model_version_by_alias(name, alias)
            )
            place = client.get_model_version_download_uri(name, version.version)
        except MlflowException as error:
            if error.error_code not in (_MISSING, "INVALID_PARAMETER_VALUE"):
                raise
            raise InputMissing(f"{what}: not in MLflow at {shown(uri)}: {error.message}") from error
        frame, sha256 = version.tags.get(FRAME_TAG), version.tags.get(WEIGHTS_TAG)
        if frame is None or sha256 is None:
            raise InputMissing(f"{what}: version {version.version} is no detector that jdn published")
        parts = urlsplit(place)
        if parts.scheme in ("", "file"):
            return Path(unquote(parts.path)) / "artifacts", frame, sha256
        for file in (SPEC_FILE, WEIGHTS_FILE):
            download_artifacts(f"{place}/artifacts/{file}", dst_path=str(folder), tracking_uri=uri)
        return folder, frame, sha256


def _origin(search_run: SearchRun, row: Candidate, run_id: str) -> dict[str, str]:
    """Returns the tags of a version: which detector it is, its numbers, and every run that led to it."""
    settings, record = search_run.run.settings, search_run.run.records.get(row.key)
    parent = search_run.child(PAIR_TAG, record.pair.parent) if record and record.pair.parent else None
    tags = {
        PAIR_TAG: row.key,
        WEIGHTS_TAG: str(row.sha256),
        FRAME_TAG: str(row.resolution),
        "jdn.search": settings.name,
        "jdn.search_id": search_run.search_id,
        "jdn.settings": settings.digest,
        "jdn.pair_index": "" if row.index == NO_PAIR else str(row.index),
        "jdn.action": row.action,
        "jdn.parent_pair": "" if row.parent is None else str(row.parent),
        "jdn.search_run": search_run.id,
        "jdn.pair_run": run_id,
        "jdn.parent_run": parent.info.run_id if parent else "",
        "jdn.teacher": row.teacher,
        "jdn.ap": repr(row.ap),
        "jdn.macs": str(row.macs),
        "jdn.params": str(row.params),
        "jdn.score": "" if row.score is None else repr(row.score),
    }
    datasets = {f"jdn.dataset.{name}": " ".join(dataset) for name, dataset in search_run.datasets().items()}
    return {name: text for name, text in (tags | datasets).items() if text}


def _version_of(client: MlflowClient, package: Package) -> ModelVersion | None:
    """Finds the version of this pair with these weights; later ones, which lost replies left, are deleted."""
    wanted = f"name = '{package.name}'"
    for tag in (PAIR_TAG, WEIGHTS_TAG):
        wanted += f" and tags.`{tag}` = '{package.tags[tag]}'"
    found = sorted(client.search_model_versions(wanted), key=lambda version: int(version.version))
    for ghost in found[1:]:
        with _or_already(_MISSING):
            client.delete_model_version(package.name, ghost.version)
    # What a search gives has no aliases on some stores.
    return client.get_model_version(package.name, found[0].version) if found else None


def _require_name(client: MlflowClient, package: Package) -> None:
    """Makes the registered model, unless it is there; of two that make it at once neither fails."""
    with _or_already("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(
            package.name,
            {"jdn.search": package.tags["jdn.search"]},
            "Detectors that jdn published; the versions tell what each is worth.",
        )


def _fill(client: MlflowClient, model: LoggedModel, package: Package) -> None:
    """Gives a pair's row in the table of models its files, once."""
    if model.tags.get(_EXTERNAL) != "true":
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save(folder, package, run_id=model.source_run_id, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, str(folder))
    with _or_already(_MISSING):
        client.delete_logged_model_tag(model.model_id, _EXTERNAL)


@contextmanager
def _or_already(code: str) -> Iterator[None]:
    """Ignores the error of a call that was done before: MLflow's client repeats it when a reply is lost."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


def _link(client: MlflowClient, model: LoggedModel, version: ModelVersion) -> None:
    """Notes the version, and no ghost of it, on the row in the table of models.

    MLflow's server does so for every version that it makes; a client on a database does not.
    """
    noted = json.loads(client.get_logged_model(model.model_id).tags.get(_VERSIONS, "[]"))
    entry = {"name": version.name, "version": int(version.version)}
    wanted = [*(each for each in noted if each["name"] != version.name), entry]
    if noted != wanted:
        client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(wanted)})
