"""`orchwatch dashboard`: what `current`, `kpi` and `trace` say, live, in a terminal."""
