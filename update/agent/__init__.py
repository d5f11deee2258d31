"""The agent: what a machine does about updates, from a version that is offered to one that has proven itself."""
