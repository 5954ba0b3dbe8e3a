"""Everything that fits a port of `dragoman.ports`. Only `app` imports from here."""
