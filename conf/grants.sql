-- Who may read what, and which columns hold personal data. Unity Catalog keeps both beside the tables;
-- the job `apply_grants` applies this file, to the tables and views that are there; those that are not yet,
-- it names in its log. Reviewed like code: nothing is granted or tagged by hand.
-- Grants on whole schemas, volumes and the model are the bundle's (databricks.yml).

-- Personal data, by what it says of a person. user_id is a pseudonym, which still leads to one.
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

-- Analysts: what says nothing of a single person, and the recommendations they are to judge. Table by
-- table, because what is granted on a schema holds for every table that will ever be in it.
GRANT USE SCHEMA ON SCHEMA bronze TO `analysts`;
GRANT USE SCHEMA ON SCHEMA gold TO `analysts`;
GRANT SELECT ON TABLE bronze.items TO `analysts`;
GRANT SELECT ON TABLE gold.item_features TO `analysts`;
GRANT SELECT ON TABLE gold.recommendations TO `analysts`;
GRANT SELECT ON TABLE gold.top_items TO `analysts`;
GRANT SELECT ON TABLE gold.recommendations_with_titles TO `analysts`;
GRANT SELECT ON TABLE gold.data_freshness TO `analysts`;
