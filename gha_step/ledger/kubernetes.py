"""The ledger as custom resources of Kubernetes: for the sidecar, and for several replicas.

One `WorkflowDispatch` per key in the project's own namespace (deploy/crd has its schema, and the rules by which the API
server itself refuses what no record may become), and one `Lease` per gate. Every write is a compare-and-set by uid and
resourceVersion; every read that decides anything is a quorum read. It remembers no record.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic import ValidationError
from pydantic.alias_generators import to_camel, to_snake

from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.contract.json_text import compact_json, parse_json
from gha_step.contract.memory import Memory
from gha_step.kube import (
    ASK_AGAIN,
    MAX_ANSWER,
    AlreadyExists,
    Denied,
    Forbidden,
    Invalid,
    KubeApi,
    KubeError,
    NotFound,
    NotServed,
    TooLong,
)
from gha_step.kube import Conflict as KubeConflict
from gha_step.ledger.attribution import concerns
from gha_step.ledger.cancels import cancels
from gha_step.ledger.keys import digest
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import FINAL, Payload, Record, State, Target, Version, asked_of, asked_text
from gha_step.ledger.store import Conflict, RecordRefused, Standing, TooMany
from gha_step.shared_reads import SharedReads
from gha_step.telemetry import log

GROUP: Final = "gha-step.dev"
API_VERSION: Final = f"{GROUP}/v1alpha1"
KIND: Final = "WorkflowDispatch"
PROMOTION_LABEL: Final = f"{GROUP}/promotion"
REPO_LABEL: Final = f"{GROUP}/repo"
WORKFLOW_LABEL: Final = f"{GROUP}/workflow"
RUN_LABEL: Final = f"{GROUP}/run"  # the ID of the run that it made, once it is known, or that it cancels
DUTY_LABEL: Final = f"{GROUP}/duty"  # open: the record owes something
STATE_LABEL: Final = f"{GROUP}/state"  # for finding and counting: what a record says is in the record
ASKED_ANNOTATION: Final = f"{GROUP}/asked"  # for people, and where writers that do not know it leave it alone
_OPEN: Final = "open"
FINALIZER: Final = f"{GROUP}/cancel-on-abort"  # somebody follows the duty, and takes it off when it is closed
TARGET_ANNOTATION: Final = f"{GROUP}/target"
CLAIMED_ANNOTATION: Final = f"{GROUP}/claimed"  # of 0.1.0, and dropped from its Leases
PROMOTION_API_VERSION: Final = "kargo.akuity.io/v1alpha1"


class Resource(NamedTuple):
    """A kind of object that the ledger keeps, and what must be allowed on it."""

    group: str
    version: str
    plural: str
    verbs: tuple[str, ...]

    def path(self, namespace: str | None, name: str = "") -> str:
        """Of one object or of all, in a namespace or in all."""
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"/apis/{self.group}/{self.version}{where}/{self.plural}" + (f"/{name}" if name else "")

    def rule(self) -> str:
        """As it stands in a Role."""
        return f"{{apiGroups: [{self.group}], resources: [{self.plural}], verbs: [{', '.join(self.verbs)}]}}"


RECORDS: Final = Resource(GROUP, "v1alpha1", "workflowdispatches", ("get", "list", "create", "update"))
_PRUNED: Final = RECORDS._replace(verbs=("list", "delete"))  # an identity of its own: no server may delete
GATES: Final = Resource("coordination.k8s.io", "v1", "leases", ("get", "create", "update"))

# Otherwise the API server drops what its CustomResourceDefinition does not know, and says that all is well.
_STRICT: Final = {"fieldValidation": "Strict"}
_PARTS: Final = {
    "step": ("key", "key_parts", "promotion", "promotion_uid", "created_at"),
    "request": tuple(Payload.model_fields),
}
_DUTIES: Final = ("report", "abort")
_AS_IT_IS: Final = ("run", *_DUTIES)  # parts whose fields have the same names in both
MOST_LEASE: Final = 64 << 10  # bytes; others' labels and owners of one, too, take no more
MOST_OLDER: Final = 2_000  # records without a label that one decision reads: four pages
MOST_OF_NAMESPACE: Final = 12 << 20  # bytes of its records that one decision, count or round reads: some 3,000
_MOST_LEFT_OUT: Final = 50  # namespaces that have more, named in one selector
_SMALL: Final = 16 << 10  # bytes of an object; larger ones are weighed
MOST_RELABELLED: Final = 20  # in one count: each is a write
_RUNS_AT_ONCE: Final = 300  # in one selector: some proxies take addresses of 8 KiB
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY: Final = re.compile(r"[0-9a-z]{1,64}")
_LABEL: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

_Object: TypeAlias = dict[str, Any]
_Name: TypeAlias = tuple[str, str, str]  # plural, project, name


class KubernetesStore:
    """See `gha_step.ledger.store.Store`.

    :param api: under an identity that is allowed ``RECORDS`` and ``GATES`` in the namespaces of the projects.
    :param projects: those whose records an operator sees and the metrics count; ``None``: all.
    :param holds: whether this process follows what records owe where their Promotion ends: those records are kept
        by a finalizer as long as that is open, though their Promotion be deleted.
    """

    exclusive = False

    def __init__(self, api: KubeApi, projects: frozenset[str] | None, *, holds: bool = False) -> None:
        self._api = api
        self._projects = projects
        self._holds = holds
        self.keeps_reports = True
        self._lock = threading.Lock()
        self._of_workflow: SharedReads[list[Record]] = SharedReads()
        self._others: Memory[_Name, tuple[Version, _Object]] = Memory()  # of the version that was seen last

    def read(self, project: str, key: str) -> Record | None:
        found = self._get(RECORDS, project, key)
        if found is None:
            return None
        record = _decode(found)
        if (record.project, record.key) != (project, key):
            raise LedgerError(
                f"the ledger record {key} in the namespace {project} is that of another step: nothing is sent; see "
                f"who made it (kubectl get {RECORDS.plural} {key} --namespace {project} -o yaml)"
            )
        return record

    def write(self, record: Record) -> Record:
        body = _encode(record)
        held = self._is_held(record)
        if held:
            body["metadata"]["finalizers"] = [FINALIZER]
        try:
            stored = self._put(RECORDS, record.project, record.key, body, record.version)
        except RecordRefused:
            self.keeps_reports &= record.report is None
            raise
        lost = [part for part in _DUTIES if stored.get(part) != body.get(part)]
        if record.report is not None:
            self.keeps_reports = not lost
        if lost:  # nothing may be sent for which nobody would do what is owed
            raise LedgerUnavailable(
                f"the API server does not keep the {lost[0]} of a WorkflowDispatch: install the "
                "CustomResourceDefinition of this version of gha-step (kubectl apply -k deploy/crd)"
            )
        return record.model_copy(update={"version": _version(stored), "held": held, "deletion": _deletion(stored)})

    def _is_held(self, record: Record) -> bool:
        """Whether our finalizer is to be on it. The API server takes no new one where the object is being deleted."""
        is_open = record.abort is not None and record.owes
        return is_open and (record.held or (self._holds and record.deletion is None))

    def close(self) -> None:
        """The API server's connections are shared, and end with the process."""

    def others(self, record: Record, runs: Collection[int]) -> list[Record]:
        # Thousands of steps may wait for runs of one workflow, and have ended: what is over is read by its run alone.
        workflow = _may_be_workflow_of(record.target)
        # Earlier versions wrote no label for the state, and 0.1.0 none at all.
        selectors = (f"{workflow},{STATE_LABEL} notin (accepted,rejected)", f"!{WORKFLOW_LABEL}")
        found = self._shared(record.project, *selectors)
        ids = sorted(runs)
        for start in range(0, len(ids), _RUNS_AT_ONCE):
            some = ",".join(map(str, ids[start : start + _RUNS_AT_ONCE]))
            found = [*found, *self._shared(record.project, f"{workflow},{RUN_LABEL} in ({some})")]
        # Of all namespaces' records, those of the own one come twice.
        return [other for other in {other.key: other for other in found}.values() if concerns(record, other, runs)]

    def _shared(self, project: str, *selectors: str) -> list[Record]:
        return self._of_workflow.read((project, *selectors), lambda: self._selected(project, selectors))

    def _selected(self, own_project: str, selectors: Collection[str]) -> list[Record]:
        """The records with these labels, whatever they say, of all projects that may be read."""
        own = RECORDS.path(_namespace(own_project))
        found: list[Record] = []

        def cut(namespace: str) -> None:
            if namespace == own_project:
                raise TooMany(f"the namespace {namespace} has more than {MOST_OF_NAMESPACE >> 20} MiB of records of it")
            _warn_of(namespace)

        for project, path in {(own_project, own), *self._collections()}:
            with _translated(RECORDS, "list", project):
                try:
                    for selector in selectors:
                        most = MOST_OLDER if selector.startswith("!") else None
                        for one in islice(self._within_bounds(path, {"labelSelector": selector}, cut), most):
                            found += _of_stranger(one) if path != own else [_slim(_decode(one))]
                except (Forbidden, TooLong):
                    if path == own:
                        raise  # elsewhere: what this process may not or cannot read is as a stranger's
        return found

    def read_lease(self, project: str, target: Target) -> Lease:
        found = self._get(GATES, project, _gate_name(target))
        return Lease(project=project, target=target) if found is None else _decode_gate(found, project, target)

    def write_lease(self, gate: Lease) -> Lease:
        stored = self._put(GATES, gate.project, _gate_name(gate.target), _encode_gate(gate), gate.version)
        return gate.model_copy(update={"version": _version(stored)})

    def records(self) -> Iterator[Record]:
        return iter(sorted(map(_decode, self._objects()), key=lambda record: -record.created_at))

    def owed(self) -> Iterator[Record]:
        for record in self._readable(log.error, {"labelSelector": f"{DUTY_LABEL}={_OPEN}"}, bounded=True):
            if record.owes:  # the label is for finding it: anybody may have written it
                yield record

    def of_run(self, run_id: int) -> Iterator[Record]:
        """The records of the dispatch that made this run and of the steps that cancel it, perhaps not the newest: from
        the API server's cache.

        :raises LedgerError: they cannot be listed, or not be read.
        """
        of_run = {"labelSelector": f"{RUN_LABEL}={run_id}", "resourceVersion": "0"}
        for record in map(_decode, self._objects(of_run, most=MOST_OLDER)):
            if _run_of(record) == run_id:  # the label is for finding it
                yield record

    def census(self) -> dict[str, Standing]:
        """Of those that are over nothing but the metadata is read: there may be many, and large ones.

        Where a record is over and its label says otherwise, an older replica has left it so. It is put right on the
        way: otherwise the record would be read in full for ever, here and by every decision about its workflow.
        """
        standing: dict[str, Standing] = dict.fromkeys(State, Standing())
        over = f"({','.join(sorted(FINAL))})"
        for one in self._objects({"labelSelector": f"{STATE_LABEL} in {over}"}, metadata_only=True, bounded=True):
            _count(standing, (one["metadata"].get("labels") or {}).get(STATE_LABEL), _made(one))
        behind: list[tuple[str, str]] = []
        for one in self._objects({"labelSelector": f"{STATE_LABEL} notin {over}"}, bounded=True):
            state, made = (one.get("progress") or {}).get("state"), (one.get("step") or {}).get("createdAt")
            _count(standing, state, made or _made(one))
            if state in FINAL and len(behind) < MOST_RELABELLED:
                behind.append((str(one["step"]["keyParts"][0]), str(one["metadata"]["name"])))
        for project, key in behind:
            with suppress(LedgerError, LedgerUnavailable, Conflict):  # then the next count does it
                if (record := self.read(project, key)) is not None:
                    self.write(record)
        return standing

    def readable(self, unreadable: list[str]) -> Iterator[Record]:
        """All records of the projects, page by page and in no order; why others cannot be read goes to ``unreadable``.

        :raises LedgerUnavailable: they cannot be listed.
        """
        return self._readable(unreadable.append)

    def prune(self, unneeded: Callable[[Record], bool]) -> tuple[int, list[str]]:
        """Delete the records that owe nothing and are ``unneeded``; how many, and why others cannot be read.

        One that changes meanwhile stays.

        :raises LedgerUnavailable: they cannot be listed, or not be deleted.
        """
        unreadable: list[str] = []
        owing_nothing = self._readable(unreadable.append, {"labelSelector": f"!{DUTY_LABEL}"}, _PRUNED)
        deleted = sum(self._delete(one) for one in owing_nothing if not one.owes and unneeded(one))
        return deleted, unreadable

    def _delete(self, record: Record) -> bool:
        uid, _, resource_version = str(record.version).partition("/")
        with _translated(_PRUNED, "delete", record.project):
            try:
                self._api.delete(RECORDS.path(_namespace(record.project), record.key), uid, resource_version)
            except (KubeConflict, NotFound):
                return False
        return True

    def _readable(
        self,
        tell: Callable[[str], None],
        query: Mapping[str, str] | None = None,
        resource: Resource = RECORDS,
        *,
        bounded: bool = False,
    ) -> Iterator[Record]:
        """The records that can be read; why others cannot is told."""
        for found in self._objects(query, resource, bounded=bounded):
            try:
                yield _decode(found)
            except LedgerError as error:
                tell(str(error))

    def _objects(
        self,
        query: Mapping[str, str] | None = None,
        resource: Resource = RECORDS,
        *,
        metadata_only: bool = False,
        most: int | None = None,
        bounded: bool = False,
    ) -> Iterator[_Object]:
        """The objects of the projects' records, page by page.

        :param most: objects of each collection.
        :param bounded: of each namespace `MOST_OF_NAMESPACE` bytes.
        """
        for project, path in self._collections():
            with _translated(resource, "list", project):
                if bounded:
                    found = self._within_bounds(path, query or {}, _warn_of, metadata_only=metadata_only)
                else:
                    found = map(_object, self._api.items(path, query, metadata_only=metadata_only))
                try:
                    yield from islice(found, most)
                except TooLong:
                    if not bounded or project is None:
                        raise
                    _warn_of(project)

    def _within_bounds(
        self, path: str, query: Mapping[str, str], cut: Callable[[str], None], *, metadata_only: bool = False
    ) -> Iterator[_Object]:
        """The objects there, but of a namespace that holds too much no more than that: others' are still found.

        :param cut: hears of each such namespace, once.
        """
        spent: Counter[str] = Counter()
        left_out: list[str] = []
        last = ("", "")  # the API server lists them in this order
        while len(left_out) <= _MOST_LEFT_OUT:
            others = {"fieldSelector": ",".join(f"metadata.namespace!={name}" for name in left_out)}
            for one, size in self._weighed(path, {**query, **(others if left_out else {})}, metadata_only):
                where = (str(one["metadata"].get("namespace")), str(one["metadata"].get("name")))
                if left_out and where <= last:
                    continue
                spent[where[0]] += size
                if spent[where[0]] > MOST_OF_NAMESPACE:
                    cut(where[0])
                    left_out.append(where[0])
                    break
                last = where
                yield one
            else:
                return
            if "/namespaces/" in path:
                return

    def _weighed(self, path: str, query: Mapping[str, str], metadata_only: bool) -> Iterator[tuple[_Object, int]]:
        for page, size in self._api.pages(path, query, metadata_only=metadata_only):
            mean = size // max(len(page), 1)
            for one in map(_object, page):
                yield one, mean if mean <= _SMALL else len(compact_json(one))

    def _collections(self) -> Iterator[tuple[str | None, str]]:
        """Where the records of the projects are listed; ``None``: those of all."""
        for project in [None] if self._projects is None else sorted(self._projects):
            yield project, RECORDS.path(None if project is None else _namespace(project))

    def _get(self, resource: Resource, project: str, name: str) -> _Object | None:
        with _translated(resource, "get", project):
            try:
                most = MOST_LEASE if resource is GATES else MAX_ANSWER
                found = _object(self._api.get(resource.path(_namespace(project), name), most=most))
            except NotFound:
                return None
        self._remember(resource, project, name, found)
        return found

    def _put(self, resource: Resource, project: str, name: str, body: _Object, version: Version) -> _Object:
        """Create the object where ``version`` is 0, else replace the one of exactly this version."""
        namespace = _namespace(project)
        if version == 0:
            with _translated(resource, "create", project):
                try:
                    stored = self._api.create(resource.path(namespace), body, _STRICT)
                except AlreadyExists:
                    raise Conflict(f"there is {resource.plural}/{name} in {project} already") from None
        else:
            changed = Conflict(f"{resource.plural}/{name} in {project} has changed since version {version}")
            uid, _, resource_version = str(version).partition("/")
            if not uid or not resource_version:  # without them the API server would compare nothing
                raise changed
            others = self._others_of(resource, project, name, version)
            if others is None:
                raise changed
            metadata = _merged(body["metadata"], others) | {"uid": uid, "resourceVersion": resource_version}
            with _translated(resource, "update", project):
                try:
                    stored = self._api.replace(resource.path(namespace, name), {**body, "metadata": metadata}, _STRICT)
                except (KubeConflict, NotFound):
                    raise changed from None
        self._remember(resource, project, name, _object(stored))
        return stored

    def _remember(self, resource: Resource, project: str, name: str, found: _Object) -> None:
        """Keep what others have written into the metadata: a PUT takes away what it does not name."""
        with self._lock:
            self._others[resource.plural, project, name] = _version(found), _of_others(found["metadata"])

    def _others_of(self, resource: Resource, project: str, name: str, version: Version) -> _Object | None:
        """What others have written into the metadata of this version; ``None``: there is another version by now."""
        with self._lock:
            known, others = self._others.get((resource.plural, project, name), (None, {}))
        if known == version:
            return others
        found = self._get(resource, project, name)
        return _of_others(found["metadata"]) if found is not None and _version(found) == version else None


