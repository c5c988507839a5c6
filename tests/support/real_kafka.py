"""A real Kafka: one node of KRaft on loopback, with SASL_SSL and SCRAM-SHA-512 as Port's brokers have them.

It needs `java`, and in ``KAFKA_JARS`` a folder with the jars of org.apache.kafka:kafka_2.13 and what it depends on:
`make test-kafka` gets them with Maven where there is one.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.support.certificates import Authority
from tests.support.kafka import WITHIN, Login
from tests.support.ports import free_port

USER: Final = "org_emulated"
PASSWORD: Final = "the-password-for-kafka"
STARTS_WITHIN: Final = 300.0  # seconds; it takes 10, and on a busy machine more than a minute
_CLUSTER: Final = "5L6g3nShT-eMCtK--X86sw"  # any 16 bytes in base64

PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=CLIENT://127.0.0.1:{client},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENT://127.0.0.1:{client},INSIDE://127.0.0.1:{inside}
inter.broker.listener.name=INSIDE
listener.security.protocol.map=CLIENT:SASL_SSL,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.client.ssl.keystore.type=PEM
listener.name.client.ssl.keystore.location={keystore}
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# Messages bear the time of the tests' clock, which is years ago: by default they would be deleted every five minutes.
log.retention.ms=-1
"""


def missing(environment: Mapping[str, str]) -> str | None:
    """What is not at hand; ``None``: nothing."""
    if shutil.which("java") is None:
        return "there is no java on the PATH"
    jars = environment.get("KAFKA_JARS", "")
    if not jars or not list(Path(jars).glob("kafka_2.13-*.jar")):
        return "KAFKA_JARS names no folder with the jars of org.apache.kafka:kafka_2.13"
    return None


@contextmanager
def real_kafka(folder: Path, *topics: str) -> Iterator[Login]:
    """A broker with these topics of one partition each; gives the login that Port would give."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder / "pki")
    issued = authority.issue("kafka")
    keystore = folder / "keystore.pem"
    key = load_pem_private_key(issued.key.read_bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # no other form is read
    keystore.write_bytes(pem + issued.certificate.read_bytes())
    client, inside, controller = free_port(), free_port(), free_port()
    properties = folder / "server.properties"
    properties.write_text(
        PROPERTIES.format(client=client, inside=inside, controller=controller, keystore=keystore, logs=folder / "logs")
    )
    scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
    format_it = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties), "--add-scram", scram]
    subprocess.run(_java(*format_it), check=True, capture_output=True, timeout=STARTS_WITHIN)
    with (folder / "kafka.log").open("wb") as log:
        process = subprocess.Popen(_java("kafka.Kafka", str(properties)), stdout=log, stderr=log)
    try:
        _create(f"127.0.0.1:{inside}", topics, process, folder / "kafka.log")
        yield Login((f"127.0.0.1:{client}",), "SASL_SSL", USER, PASSWORD, str(authority.certificate))
    finally:
        process.kill()
        process.wait(30)


def _java(*arguments: str) -> list[str]:
    jars = os.environ["KAFKA_JARS"]
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{jars}/*", *arguments]


def _create(address: str, topics: Sequence[str], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """The topics, once the broker answers."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            admin.list_topics(timeout=5)
        except KafkaException:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        else:
            break
    new = [NewTopic(topic, num_partitions=1, replication_factor=1) for topic in topics]
    for made in admin.create_topics(new).values():
        made.result(4 * WITHIN)
