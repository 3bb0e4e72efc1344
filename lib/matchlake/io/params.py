"""The parameters of Kafka, storage accounts, MLflow and table maintenance; without Spark."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params, Settable
from matchlake.schemas import TableName

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,64}")


class OAuthParams(Params):
    """The source of access tokens: a token endpoint, and the client's id and secret."""

    token_endpoint: str
    """The endpoint's address: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token."""
    client_id: str
    """The application's id."""
    client_secret: SecretRef
    """The reference to the application's secret."""
    scope: str = ""
    """The scope of the token, such as https://NAME.servicebus.windows.net/.default."""
    ca_file: str | None = None
    """PEM file of the authorities that may sign the endpoint's certificate; null: Python's own."""

    @field_validator("token_endpoint")
    @classmethod
    def _require_https(cls, url: str) -> str:
        if urlsplit(url).scheme != "https":
            raise ValueError("must be an https address, because a secret is sent there")
        return url


class SslParams(Params):
    """Encryption of the connection, with a check of the broker's certificate and host name."""

    ca_file: str | None = None
    """PEM file of the trusted authorities; null: those of Java and of Python."""


class SaslParams(Params):
    """The login at the broker."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
    """PLAIN and OAUTHBEARER send a secret, so they need `kafka.ssl`."""
    username: str | None = None
    """For PLAIN and SCRAM."""
    password: SecretRef | None = None
    """For PLAIN and SCRAM: the reference to the password."""
    oauth: OAuthParams | None = None
    """For OAUTHBEARER: the source of access tokens."""

    @model_validator(mode="after")
    def _validate_mechanism(self) -> Self:
        by_token = self.mechanism == "OAUTHBEARER"
        if by_token and (self.oauth is None or self.username or self.password):
            raise ValueError("OAUTHBEARER takes oauth, and neither username nor password")
        if not by_token and (self.oauth or not self.username or self.password is None):
            raise ValueError(f"{self.mechanism} takes username and password, and no oauth")
        return self


class EventHubsParams(Params):
    """Azure Event Hubs through its Kafka endpoint; address, encryption and login follow from it."""

    namespace: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9](\.[a-z0-9.]+)?$")
    """The name of the namespace, or its host if this is not `NAME.servicebus.windows.net`."""
    connection: SecretRef
    """The reference to the connection string of the namespace or of one hub."""


class KafkaParams(Params):
    """The connection to the broker."""

    bootstrap_servers: str | None = None
    """`host:port`, several with commas; null: the sandbox's broker below `lakehouse`."""
    event_hubs: EventHubsParams | None = None
    """Event Hubs, instead of `bootstrap_servers`, `ssl` and `sasl`."""
    ssl: SslParams | None = None
    """Encryption of the connection; null: none."""
    sasl: SaslParams | None = None
    """The login at the broker; null: none."""
    login_module_prefix: str = Field("", pattern=r"^([a-z]+\.)*$")
    """Prefix of Java's login modules: `kafkashaded.` on Databricks."""
    timeout_seconds: Settable[float] = Field(5.0, gt=0)
    """The timeout of the broker's first answer, in seconds; then the job fails."""

    @model_validator(mode="after")
    def _require_ssl_with_secrets(self) -> Self:
        if self.event_hubs and (self.bootstrap_servers or self.ssl or self.sasl):
            raise ValueError("event_hubs cannot be combined with bootstrap_servers, ssl or sasl")
        sends_secret = self.sasl and self.sasl.mechanism in ("PLAIN", "OAUTHBEARER")
        if sends_secret and not self.ssl and not _all_local(self.bootstrap_servers):
            raise ValueError("PLAIN and OAUTHBEARER send a secret: set ssl as well")
        return self


