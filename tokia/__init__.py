"""Foundation and roof: what every app stands on, and what puts them together. No business here.

Ground (imports no app): `errors` the base of what a customer may see · `clock` time and Brazil's calendar · `crashpoints`
places where a test kills the process · `settings` · `logs` form and scrubbing · `manners` of the management API · `openapi`
its description · `sealing` secrets at rest · `outbound` calls to customers' addresses, never into our own network.
The machine: `stack` what `make up` starts · `stackhome` what it remembers · `stores` PostgreSQL and Valkey from wheels ·
`supervisor` order, logs, restarts, stop · `processes` children that never outlive us · `roles.sql` the two database roles.
Roof (may import every app): `urls` the list of prefixes · `home` pages that span apps · `health` · `celery` the timetable ·
`wsgi` · `management/commands` (up, down, demo, seed).
The outside world on loopback: `sandbox`, which imports neither the apps nor the settings.
"""
