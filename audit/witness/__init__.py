"""A C2SP witness, for another administrator on another machine. Must never need a database or the portal's settings."""
