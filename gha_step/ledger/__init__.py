"""At most one dispatch per key: the record and its legal moves, attribution, and the stores."""
