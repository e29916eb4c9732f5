"""One toggle at a time: what each does by itself, a base and a variant measured in turn."""
