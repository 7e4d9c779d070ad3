"""How well a text was read, against a truth."""
