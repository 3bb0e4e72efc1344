"""Stand-ins for the cloud a laptop lacks: Key Vault, its logins, a Databricks workspace."""
