"""Raw text in: sources, encodings, splitting, the built-in corpus."""
