"""A process of the server: the model, the application, and uvicorn's loop."""

import asyncio
import logging
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from matchlake.errors import ConfigError, MatchlakeError
from matchlake.io.brokers import configured_broker
from matchlake.io.secrets import SecretStore, mask_log, masked, secret_chain
from matchlake.serve.app import application
from matchlake.serve.connection import connection_class
from matchlake.serve.current import CurrentModel
from matchlake.serve.erased import erased_users
from matchlake.serve.event_buffer import EventBuffer
from matchlake.serve.kafka_producer import KafkaEvents
from matchlake.serve.metrics import Metrics
from matchlake.serve.prediction_log import PredictionLog
from matchlake.serve.settings import ServerSettings, receive, send
from matchlake.serve.state import State, Token

_log = logging.getLogger(__name__)


def main(descriptor: int) -> int:
    """Serves until SIGTERM, or until the starting process ends. Returns the exit code."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    mask_log()
    channel = socket.socket(fileno=descriptor)
    told, descriptors = receive(channel)
    if told is None:
        return 0
    try:
        state = make_state(ServerSettings.model_validate(told))
        config = _config(state)
    except MatchlakeError as error:
        _tell(channel, {"error": masked(str(error))})
        return 1
    listener = socket.socket(fileno=descriptors[0])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(_Server(config, state), state, listener, channel))
    return 0


def make_state(settings: ServerSettings) -> State:
    """Makes the state of a server process; raises the error of the part that cannot start."""
    params = settings.serving
    secrets = secret_chain(settings.secrets, settings.lakehouse)
    metrics = Metrics(Path(settings.metrics), settings.worker, settings.workers)

    ref, seconds = params.token, settings.secrets.cache_seconds
    return State(
        params=params,
        current=CurrentModel(
            Path(settings.path), lambda what: metrics.count(f"matchlake_model_{what}_total")
        ),
        metrics=metrics,
        log=_prediction_log(settings, secrets, metrics),
        erased=erased_users(settings.erased_users, settings.salt, secrets),
        token=None if ref is None else Token(lambda: secrets.get(ref).reveal(), max(1.0, seconds)),
    )


def _prediction_log(
    settings: ServerSettings, secrets: SecretStore, metrics: Metrics
) -> PredictionLog | None:
    log = settings.serving.log
    if log is None:
        return None
    broker = configured_broker(settings.kafka, settings.lakehouse, secrets)
    buffer = None
    if log.buffer is not None:
        path = Path(log.buffer)
        path = path.with_name(f"{path.stem}-{settings.worker}{path.suffix or '.db'}")
        buffer = EventBuffer(path, log.buffer_events)
    return PredictionLog(lambda: KafkaEvents(broker, log.topic), log.queue_events, metrics, buffer)


async def _serve(
    server: uvicorn.Server, state: State, listener: socket.socket, channel: socket.socket
) -> None:
    model = state.model
    watching = asyncio.create_task(state.watch())
    parent = asyncio.create_task(_until_alone(channel, server))
    ready = {"name": model.name, "version": model.version, "kind": model.kind}
    asyncio.get_running_loop().call_soon(_tell, channel, ready)
    await server.serve(sockets=[listener])
    for task in (watching, parent):
        task.cancel()
    if state.log is not None:
        await asyncio.to_thread(state.log.close, state.params.request_seconds)


def _tell(channel: socket.socket, message: dict[str, Any]) -> None:
    """Sends a message to the starting process, if it still runs."""
    with suppress(OSError):
        send(channel, message)


async def _until_alone(channel: socket.socket, server: uvicorn.Server) -> None:
    """Stops the server when the starting process ends, which closes the channel.

    Closing is an error if that process had not read everything.
    """
    channel.settimeout(0)
    with suppress(OSError):
        await asyncio.get_running_loop().sock_recv(channel, 1)
    server.should_exit = True


class _Server(uvicorn.Server):
    """A server whose health check fails while it stops, so that load balancers avoid it."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._state.is_stopping = True
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


def _config(state: State) -> uvicorn.Config:
    params = state.params
    tls: dict[str, Any] = {}
    if params.tls is not None:
        tls = {"ssl_certfile": params.tls.certificate, "ssl_keyfile": params.tls.key}
    config = uvicorn.Config(
        application(state),
        http=connection_class(state.metrics, params.max_connections, params.request_seconds),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, int(params.idle_seconds)),
        timeout_graceful_shutdown=max(1, int(params.request_seconds)),
        **tls,
    )
    try:
        config.load()
    except OSError as error:
        raise ConfigError(
            f"serving.tls: the certificate and key cannot be used: {error.strerror or error}."
        ) from None
    return config
