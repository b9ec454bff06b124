"""The web pages of the tenants app: parse, call one operation, answer."""
