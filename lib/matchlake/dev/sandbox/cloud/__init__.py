"""Local emulators of Azure and Databricks: Key Vault, logins by Entra ID, a workspace."""
