"""From files of the lake to rows of bronze tables."""
