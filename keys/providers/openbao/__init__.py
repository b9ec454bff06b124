"""OpenBao: the customer's own server."""
