"""Secrets: conf holds references; a store resolves them when a client connects."""

from matchlake.io.secrets.chain import (
    CachedSecrets,
    ChainedSecrets,
    connect_workspace,
    secret_chain,
    secrets_file,
)
from matchlake.io.secrets.local import EnvironmentSecrets, FileSecrets, write_private
from matchlake.io.secrets.masking import mask_log, masked
from matchlake.io.secrets.params import SecretsParams
from matchlake.io.secrets.references import (
    refuse_foreign_secrets,
    refuse_redirected_secrets,
    secret_references,
)
from matchlake.io.secrets.value import Secret, SecretRef, SecretStore

__all__ = [
    "CachedSecrets",
    "ChainedSecrets",
    "EnvironmentSecrets",
    "FileSecrets",
    "Secret",
    "SecretRef",
    "SecretStore",
    "SecretsParams",
    "connect_workspace",
    "mask_log",
    "masked",
    "refuse_foreign_secrets",
    "refuse_redirected_secrets",
    "secret_chain",
    "secret_references",
    "secrets_file",
    "write_private",
]