def _warn_of(namespace: str) -> None:
    log.warning("the namespace %s has more records than are read: some are left out", namespace)


def _slim(record: Record) -> Record:
    """What `concerns` and `others_of` ask of it: there may be thousands, and they hold what others have written."""
    return record.model_copy(update=_NOTHING)


_NOTHING: Final[_Object] = {"seen": (), "candidates": (), "baseline_ids": (), "reason": None, "asked": None}


def _of_stranger(one: _Object) -> list[Record]:
    """Of another project: what cannot be read there is as a stranger's, and no reason to wait."""
    try:
        return [_slim(_decode(one))]
    except LedgerError as error:
        log.warning("%s", error)
        return []


def _count(standing: dict[str, Standing], state: object, made: float) -> None:
    if isinstance(state, str) and state in standing:
        records, oldest = standing[state]
        standing[state] = Standing(records + 1, made if oldest is None else min(oldest, made))


def _made(found: _Object) -> float:
    return datetime.fromisoformat(found["metadata"]["creationTimestamp"]).timestamp()


# ---------------------------------------------------------------- errors


@contextmanager
def _translated(resource: Resource, verb: str, project: str | None) -> Iterator[None]:
    """What the API server's refusals and silences mean to users of the ledger.

    :raises LedgerUnavailable: nothing can be read or written now; it names what is missing, and the fix.
    """
    where = "all namespaces" if project is None else f"the namespace {project}"
    try:
        yield
    except Denied as error:
        raise LedgerUnavailable(_why(error, resource, verb, project), ASK_AGAIN, lasting=error.lasting) from None
    except Invalid as error:
        raise RecordRefused(
            f"the API server does not take this {resource.plural} in {where}: see whether the CustomResourceDefinition "
            f"is that of this version of gha-step (kubectl apply -k deploy/crd): {error.words or error}"
        ) from None
    except KubeError as error:
        raise LedgerUnavailable(str(error), error.retry_after or 10.0) from None


