"""The national standard's documents (layout 1.01): built, checked, signed and read here. No Django, no database, no network."""
