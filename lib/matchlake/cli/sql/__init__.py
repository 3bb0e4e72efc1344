"""The analyst's SQL: `matchlake sql` for a query or a prompt, `matchlake sql-server` for JDBC."""
