"""`matchlake secrets check|put|scope create-keyvault`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matchlake.config import load_config
from matchlake.errors import SecretError
from matchlake.io.secrets import (
    FileSecrets,
    Secret,
    SecretRef,
    connect_workspace,
    secret_chain,
    secret_references,
    secrets_file,
)

secrets_app = typer.Typer(
    no_args_is_help=True,
    help="Checks and stores the secrets that conf refers to; never prints a value.",
)
scope_app = typer.Typer(no_args_is_help=True, help="Databricks secret scopes.")
secrets_app.add_typer(scope_app, name="scope")

Env = Annotated[str, typer.Option("--env", help="conf/ENV.yml over conf/base.yml")]


@secrets_app.command()
def check(env: Env = "local") -> None:
    """Resolves every secret that the conf of an environment refers to; exits with 1 if one fails.

    For example: matchlake secrets check --env dev
    """
    config = load_config(env)
    chain = secret_chain(config.secrets, config.lakehouse)
    table = Table("", "reference", "named by", "answer", box=None, pad_edge=False)
    failed = 0
    for path, ref in secret_references(config).items():
        try:
            store, _ = chain.find(ref)
            mark, answer = Text("ok", "green"), f"from {store}"
        except SecretError as error:
            mark, answer = Text("FAILED", "bold red"), str(error)
            failed += 1
        table.add_row(mark, f"{ref.scope}/{ref.key}", path, Text(answer))
    console = Console()
    if not table.row_count:
        console.print(f"conf of {env} names no secrets.")
        return
    console.print(table)
    if failed:
        raise typer.Exit(1)


@secrets_app.command()
def put(
    scope: Annotated[str, typer.Argument(help="scope of the secret")],
    key: Annotated[str, typer.Argument(help="key in the scope")],
    env: Env = "local",
) -> None:
    """Puts a secret into the local file; asks for its value, or reads it from a pipe.

    For example: matchlake secrets put matchlake kafka-password
    """
    config = load_config(env)
    if "file" not in config.secrets.stores:
        stores = ", ".join(config.secrets.stores)
        raise SecretError(
            f"The local file is not a secret store of {env} (secrets.stores: {stores}). Use "
            "`az keyvault secret set` or `databricks secrets put-secret`."
        )
    ref = _reference(scope, key)
    path = secrets_file(config.secrets, config.lakehouse)
    FileSecrets(path).put(ref, Secret(_value(ref)))
    Console(soft_wrap=True).print(Text(f"{ref} is in {path}; only you can read this file."))


@scope_app.command("create-keyvault")
def create_keyvault(
    name: Annotated[str, typer.Argument(help="name of the new scope")],
    dns_name: Annotated[
        str, typer.Option(help="address of the vault: https://NAME.vault.azure.net")
    ],
    resource_id: Annotated[
        str, typer.Option(help="resource id of the vault: /subscriptions/.../vaults/NAME")
    ],
    env: Env = "dev",
    *,
    users_manage: Annotated[
        bool, typer.Option(help="let every user of the workspace manage the scope")
    ] = False,
) -> None:
    """Creates a Databricks scope that reads Azure Key Vault; needs a login by Entra ID.

    The workspace comes from DATABRICKS_HOST and the login of the Databricks tools. Afterwards
    the application AzureDatabricks needs the right to get and list secrets of the vault.

    For example: matchlake secrets scope create-keyvault matchlake-dev
    --dns-name https://NAME.vault.azure.net --resource-id /subscriptions/...
    """
    from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415 - a second to import
    from databricks.sdk.service.workspace import (  # noqa: PLC0415
        AzureKeyVaultSecretScopeMetadata,
        ScopeBackendType,
    )

    config = load_config(env)
    _check_vault(dns_name, resource_id)
    try:
        connect_workspace(config.lakehouse, config.secrets.timeout_seconds).secrets.create_scope(
            _reference(name, "any").scope,
            scope_backend_type=ScopeBackendType.AZURE_KEYVAULT,
            backend_azure_keyvault=AzureKeyVaultSecretScopeMetadata(
                dns_name=dns_name, resource_id=resource_id
            ),
            initial_manage_principal="users" if users_manage else None,
        )
    except (DatabricksError, ValueError, TimeoutError, OSError) as error:
        raise SecretError(
            f"Scope {name} was not created: {error}. The command needs a workspace "
            "(DATABRICKS_HOST), and a login by Entra ID (`az login`) with the right to manage "
            "access to the vault."
        ) from None
    Console(soft_wrap=True).print(Text(f"Scope {name} reads {dns_name}."))


def _reference(scope: str, key: str) -> SecretRef:
    try:
        return SecretRef(scope=scope, key=key)
    except ValueError:
        raise SecretError(
            f"{scope}/{key} is not a valid reference: scope and key have 1 to 128 letters, digits "
            "and characters of - _ . @"
        ) from None


def _value(ref: SecretRef) -> str:
    stdin = typer.get_text_stream("stdin")
    if stdin.isatty():
        return str(typer.prompt(f"value of {ref}", hide_input=True, confirmation_prompt=True))
    # A pipe adds one newline at the end; other newlines belong to the value.
    value = stdin.read().removesuffix("\n")
    if not value:
        raise SecretError(f"The pipe was empty, so {ref} was not changed.")
    return value


def _check_vault(dns_name: str, resource_id: str) -> None:
    parts = resource_id.lower().split("/")
    if "microsoft.keyvault" not in parts or not resource_id.startswith("/subscriptions/"):
        raise SecretError(
            f"{resource_id!r} is not the resource id of a vault. This command prints the id: "
            "`az keyvault show --name NAME --query id`."
        )
    if not dns_name.startswith("https://"):
        raise SecretError(
            f"{dns_name!r} is not the address of a vault, such as https://NAME.vault.azure.net."
        )
