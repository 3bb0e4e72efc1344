"""Raw records in, typed columns or a reason out. Pure: it reads and writes nothing."""
