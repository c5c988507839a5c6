"""At most one dispatch per key: the record and its legal transitions, attribution, and the stores."""
