"""Reports for people who write no SQL: one spec gives a page, a dashboard, and metric views."""
