"""What users are told of each mistake, by the real step against the emulated GitHub."""
