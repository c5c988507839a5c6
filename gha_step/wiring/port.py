"""The interface to Port over the core: the intake, the follower, and what they need. Imported only if Port is on."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from gha_step import __version__
from gha_step.contract.errors import CredentialsError, StepError, Unavailable
from gha_step.contract.secret import Token
from gha_step.credentials.recent import RecentSecrets
from gha_step.credentials.secrets import SecretReader, text_of
from gha_step.credentials.token_shape import unfit
from gha_step.github.connection import Connector
from gha_step.inbound.duties import Duties
from gha_step.inbound.port import claiming, following, intake
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.claims import Claims
from gha_step.inbound.port.client import PortClient, PortCredentials, port_endpoint
from gha_step.inbound.port.errors import LoginRefused, NotSent
from gha_step.inbound.port.follower import PortReports
from gha_step.inbound.port.github import GitHubOfPort
from gha_step.inbound.port.intake import Door
from gha_step.inbound.port.metrics import PortMetrics, levels
from gha_step.ledger.keys import step_key
from gha_step.ledger.leader import Leader
from gha_step.ledger.store import Store
from gha_step.metrics import Level
from gha_step.runtime import Clock, Workers
from gha_step.settings import Settings
from gha_step.steps.access import Access
from gha_step.telemetry import Telemetry, log
from gha_step.wiring.core import Core, guarded

if TYPE_CHECKING:
    from gha_step.inbound.port.kafka import Kafka

CLIENT_ID: Final = "clientId"
CLIENT_SECRET: Final = "clientSecret"  # noqa: S105  the name of a key
LEAVE_WITHIN: Final = 5.0  # seconds


class PortParts:
    """What the ways in stand on: see the parts.

    :param project: where Port's Secrets lie and its records go.
    :param secrets: the core's own reader.
    :param connector: to Port; GitHub's own has its egress rules.
    :param store: whose `owed` lists the project's records.
    :param leader: whether this process works off what is owed.
    """

    def __init__(
        self,
        settings: Settings,
        core: Core,
        *,
        project: str,
        secrets: SecretReader,
        connector: Connector,
        store: Store,
        leader: Leader,
        clock: Clock,
        workers: Callable[[int, str], Workers],
        telemetry: Telemetry,
    ) -> None:
        """:raises BadEndpoint: GHA_STEP_PORTIO_API is none."""
        self.settings = settings
        self.project = project
        self._ledger = core.store
        self.clock = clock
        self.workers = workers
        self.metrics = PortMetrics()
        self.secrets = RecentSecrets(secrets, clock)
        waiting = workers(1, "wait")  # to wait with: it starts none
        self.client = PortClient(
            port_endpoint(settings.portio_api),
            self.credentials,
            connector=connector,
            clock=clock,
            workers=waiting,
            observe=self.metrics.requests.add,
        )
        self.api = PortApi(self.client)
        github = self._made_github(core, waiting)
        self.reports = self._made_reports(core, github, waiting)
        core.waking.listen(self.reports.heard)
        self.duties = Duties(store=store, handler=self.reports, leader=leader, clock=clock, workers=workers)
        self.intake = self._made_intake(core, github)
        self._kafka: Kafka | None = None
        self._claims: Claims | None = None
        telemetry.watch(self.metrics.counts, self._levels)
        self._threads = workers(2 + 8, "way")
        self._running: list[Future[None]] = []

    def _made_github(self, core: Core, waiting: Workers) -> GitHubOfPort:
        settings = self.settings
        access = Access(
            self.secrets,
            allow_http=settings.allow_http,
            shared_namespace=settings.shared_namespace or None,
            app_tokens=core.app_tokens,
        )
        return GitHubOfPort(
            project=self.project,
            secret=settings.portio_github_secret,
            secrets=self.secrets,
            access=access,
            app_tokens=core.app_tokens,
            client=core.client,
            clock=self.clock,
            workers=waiting,
            allow_http=settings.allow_http,
        )

    def _made_reports(self, core: Core, github: GitHubOfPort, waiting: Workers) -> PortReports:
        settings = self.settings
        return PortReports(
            api=self.api,
            github=github,
            run_poller=core.run_poller,
            dispatches=core.dispatches,
            store=core.store,
            clock=self.clock,
            workers=waiting,
            rules=following.Rules(settings.portio_queue, settings.portio_unknown, settings.portio_cancel),
            soon=lambda key: self.duties.soon(key),  # noqa: PLW0108  they are made after this one
            ends_differ=self.metrics.ends_differ.add,
        )

    def _made_intake(self, core: Core, github: GitHubOfPort) -> Door:
        settings = self.settings
        return Door(
            rules=intake.Rules(
                project=self.project,
                places=settings.portio_places,
                timeout=settings.portio_timeout,
                org=settings.portio_github_org,
                repos=settings.portio_repos,
            ),
            github=github,
            read_run=self.api.read_run,
            dispatches=core.dispatches,
            store=core.store,
            clock=self.clock,
            workers=self.workers,
            decided=self.duties.nudge,
        )

    def add_claims(self) -> None:
        """The way in `claims`."""
        settings, client = self.settings, self.client
        self._claims = Claims(
            self.api,
            self.intake,
            installation=settings.portio_installation,
            version=__version__,
            visibility=settings.portio_visibility,
            rules=claiming.Rules(places=settings.portio_places, poll=settings.portio_poll),
            clock=self.clock,
            personal=lambda: client.grant is not None and client.grant.machine is False,
            count=self.metrics.claims.add,
        )

    def add_kafka(self, authorities: str, session: float = 45.0) -> None:
        """The way in `kafka`. ``authorities``: a path, by which brokers are trusted; '': the system's."""
        from gha_step.inbound.port.broker import Broker  # librdkafka: 14 MB, and only those pay who read topics
        from gha_step.inbound.port.kafka import READERS, Kafka
        from gha_step.inbound.port.kafka_login import Topic

        settings, client = self.settings, self.client
        self._kafka = Kafka(
            self.api,
            self.intake,
            topic=Topic(
                topic=settings.portio_kafka_topic,
                group=settings.portio_kafka_group,
                brokers=settings.portio_kafka_brokers,
                security=settings.portio_kafka_security,
                ca=authorities,
                reset=settings.portio_kafka_offset_reset,
                session=session,
            ),
            decrypt=settings.portio_decrypt,
            secret=lambda: self.credentials().client_secret,
            secret_name=f"the Secret {settings.portio_secret} of project {self.project}",
            org_id=lambda: settings.portio_org_id or (None if client.grant is None else client.grant.org_id),
            known=self._has_record,
            connect=Broker,
            clock=self.clock,
            readers=self.workers(READERS, "message"),
            count=self.metrics.messages.add,
        )

    def _has_record(self, run_id: str) -> bool:
        caller = intake.caller_of(self.project, "run", run_id)
        return self._ledger.read(self.project, step_key(*caller.key_parts)) is not None

    def credentials(self) -> PortCredentials:
        """Port's client ID and secret as they are now.

        :raises NotSent: there are none, or they cannot be read.
        """
        source = f"the Secret {self.settings.portio_secret}"
        try:
            data = self.secrets.read(self.project, self.settings.portio_secret)
            client_id, secret = (
                _credential(data, key, f"project {self.project}: {source}") for key in (CLIENT_ID, CLIENT_SECRET)
            )
        except Unavailable as error:
            raise NotSent(str(error), error.retry_after or 5.0) from None
        except StepError as error:
            raise LoginRefused(str(error), 60.0) from None
        source = f"{source} of project {self.project}"
        return PortCredentials(client_id, Token(secret, "Port's client secret"), source)

    @property
    def ways(self) -> "list[Claims | Kafka]":
        """Those that are on."""
        return [way for way in (self._claims, self._kafka) if way is not None]

    def _levels(self) -> Iterator[Level]:
        refused = {way.name: way.refused for way in self.ways}
        if self._claims is not None:
            refused["nodes"] = self._claims.nodes_refused
        return levels(
            refused=refused,
            places_free=self.intake.free,
            paused=None if self._kafka is None else self._kafka.waiting_partitions,
            leads=self.duties.leads,
            standing=self.duties.standing,
            failing_since=self.reports.failing_since,
        )

    @property
    def refused(self) -> bool:
        """Whether Port refuses every way in, or the ledger keeps no reports."""
        ways = self.ways
        return not self._ledger.keeps_reports or (bool(ways) and all(way.refused for way in ways))

    def start(self) -> None:
        """Begin to work, on threads of its own."""
        log.info(
            "Port: %s of project %s; nothing else may claim runs for the installation %s or read this topic",
            " and ".join(sorted(self.settings.portio)) or "no way in",
            self.project,
            self.settings.portio_installation,
        )
        for work in (self.intake.run, self.duties.run):
            self._threads.spawn(guarded(work, "one of Port's threads ended"))
        self._running = [self._threads.spawn(guarded(way.run, f"Port's way in {way.name} ended")) for way in self.ways]

    def drain(self) -> None:
        """Take and begin nothing more."""
        self.intake.drain()
        self.duties.stop()

    def close(self) -> None:
        """Let the ways in take their leave: brokers, for one, give our partitions to others at once."""
        until = self.clock.monotonic() + LEAVE_WITHIN
        for way in self._running:
            self._threads.join(way, max(0.0, until - self.clock.monotonic()))
        self.client.close()


def _credential(data: Mapping[str, bytes], key: str, subject: str) -> str:
    """:raises CredentialsError: it is missing, or none."""
    text = text_of(data, key, subject)
    if not text:
        raise CredentialsError(f"{subject}: the key {key} is missing or empty: put Port's {key} there")
    if (why := unfit(text)) is not None:
        raise CredentialsError(f"{subject}: the key {key} {why}")
    return text
