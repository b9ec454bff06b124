"""The provider catalogue, call patterns, shapes, the outgoing client and the adapters."""
