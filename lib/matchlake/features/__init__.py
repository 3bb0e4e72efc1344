"""Features declared once and fitted in one pass into plain data that Spark, SQL and NumPy share."""
