"""The Kubernetes API server: JSON objects by path, each request sent exactly once.

It decides how the server is reached and what an answer means; it knows nothing about kinds of objects.

    KubeError
    ├─ AccessUnknown     no way to the API server is configured, or not a usable one   (a failed start)
    ├─ NotFound          the API server knows the resource, and this object is not there
    ├─ Denied            a starting API server denies everything for a moment: final only once ``lasting``
    │  ├─ Unauthorized   it does not accept our credentials (401); a token may just have been replaced
    │  ├─ Forbidden      it refuses this subject (RBAC), or an admission rule refuses the request
    │  └─ NotServed      it serves no such resource: the CustomResourceDefinition is missing
    ├─ Conflict          replace: the object has another resourceVersion or uid
    │  └─ AlreadyExists  create: there is an object of that name
    ├─ Invalid           it refuses the object, or the request, as such
    └─ KubeUnavailable   no clear answer: a write may have been applied, now or later
       └─ TooLong        the answer is longer than is read

No message contains a token: our own is removed from the API server's words.
"""

import re
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlencode, urlsplit

from gha_step import __version__
from gha_step.contract.errors import StepError
from gha_step.contract.json_text import compact_json, parse_json
from gha_step.contract.memory import Memory
from gha_step.large_answers import SMALL, LargeAnswers, Place
from gha_step.proxies import Proxies
from gha_step.runtime import Clock, Shares
from gha_step.trust import as_go_does, client_context

if TYPE_CHECKING:
    import ssl

JsonObject: TypeAlias = dict[str, Any]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT: Final = 4.0  # seconds: a step answers within 5
MAX_ANSWER: Final = 4 << 20  # bytes; etcd keeps objects under 2 MiB, and lists come in pages
FIRST_PAGE: Final = 50  # objects in the first answer to a list: a page that is too large costs the API server most …
PAGE: Final = 500  # … and in later ones, as kubectl asks; fewer where they are large
_JSON: Final = "application/json"
_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_METADATA_OF_ALL: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
LASTING: Final = 15.0  # seconds after which a denial is believed …
TRIES: Final = 3  # … if it came at least this often
ASK_AGAIN: Final = 5.0  # seconds between two tries
_FORGOTTEN_AFTER: Final = 600.0  # seconds without a request, after which earlier denials no longer count
CONNECTIONS: Final = 64  # at once; further requests wait, which costs less than another handshake
BESIDE_OTHERS: Final = 6  # of them for a namespace while others are asked about: the API server serves all alike
RECENT: Final = 1.0  # seconds for which there are, from the last one on
LONG_REST: Final = 5.0  # seconds for which nothing beside an object that was too long is asked for
_WORDS: Final = 500  # characters of the API server's message that ours repeats

# A segment never starts with a dot: urllib3 would resolve ".." and lead into another namespace.
_PATH: Final = re.compile(r"(/[A-Za-z0-9][-A-Za-z0-9._:]*)+")
_NAMESPACE: Final = re.compile(r"/apis?/.*?/namespaces/([^/]+)/")
_SUBJECT: Final = re.compile(r'User "([^"]+)" cannot ')


class KubeError(StepError):
    """``words``: the API server's own message, at most 500 characters, or empty."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(f"{message}: {words}" if words else message)
        self.words = words


class AccessUnknown(KubeError):
    """No usable way to the API server is configured; the message names the path or variable, and the fix."""


class NotFound(KubeError):
    """There is no such object (or, on create, no such namespace); the API server itself says so."""


class Denied(KubeError):
    """``lasting``: the same request has been denied for `LASTING` seconds and `TRIES` times, without a success."""

    lasting = False

    def told_as(
        self, words: str, final: Callable[[str], StepError], passing: Callable[[str, float], StepError]
    ) -> StepError:
        """The error that a caller raises: final only once the denial lasts."""
        return final(words) if self.lasting else passing(words, ASK_AGAIN)


class Unauthorized(Denied):
    """Our own credentials are not accepted."""


class NotServed(Denied):
    """The resource itself does not exist; whether the object exists is not known."""


class Forbidden(Denied):
    """Not allowed. ``subject``: the user that the API server sees, ``None`` if it does not say."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message, words)
        found = _SUBJECT.search(words)
        self.subject = found.group(1) if found else None

    def fix(self, namespace: str | None, rule: str, component: str) -> str:
        """The missing right and the folder of deploy/ that grants it; the API server's own words last.

        :param namespace: ``None``: in all.
        :param rule: as it stands in a Role.
        :param component: the folder's name below that of the host.
        """
        if self.subject is None and self.words:  # a policy, a quota or a webhook: no Role helps
            return self.words
        whom = self.subject or "the ServiceAccount of this process"
        role = "ClusterRole" if namespace is None else f"Role in the namespace {namespace}"
        host = {"default": "step-plugin", "gha-step-follower": "cancel-on-abort"}.get(
            whom.rpartition(":")[2], "service"
        )
        folder = f"deploy/{host}" + (f"/{component}" if component not in ("", host) else "")
        words = f" ({self.words})" if self.words else ""
        return f"give {whom} a {role} with the rule {rule}, as in {folder}{words}"


