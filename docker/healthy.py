"""Whether the server or worker of this container answers at $JDN_HEALTH_URL; unset, there is none to ask."""

import os
import sys
import urllib.error
import urllib.request

if url := os.environ.get("JDN_HEALTH_URL"):
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except (urllib.error.URLError, OSError) as error:
        sys.exit(f"{url}: {error}")
