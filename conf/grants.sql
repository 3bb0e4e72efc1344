-- Grants on tables, and tags of the columns with personal data. Unity Catalog stores both.
-- The job `apply_grants` executes this file on existing tables and views, and logs the missing ones.
-- Change grants and tags here only, not by hand, so that every change is reviewed.
-- The bundle (databricks.yml) has the grants on schemas, volumes and the model.

-- Tags of personal data. user_id is a pseudonym: together with other data it can identify a person.
ALTER TABLE bronze.users SET TAGS ('data_class' = 'personal');
ALTER TABLE bronze.users ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE bronze.users ALTER COLUMN age SET TAGS ('pii' = 'age');
ALTER TABLE bronze.users ALTER COLUMN gender SET TAGS ('pii' = 'gender');
ALTER TABLE bronze.users ALTER COLUMN occupation SET TAGS ('pii' = 'occupation');
ALTER TABLE bronze.users ALTER COLUMN zip_code SET TAGS ('pii' = 'postal_code');

ALTER TABLE bronze.rating_events SET TAGS ('data_class' = 'personal');
ALTER TABLE bronze.rating_events ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
-- A quarantined record is kept as it came. It can hold anything.
ALTER TABLE bronze.rating_events ALTER COLUMN raw SET TAGS ('pii' = 'unknown');
ALTER TABLE bronze.rating_events ALTER COLUMN _error_message SET TAGS ('pii' = 'unknown');
ALTER TABLE bronze.lake_quarantine SET TAGS ('data_class' = 'personal');
ALTER TABLE bronze.lake_quarantine ALTER COLUMN row_text SET TAGS ('pii' = 'unknown');
ALTER TABLE bronze.lake_quarantine ALTER COLUMN _error_message SET TAGS ('pii' = 'unknown');

ALTER TABLE silver.ratings SET TAGS ('data_class' = 'personal');
ALTER TABLE silver.ratings ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE silver.interactions SET TAGS ('data_class' = 'personal');
ALTER TABLE silver.interactions ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE gold.user_features SET TAGS ('data_class' = 'personal');
ALTER TABLE gold.user_features ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE gold.recommendations SET TAGS ('data_class' = 'personal');
ALTER TABLE gold.recommendations ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE gold.related_users SET TAGS ('data_class' = 'personal');
ALTER TABLE gold.related_users ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE gold.related_users ALTER COLUMN related_user_id SET TAGS ('pii' = 'pseudonym');
ALTER TABLE gold.predicted_ratings SET TAGS ('data_class' = 'personal');
ALTER TABLE gold.predicted_ratings ALTER COLUMN user_id SET TAGS ('pii' = 'pseudonym');

-- Analysts may read tables without personal data, and the recommendations, to evaluate them. Each table
-- has its own grant, because a grant on a schema also applies to all later tables in it.
GRANT USE SCHEMA ON SCHEMA bronze TO `analysts`;
GRANT USE SCHEMA ON SCHEMA gold TO `analysts`;
GRANT SELECT ON TABLE bronze.items TO `analysts`;
GRANT SELECT ON TABLE gold.item_features TO `analysts`;
GRANT SELECT ON TABLE gold.recommendations TO `analysts`;
GRANT SELECT ON TABLE gold.top_items TO `analysts`;
GRANT SELECT ON TABLE gold.recommendations_with_titles TO `analysts`;
GRANT SELECT ON TABLE gold.data_freshness TO `analysts`;
