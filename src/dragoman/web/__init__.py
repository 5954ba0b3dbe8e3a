"""HTTP: the only room that imports Falcon."""
