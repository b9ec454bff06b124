"""The web pages of the keys app: parse, call one operation, answer."""