def _why(error: Denied, resource: Resource, verb: str, project: str | None) -> str:
    where = "all namespaces" if project is None else f"the namespace {project}"
    if isinstance(error, NotServed):
        return (
            f"the API server knows no {resource.plural}.{resource.group}: install the CustomResourceDefinition of this "
            f"version of gha-step (kubectl apply -k deploy/crd) ({error})"
        )
    if isinstance(error, Forbidden):
        fix = error.fix(project, resource.rule(), "" if project is None else "project")
        return f"{error.subject or 'this process'} may not {verb} {resource.plural}.{resource.group} in {where}: {fix}"
    return str(error)


def _namespace(project: str) -> str:
    """:raises LedgerError: a project is a namespace, and this is no name of one: it could lead out of its own."""
    if not _NAMESPACE.fullmatch(project):
        raise LedgerError(
            "context.project is not the name of a namespace (lower-case letters, digits and '-', at most 63): there "
            "can be no ledger record"
        )
    return project


# ---------------------------------------------------------------- objects


def _object(found: _Object) -> _Object:
    """:raises LedgerUnavailable: it is none; something else than an API server has answered."""
    metadata = found.get("metadata")
    if isinstance(metadata, dict) and all(metadata.get(name) for name in ("name", "uid", "resourceVersion")):
        return found
    raise LedgerUnavailable("something other than the Kubernetes API server answered: the answer contains no objects")


