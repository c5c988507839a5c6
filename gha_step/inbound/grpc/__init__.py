"""The gRPC way in."""
