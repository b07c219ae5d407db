"""`python -m tests.corpus --write` writes the golden files anew; without it, it says which would change."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")


def main(arguments: list[str]) -> int:
    import django

    django.setup()
    from tests.corpus.golden import differences, write_all

    if "--write" in arguments:
        print(f"{write_all()} files written")
        return 0
    changed = differences()
    print("\n".join(changed) or "Nothing changed.")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