def _version(found: _Object) -> str:
    metadata = found["metadata"]
    return f"{metadata['uid']}/{metadata['resourceVersion']}"


def _of_others(metadata: _Object) -> _Object:
    """What in an object's metadata is not ours, and has to be there after our next PUT as well."""
    kept: _Object = {}
    for name, ours in (
        ("labels", (PROMOTION_LABEL, REPO_LABEL, WORKFLOW_LABEL, DUTY_LABEL, STATE_LABEL, RUN_LABEL)),
        ("annotations", (TARGET_ANNOTATION, CLAIMED_ANNOTATION)),
    ):
        if theirs := {key: value for key, value in (metadata.get(name) or {}).items() if key not in ours}:
            kept[name] = theirs
    references = metadata.get("ownerReferences") or ()
    if owners := [reference for reference in references if reference.get("apiVersion") != PROMOTION_API_VERSION]:
        kept["ownerReferences"] = owners
    if metadata.get("finalizers"):
        kept["finalizers"] = [name for name in metadata["finalizers"] if name != FINALIZER]
    return kept


def _merged(ours: _Object, others: _Object) -> _Object:
    merged = {**others, **ours}
    for name in ("labels", "annotations"):
        if name in ours and name in others:
            merged[name] = {**others[name], **ours[name]}
    if "ownerReferences" in ours and "ownerReferences" in others:
        merged["ownerReferences"] = [*ours["ownerReferences"], *others["ownerReferences"]]
    if "finalizers" in ours and "finalizers" in others:
        merged["finalizers"] = [*ours["finalizers"], *others["finalizers"]]
    return merged


