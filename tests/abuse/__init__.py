"""`make abuse`: attacks beside a well-behaved project, and what they cost that project."""
