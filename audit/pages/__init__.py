"""The web pages of the audit app: parse, call one operation, answer."""
