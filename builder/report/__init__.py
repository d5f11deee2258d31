"""Pictures of a build, for people: one HTML file that needs nothing beside it."""