def _deletion(found: _Object) -> float | None:
    """When somebody deleted it; seconds since 1970."""
    text = found["metadata"].get("deletionTimestamp")
    if not text:
        return None
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0  # long ago


def _encode(record: Record) -> _Object:
    """The record as an object, without uid and resourceVersion."""
    fields = record.model_dump(mode="json", exclude_none=True, exclude={"version"})
    body: _Object = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": record.key,
            "labels": {
                PROMOTION_LABEL: _label(record.promotion),
                REPO_LABEL: _repo_label(record.target),
                WORKFLOW_LABEL: _workflow_label(record.target),
                STATE_LABEL: record.state,
            },
        },
        "schemaVersion": fields.pop("schema_version"),
    }
    if record.promotion and record.promotion_uid:  # Kubernetes then deletes the record with its Promotion
        body["metadata"]["ownerReferences"] = [
            {
                "apiVersion": PROMOTION_API_VERSION,
                "kind": "Promotion",
                "name": record.promotion,
                "uid": record.promotion_uid,
            }
        ]
    for part in _AS_IT_IS:
        if part in fields:
            body[part] = fields.pop(part)
    if (asked := asked_text(record)) is not None:
        body["metadata"]["annotations"] = {ASKED_ANNOTATION: asked}
    if record.owes:
        body["metadata"]["labels"][DUTY_LABEL] = _OPEN
    if (run_id := _run_of(record)) is not None:
        body["metadata"]["labels"][RUN_LABEL] = str(run_id)
    for part, names in _PARTS.items():
        body[part] = _renamed({name: fields.pop(name) for name in names if name in fields}, _to_camel)
    body["progress"] = _renamed(fields, _to_camel)
    return body


