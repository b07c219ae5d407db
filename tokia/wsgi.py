"""Pages, API and admin, for gunicorn. The gateway is a process of its own: `gateway.asgi:app`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
application = get_wsgi_application()