class AccountParams(Params):
    """The service principal for one storage account."""

    tenant: str
    """The directory's id or domain."""
    client_id: str
    """The application's id."""
    client_secret: SecretRef
    """The reference to the application's secret."""
    suffix: str = Field("dfs.core.windows.net", pattern=r"^dfs(\.[a-z0-9-]+)+$")
    """The domain after the account's name; national clouds have another one."""

    @field_validator("tenant")
    @classmethod
    def _validate_tenant(cls, tenant: str) -> str:
        if not _TENANT.fullmatch(tenant):
            raise ValueError("must be the id of a directory or a domain")
        return tenant


class StorageParams(Params):
    """Storage accounts that are used without Unity Catalog's external locations."""

    accounts: dict[str, AccountParams] = Field(default_factory=dict)
    """The service principals by the names of the accounts."""

    @field_validator("accounts")
    @classmethod
    def _validate_names(cls, accounts: dict[str, AccountParams]) -> dict[str, AccountParams]:
        for name in accounts:
            if not _ACCOUNT.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not the name of a storage account: 3 to 24 letters and digits"
                )
        return accounts


class TrackingParams(Params):
    """The MLflow servers, and the names of the experiment and the model."""

    uri: str | None = None
    """MLflow's server (https; http on this machine), sqlite or file store, `databricks`; null:
    SQLite if `lakehouse` is set, else Databricks. MLflow reads a server's credentials from
    MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN."""
    registry: str | None = None
    """The model registry; null: Unity Catalog on Databricks, else the same as `uri`."""
    experiment: str = "matchlake"
    """The experiment of the runs; a workspace path on Databricks."""
    model: str = "recommender"
    """Registered name of the model; `catalog.schema.model` with Unity Catalog."""
    staging: str | None = None
    """Folder for temporary model files; null: the local disk of the driver. In a volume
    (`/Volumes/...`) the executors write and read these files, not the driver."""

    @field_validator("uri", "registry")
    @classmethod
    def _require_safe_store(cls, uri: str | None) -> str | None:
        if uri is not None and not _is_safe_store(uri):
            raise ValueError(
                "must be a server with https, a server on this machine with http, a path, sqlite, "
                "file, databricks or databricks-uc, because credentials are sent there"
            )
        return uri

    @field_validator("uri", "registry")
    @classmethod
    def _refuse_password(cls, uri: str | None) -> str | None:
        if uri and urlsplit(uri).password:
            raise ValueError(
                "must not hold a password: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD instead"
            )
        return uri


class MaintainParams(Params):
    """The work of `maintain_tables`."""

    tables: tuple[TableName, ...] | None = None
    """Names of the tables; null: all."""
    optimize: Settable[bool] = True
    """Whether to join small files, and to cluster rows as `cluster_by` says."""
    cluster_by: dict[TableName, tuple[str, ...]] = Field(default_factory=dict)
    """The clustering columns per table; filters on them read fewer files."""
    vacuum: Settable[bool] = True
    """Whether to remove files that no version of a table needs."""
    vacuum_hours: Settable[float | None] = Field(None, ge=0)
    """The age at which an unneeded file is removed; null: the retention of each table. An age below
    the retention, or below an hour, is refused: it may delete files of a write in progress."""
    fit_checkpoint_days: Settable[float] = Field(7, ge=0)
    """The age at which the checkpoints of failed trainings are removed. They hold ids of users."""


def _is_safe_store(uri: str) -> bool:
    """Whether credentials for MLflow's store at `uri` stay on this machine or are encrypted."""
    if not re.fullmatch(r"[^\\\x00-\x1f\x7f]+", uri):  # clients read such addresses differently
        return False
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return False
    match parts.scheme:
        case "https":
            return bool(host)
        case "http":
            return host in _LOOPBACK
        case "" | "file" | "sqlite":
            return not parts.netloc
        case scheme:
            return scheme in ("databricks", "databricks-uc")


def _all_local(servers: str | None) -> bool:
    """Whether all servers are on this machine; the sandbox's broker always is."""
    if not servers:
        return True
    hosts = [each.strip().rpartition(":")[0] for each in servers.split(",")]
    return all(host in _LOCAL_HOSTS for host in hosts)
