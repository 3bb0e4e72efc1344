"""Parsing: from bytes to typed rows or to rejections. Reads and writes nothing."""
