"""The way out: every byte that leaves for a provider goes through `http.send`. No other module opens a
socket.
"""
