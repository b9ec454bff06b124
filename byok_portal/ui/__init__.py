"""The portal's look: template tags, charts, theme. Must never import an app or decide anything."""
