"""Local stand-ins for Azure and Databricks: Key Vault, logins by Entra ID, a workspace."""