class Conflict(KubeError):
    """The object is not, or no longer, as the request says; an earlier write of ours may be the cause."""


class AlreadyExists(Conflict):
    """There is an object of that name already."""


class Invalid(KubeError):
    """The object, or the request, is refused as such (4xx): the same request will be refused again."""


class KubeUnavailable(KubeError):
    """No clear answer: a write may have been applied, or may still be applied later.

    ``retry_after`` is in seconds, as the API server asks, or 10.
    """

    def __init__(self, message: str, words: str = "", retry_after: float = 10.0) -> None:
        super().__init__(message, words)
        self.retry_after = retry_after


class TooLong(KubeUnavailable):
    """The answer is longer than is read: what was asked for has to be asked in parts."""


class _Denials:
    """Since when each request is denied, and how often."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Memory[tuple[str, str], tuple[float, float, int]] = Memory()  # first, last, how often

    def last(self, request: tuple[str, str]) -> bool:
        """Whether this denial, counted now, is one that lasts."""
        now = self._clock.monotonic()
        with self._lock:
            first, last, tries = self._known.get(request, (now, now, 0))
            if now - last > _FORGOTTEN_AFTER:
                first, tries = now, 0
            self._known[request] = first, now, tries + 1
        return tries + 1 >= TRIES and now - first >= LASTING

    def end(self, request: tuple[str, str]) -> None:
        with self._lock:
            self._known.pop(request, None)


class _LongOnes:
    """Where an object was longer than is read, of which the API server makes the whole each time that it is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = Memory()  # by collection; monotonic

    def begin(self, collection: str) -> bool:
        """Whether an object there may be asked for: after a rest by one caller, and by the others once it has it."""
        if collection not in self._until:
            return True
        now = self._clock.monotonic()
        with self._lock:
            if now < self._until.get(collection, now):
                return False
            self._until[collection] = now + LONG_REST
            return True

    def end(self, collection: str, *, too_long: bool) -> None:
        """What came of it."""
        if not too_long and collection not in self._until:
            return
        now = self._clock.monotonic()
        with self._lock:
            self._until.pop(collection, None)
            if too_long:
                self._until[collection] = now + LONG_REST


