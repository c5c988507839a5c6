"""The interface to Port: runs of self-service actions, automations and workflow nodes."""
