"""`matchlake init`: a project of one's own, which runs at once."""
