"""`matchlake serve-stream`: updates a user with each event, and sends the new list."""