class KubeApi:
    """One API server under one identity; made by :func:`connect`. Threads may share it.

    Paths are those of the API, ``/api/v1/namespaces/NAMESPACE/secrets/NAME``, and never user input
    unchecked. Every method sends each of its requests once, and may raise any :class:`KubeError`.
    """

    def __init__(self, configuration: Any, clock: Clock, *, namespace: str | None, timeout: float) -> None:
        """:param configuration: a ``kubernetes.client.Configuration`` with host, trust and credentials."""
        from kubernetes.client.rest import RESTClientObject

        configuration.connection_pool_maxsize = CONNECTIONS
        self._configuration = configuration
        # The client's pool, not its request methods: they repeat what urllib3 finds worth repeating (four
        # PUTs on the wire after a reset), and some of their versions log Secrets at level debug.
        self._pool = RESTClientObject(configuration).pool_manager
        if str(configuration.host).startswith("https:"):
            self._pool.connection_pool_kw["ssl_context"] = _tls(configuration)
        self._pool.connection_pool_kw["block"] = True
        self._clock = clock
        self._denials = _Denials(clock)
        self._large = LargeAnswers(clock)
        self._long_ones = _LongOnes(clock)
        self._places = Shares(CONNECTIONS)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()  # for a place, by namespace
        self._asked: OrderedDict[str, float] = OrderedDict()  # namespaces, and when there was the last request for each
        self._timeout = timeout
        self._host = str(configuration.host).rstrip("/")
        address = urlsplit(self._host)
        self._name = f"the Kubernetes API server {address.scheme}://{address.netloc.rpartition('@')[2]}"
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<{self._name}>"

    @cached_property
    def _urlopen(self) -> Callable[..., Any]:
        """What sends one request to a URL of this server, once: by the pool of its connections, which is found once.

        Only a proxy that gets the requests themselves has to be told each time where they go.
        """
        from urllib3 import Retry, Timeout

        once = Retry(total=False, redirect=False)
        named: JsonObject = {"retries": once, "redirect": False, "preload_content": False}
        named |= {"timeout": Timeout(total=self._timeout), "pool_timeout": self._timeout}
        if self._configuration.proxy and not self._host.startswith("https:"):
            return partial(self._pool.urlopen, **named)
        pool, begin = self._pool.connection_from_url(self._host), len(urlsplit(self._host)._replace(path="").geturl())
        return lambda method, url, **what: pool.urlopen(method, url[begin:], assert_same_host=False, **named, **what)

    @property
    def host(self) -> str:
        """The API server's name or address."""
        return urlsplit(self._host).hostname or ""

    def own_namespace(self) -> str | None:
        """The pod's own namespace, or that of the kubeconfig's current context, if it names one."""
        return self._namespace

    def get(self, path: str, *, metadata_only: bool = False, most: int = MAX_ANSWER) -> JsonObject:
        """The object at ``path`` without its ``managedFields``: the newest, by quorum.

        :param metadata_only: nothing but its metadata.
        :param most: bytes of the answer.
        :raises TooLong: it has more, or another one of its collection had a moment ago.
        """
        read = partial(self._request, "GET", path, None, None, _METADATA if metadata_only else _JSON, _JSON, most)
        if most == MAX_ANSWER:  # which holds every object that the API server keeps
            return read()
        collection, too_long = path.rpartition("/")[0], False
        if not self._long_ones.begin(collection):
            raise TooLong(f"{self._name} is not asked for {path} now", "an object beside it was too long", LONG_REST)
        try:
            return read()
        except TooLong:
            too_long = True
            raise
        finally:
            self._long_ones.end(collection, too_long=too_long)

    def lets_in(self) -> bool:
        """Whether it accepts any request of this process, so that a denial is about the request itself.

        Every identity may read the version. A cluster that always denies it counts as accepting.
        """
        try:
            self.get("/version")
        except Denied as error:
            return error.lasting
        except KubeError:
            return False
        return True

    def create(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> JsonObject:
        """POST ``body`` to the collection at ``path``; gives the object as stored.

        :raises AlreadyExists: there is one of its name.
        """
        return self._request("POST", path, query, body)

    def replace(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> JsonObject:
        """PUT ``body`` over the object at ``path``; gives the object as stored.

        :raises Conflict: it is not of ``body``'s ``metadata.uid`` and ``metadata.resourceVersion``.
        """
        return self._request("PUT", path, query, body)

    def merge(self, path: str, change: Mapping[str, Any]) -> JsonObject:
        """PATCH what ``change`` names, and nothing else, of the object at ``path``; gives the object as stored.

        :raises Conflict: it is not of the ``metadata.uid`` in ``change``.
        """
        return self._request("PATCH", path, None, change, content=_MERGE)

    def delete(self, path: str, uid: str, version: str) -> None:
        """DELETE the object at ``path``.

        :raises Conflict: it is no longer of this ``metadata.uid`` and ``metadata.resourceVersion``.
        """
        self._request("DELETE", path, None, {"preconditions": {"uid": uid, "resourceVersion": version}})

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[JsonObject]:
        """The objects of the collection at ``path``, as one snapshot, read page by page.

        :param metadata_only: of each object nothing but its metadata.
        """
        for page, _ in self.pages(path, query, metadata_only=metadata_only):
            yield from page

    def pages(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[tuple[list[JsonObject], int]]:
        """As `items`, but the pages, and how many bytes each had."""
        limit, most, position = FIRST_PAGE, PAGE, dict[str, str]()
        heard = list[int]()
        while True:
            asked = {"limit": str(limit), **(query or {}), **position}
            accept = _METADATA_OF_ALL if metadata_only else _JSON
            try:
                page = self._request("GET", path, asked, None, accept, _JSON, MAX_ANSWER, heard)
            except TooLong:
                if limit == 1:
                    raise
                limit = most = max(1, limit // 8)
                continue
            found, metadata = page.get("items"), page.get("metadata")
            if metadata_only and "items" in page and page.get("kind") == "PartialObjectMetadataList":
                found = found or []  # which it writes as null
            if not isinstance(found, list) or not isinstance(metadata, dict):
                raise KubeUnavailable(f"{self._name} answered GET {path} with something other than a list")
            yield found, heard.pop()
            if not metadata.get("continue"):
                return
            if position.get("continue") == str(metadata["continue"]):
                raise KubeUnavailable(f"{self._name} answered GET {path} with the same page twice")
            limit, position = min(2 * limit, most), {"continue": str(metadata["continue"])}

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None = None,
        accept: str = _JSON,
        content: str = _JSON,
        most: int = MAX_ANSWER,
        heard: list[int] | None = None,
    ) -> JsonObject:
        """:param heard: gets the number of the answer's bytes."""
        if not _PATH.fullmatch(path):
            raise ValueError("not a path of the Kubernetes API")
        url = f"{self._host}{path}?{urlencode(query)}" if query else f"{self._host}{path}"
        headers = {"Accept": accept, "User-Agent": f"gha-step/{__version__}"}
        authorization = self._authorization()
        if authorization:
            headers["Authorization"] = authorization
        sent = None
        if body is not None:
            headers["Content-Type"] = content
            sent = compact_json(body).encode()
        found = _NAMESPACE.match(path)
        share = found[1] if found else ""
        with self._large.place(share) as room:
            with self._place(share):
                read = partial(self._read, room, most)
                status, retry_after, text = self._exchange(method, path, url, headers, sent, read)
            room.read()
            answer = _parsed(text)
        if heard is not None:
            heard.append(len(text))
        if 200 <= status < 300 and isinstance(answer, dict):
            self._denials.end((method, path))
            return answer
        words = _words(answer, authorization)
        error = _refusal(f"{self._name}: {method} {path}", status, answer, words, retry_after)
        if isinstance(error, Denied):
            error.lasting = self._denials.last((method, path))
        elif not isinstance(error, KubeUnavailable):
            self._denials.end((method, path))
        raise error

    @contextmanager
    def _place(self, share: str) -> Iterator[None]:
        """A connection: an admission webhook of one namespace may be slow, and delays that one alone."""
        self._take(share)
        try:
            yield
        finally:
            now = self._clock.monotonic()
            with self._lock:
                self._places.give(share)
                self._hand_on(now)

    def _take(self, share: str) -> None:
        """:raises KubeUnavailable: no place became free."""
        now = self._clock.monotonic()
        with self._lock:
            self._asked[share] = now
            self._asked.move_to_end(share)
            if share not in self._waiting and self._took(share, now):
                return
            turn = threading.Event()
            self._waiting.setdefault(share, deque()).append(turn)
        if turn.wait(self._timeout):
            return
        with self._lock:
            if turn.is_set():  # it came at the same moment
                return
            self._waiting[share].remove(turn)
            if not self._waiting[share]:
                del self._waiting[share]
        raise KubeUnavailable(f"{self._name}: too many requests for the namespace {share} wait for an answer")

    def _took(self, share: str, now: float) -> bool:
        """Take a place for it, if it may have one more; whether it has. Under the lock."""
        while self._asked and next(iter(self._asked.values())) < now - RECENT:
            self._asked.popitem(last=False)
        others = len(self._asked) > (share in self._asked)
        most = BESIDE_OTHERS if share and others else CONNECTIONS
        return self._places.held(share) < most and self._places.take(share)

    def _hand_on(self, now: float) -> None:
        """Free places to those who wait, each namespace in turn; nobody else is woken. Under the lock."""
        for share, turns in list(self._waiting.items()):
            while turns and self._took(share, now):
                turns.popleft().set()
                self._waiting.move_to_end(share)
            if not turns:
                del self._waiting[share]

    def _authorization(self) -> str | None:
        try:
            value = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        except Exception as error:  # noqa: BLE001  a credential plugin may raise anything, and quote secrets
            raise KubeUnavailable(
                f"{self._name}: our own credentials cannot be read ({type(error).__name__})"
            ) from None
        if value is None:
            return None
        value = str(value).strip()
        if not (value.isascii() and value.isprintable()):  # http.client's own complaint would quote it
            raise KubeUnavailable(f"{self._name}: our own credentials contain characters that no token has")
        return value

    def _exchange(
        self,
        method: str,
        path: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        read: Callable[[Any, float], bytes],
    ) -> tuple[int, float, bytes]:
        """Status, Retry-After in seconds, body."""
        from urllib3 import exceptions

        deadline = self._clock.monotonic() + self._timeout
        try:
            response = self._urlopen(method, url, headers=headers, body=body)
            try:
                text = read(response, deadline)
            finally:  # a body that was read to its end has already released the connection
                response.close()
                response.release_conn()
        except _Long as error:
            raise TooLong(f"{self._name} does not answer {method} {path}", str(error)) from None
        except (OSError, exceptions.HTTPError) as error:
            late = isinstance(_cause(error), TimeoutError)
            why = f"no answer within {self._timeout:g} s" if late else _text(_cause(error))
            raise KubeUnavailable(f"{self._name} does not answer {method} {path}", why) from None
        return response.status, _seconds(response.headers.get("Retry-After")), text

    def _read(self, room: Place, most: int, response: Any, deadline: float) -> bytes:
        text = bytearray()
        while True:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise OSError(f"no complete answer within {self._timeout:g} s")
            socket = getattr(response.connection, "sock", None)
            if socket is not None:  # otherwise urllib3's time-out starts again with every read
                socket.settimeout(left)
            piece = response.read1(1 << 16)
            if not piece:
                return bytes(text)
            text += piece
            if len(text) > most:
                raise _Long(f"an answer of more than {most} bytes")
            if len(text) > SMALL and not room.grow(most, deadline - self._clock.monotonic()):
                raise _Long("its answer is large, and there is no memory for it now")


class _Long(OSError):
    pass


def connect(
    environ: Mapping[str, str],
    clock: Clock,
    *,
    timeout: float = TIMEOUT,
    service_account: Path = SERVICE_ACCOUNT,
) -> KubeApi:
    """The API server of the pod that this runs in, if ``KUBERNETES_SERVICE_HOST`` is set, else kubeconfig's.

    No request is sent. Imports the official client, which costs about 0.1 s and 17 MB: call it before ready.

    :param timeout: seconds for one request, from connecting to the last byte, and for the wait for a connection.
    :raises AccessUnknown: neither is there, or it cannot be used.
    """
    configuration, namespace = (
        _in_pod(environ, service_account) if environ.get("KUBERNETES_SERVICE_HOST") else _kubeconfig(environ)
    )
    _go_through_proxy(configuration, Proxies.parse(environ))
    return KubeApi(configuration, clock, namespace=namespace, timeout=timeout)


def _tls(configuration: Any) -> "ssl.SSLContext":
    """The context of all connections; the client's own refuses CAs that kubectl and Kargo accept (see `trust`)."""
    import ssl

    from urllib3.util.ssl_ import create_urllib3_context

    required = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    context = as_go_does(create_urllib3_context(cert_reqs=required))
    if not (configuration.ssl_ca_cert or configuration.ca_cert_data):
        context.load_default_certs()
    return context


def _go_through_proxy(configuration: Any, proxies: Proxies) -> None:
    """Use the proxy of the kubeconfig's cluster, regardless of NO_PROXY, or else the environment's."""
    address = urlsplit(configuration.host)
    if not configuration.proxy and address.scheme == "https":
        found = proxies.for_tls(address.hostname or "", address.port or 443)
        configuration.proxy = found.url if found else None
    configuration.no_proxy = ""
    configuration.proxy_ssl_context = client_context() if (configuration.proxy or "").startswith("https:") else None


def _in_pod(environ: Mapping[str, str], service_account: Path) -> tuple[Any, str | None]:
    from kubernetes.client.configuration import Configuration
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.incluster_config import InClusterConfigLoader

    token, authority = service_account / "token", service_account / "ca.crt"
    configuration: Any = Configuration(proxy="")  # read from the environment below, as Go does
    try:
        InClusterConfigLoader(  # type: ignore[no-untyped-call]
            str(token), str(authority), try_refresh_token=False, environ=environ
        ).load_and_set(configuration)
    except (ConfigException, OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise AccessUnknown(
            f"{service_account} cannot be used to reach the Kubernetes API ({why}): "
            "the pod needs automountServiceAccountToken: true, and this process must be able to read it"
        ) from None

    def read_token(configuration: Any) -> None:
        # The loader caches a token for a minute, but the kubelet may replace the file at any time.
        configuration.api_key["BearerToken"] = f"Bearer {token.read_text().strip()}"

    configuration.refresh_api_key_hook = read_token
    try:
        namespace = (service_account / "namespace").read_text().strip()
    except (OSError, UnicodeDecodeError):
        namespace = ""
    return configuration, namespace or None


def _kubeconfig(environ: Mapping[str, str]) -> tuple[Any, str | None]:
    from kubernetes.client.configuration import Configuration
    from kubernetes.config.kube_config import list_kube_config_contexts, load_kube_config

    path = environ.get("KUBECONFIG") or "~/.kube/config"
    configuration: Any = Configuration(proxy="")  # read from the environment below, as Go does
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path, client_configuration=configuration
        )
        context = list_kube_config_contexts(config_file=path)[1]  # type: ignore[no-untyped-call]
        namespace = context["context"].get("namespace")
    except Exception:  # noqa: BLE001  loading may raise anything, and the messages quote the file with its token
        raise AccessUnknown(
            "no access to a Kubernetes API server: KUBERNETES_SERVICE_HOST is not set, as it is in a pod, "
            f"and {path} is not a usable kubeconfig: set KUBECONFIG to one with a current-context"
        ) from None
    return configuration, str(namespace) if namespace else None


def _parsed(text: bytes) -> object:
    """Without what nobody reads: who wrote which field may be most of an object, in a hundred thousand values."""
    try:
        answer = parse_json(text)
    except ValueError:
        return None
    if isinstance(answer, dict):
        items = answer.get("items")
        for one in [answer, *(items if isinstance(items, list) else ())]:
            if isinstance(one, dict) and isinstance(metadata := one.get("metadata"), dict):
                metadata.pop("managedFields", None)
    return answer


def _refusal(asked: str, status: int, answer: object, words: str, retry_after: float) -> KubeError:
    """The error for an answer that is not an object."""
    told = answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}
    match status:
        case 404 if (told.get("details") or {}).get("name"):  # it names the object that is missing
            return NotFound(f"{asked}: not found", words)
        case 404:
            return NotServed(f"{asked}: the API server serves no such resource", words)
        case 403:
            return Forbidden(f"{asked}: forbidden", words)
        case 409 if told.get("reason") == "AlreadyExists":
            return AlreadyExists(f"{asked}: already exists", words)
        case 409:
            return Conflict(f"{asked}: conflict", words)
        case 401:
            return Unauthorized(f"{asked}: our credentials are not accepted (401)", words)
        case 408 | 410 | 429:
            return KubeUnavailable(f"{asked}: try again later ({status})", words, retry_after)
        case _ if 400 <= status < 500:
            return Invalid(f"{asked}: refused ({status})", words)
        case _:
            return KubeUnavailable(f"{asked}: no clear answer ({status})", words, retry_after)


def _words(answer: object, authorization: str | None) -> str:
    """The message of a ``Status``; nothing of other answers: a proxy may repeat anything."""
    if not isinstance(answer, dict) or answer.get("kind") != "Status":
        return ""
    words = " ".join(str(answer.get("message") or "").split())
    for secret in (authorization or "").split():
        if len(secret) > len("Bearer"):
            words = words.replace(secret, "***")
    return words[:_WORDS]


def _cause(error: BaseException) -> BaseException:
    """The innermost cause: urllib3 wraps the system's error several times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _text(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _seconds(retry_after: str | None) -> float:
    return min(max(float(retry_after), 1.0), 60.0) if retry_after and retry_after.isdecimal() else 10.0