def _decode(found: _Object) -> Record:
    """:raises LedgerError: it is no record that this version can read."""
    metadata = found["metadata"]
    try:
        parts = [_renamed(found[part], _to_snake) for part in (*_PARTS, "progress")]
        fields = {name: value for part in parts for name, value in part.items()}
        fields |= {part: found[part] for part in _AS_IT_IS if part in found}
        fields |= {"held": FINALIZER in (metadata.get("finalizers") or ()), "deletion": _deletion(found)}
        fields["asked"] = asked_of((metadata.get("annotations") or {}).get(ASKED_ANNOTATION))
        fields["state"] = found["progress"]["state"]  # a record without one must not look like one that was never sent
        return Record.model_validate({**fields, "schema_version": found["schemaVersion"], "version": _version(found)})
    except ValidationError as error:
        problems = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
    except (KeyError, TypeError, AttributeError) as error:
        problems = str(error)
    raise LedgerError(
        f"this version of gha-step cannot read the ledger record {metadata['name']} in the namespace "
        f"{metadata.get('namespace')} ({problems}), so nothing is sent: use the version that wrote it"
    )


_to_camel: Final = lru_cache(256)(to_camel)  # of some forty names, each in every record
_to_snake: Final = lru_cache(256)(to_snake)


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {
            rename(name): _renamed(inner, rename) if isinstance(inner, dict | list) else inner
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(inner, rename) for inner in value]
    return value


