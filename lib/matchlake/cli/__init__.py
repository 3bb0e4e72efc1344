"""The command line `matchlake`; each command is imported when it is called."""
