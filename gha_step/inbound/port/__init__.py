"""The way in from Port: runs of self-service actions, automations and workflow nodes."""