def _run_of(record: Record) -> int | None:
    """The run that its dispatch made, or that its step cancels."""
    if record.run is not None:
        return record.run.id
    cancelled = cancels(record)
    return None if cancelled is None else cancelled.run_id


def _label(promotion: str) -> str:
    """A label's value by which the records of one promotion are listed; its own name where that can be one."""
    return promotion if _LABEL.fullmatch(promotion) else f"sha256-{digest(promotion)[:40]}"


def _may_be_workflow_of(target: Target) -> str:
    """Selects, by labels, what `Target.may_be_workflow_of` holds of, whatever the project and ref; and some more."""
    if target.by_number:
        return f"{REPO_LABEL}={_repo_label(target)}"
    by_number = target.model_copy(update={"workflow": "0"})
    return f"{WORKFLOW_LABEL} in ({_workflow_label(target)},{_workflow_label(by_number)})"


def _repo_label(target: Target) -> str:
    return digest([target.api_base, target.repo])[:40]


def _workflow_label(target: Target) -> str:
    """One for each file, and one for all that are named by their number."""
    return digest([target.api_base, target.repo, "" if target.by_number else target.workflow])[:40]


def _gate_name(target: Target) -> str:
    return f"gha-step-{target.hash[:40]}"


def _encode_gate(gate: Lease) -> _Object:
    annotations = {TARGET_ANNOTATION: compact_json(gate.target.model_dump())}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": _gate_name(gate.target), "annotations": annotations},
        "spec": {} if gate.holder is None else {"holderIdentity": gate.holder},
    }


def _decode_gate(found: _Object, project: str, target: Target) -> Lease:
    """What others have written into it counts as nobody's turn: a Lease only delays, and never keeps a step."""
    holder = None
    try:
        if parse_json(found["metadata"]["annotations"][TARGET_ANNOTATION]) == target.model_dump():
            holder = found["spec"].get("holderIdentity")
        if not _KEY.fullmatch(holder or ""):
            holder = None
    except (KeyError, TypeError, AttributeError, ValueError):
        holder = None
    return Lease(project=project, target=target, version=_version(found), holder=holder)
