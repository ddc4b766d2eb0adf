"""The command line: one thin file a verb, which wires the parts and decides nothing."""
