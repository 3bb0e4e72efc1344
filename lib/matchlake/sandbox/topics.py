"""Topics of a broker: made, described, counted, through its own protocol."""

import socket

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from matchlake.errors import SandboxError

_PATIENCE_MS = 10_000


def broker_answers(bootstrap: str, cluster: str) -> bool:
    """Whether a broker at `bootstrap` speaks Kafka, is open for work, and is one of `cluster`."""
    host, _, port = bootstrap.rpartition(":")
    try:
        # Asked first because the client writes a log line for every attempt that fails.
        with socket.create_connection((host, int(port)), timeout=1):
            pass
        with KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=2000) as admin:
            found = admin.describe_cluster()
    except (OSError, KafkaError):
        return False
    is_open = any(not broker.get("is_fenced") for broker in found["brokers"])
    return is_open and found["cluster_id"] == cluster


def create_topic(bootstrap: str, name: str, partitions: int) -> bool:
    """Makes topic `name`, and returns True; False when it is there with as many partitions.

    Raises:
        SandboxError: no broker answers at `bootstrap`, the name is not a legal one, or the topic
            is there with another number of partitions.
    """
    with connect_admin(bootstrap) as admin:
        try:
            admin.create_topics({name: {"num_partitions": partitions}}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            found = len(admin.describe_topics([name])[0]["partitions"])
            if found == partitions:
                return False
            raise SandboxError(
                f"Topic {name} is there with {found} partitions, not {partitions}: "
                "use it as it is, or another name."
            ) from None
        except KafkaError as error:
            raise SandboxError(f"Topic {name!r} could not be made: {error}") from error
    return True


def connect_admin(bootstrap: str) -> KafkaAdminClient:
    """An admin client, to be used in a `with`; raises SandboxError when no broker answers."""
    try:
        return KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_PATIENCE_MS)
    except (OSError, KafkaError) as error:
        raise SandboxError(
            f"No broker answers at {bootstrap}: start the sandbox's with `matchlake sandbox "
            "start`, or check the address."
        ) from error
