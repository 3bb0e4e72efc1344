-- Grants on tables, and tags of the columns with personal data. The job `apply_grants` executes this file.
ALTER TABLE bronze.order_events SET TAGS ('data_class' = 'personal');
ALTER TABLE bronze.order_events ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
-- A quarantined record is kept as it came. It can hold anything.
ALTER TABLE bronze.order_events ALTER COLUMN raw SET TAGS ('pii' = 'unknown');
ALTER TABLE bronze.lake_quarantine ALTER COLUMN row_text SET TAGS ('pii' = 'unknown');
ALTER TABLE silver.orders SET TAGS ('data_class' = 'personal');
ALTER TABLE silver.interactions SET TAGS ('data_class' = 'personal');
ALTER TABLE gold.recommendations SET TAGS ('data_class' = 'personal');

GRANT USE SCHEMA ON SCHEMA bronze TO `analysts`;
GRANT USE SCHEMA ON SCHEMA gold TO `analysts`;
GRANT SELECT ON TABLE bronze.items TO `analysts`;
GRANT SELECT ON TABLE gold.recommendations TO `analysts`;
GRANT SELECT ON TABLE gold.recommendations_with_titles TO `analysts`;
GRANT SELECT ON TABLE gold.data_freshness TO `analysts`;
