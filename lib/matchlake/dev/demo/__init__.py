"""`matchlake demo`: all jobs on sample data, in one session, with one line per step."""
