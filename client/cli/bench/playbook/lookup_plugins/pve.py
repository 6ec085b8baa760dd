"""GET answers of the Proxmox API, all over one connection and inside Ansible's own process: `uri` starts a Python for
each call, and the `url` lookup reads all certificates of the system for each.
"""

from __future__ import annotations

import http.client
import json
import ssl
from urllib.parse import urlsplit

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

TIMEOUT_SECONDS = 15


class LookupModule(LookupBase):
    def run(self, terms, variables=None, *, api, headers, ca):
        base = urlsplit(api)
        trust = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(base.hostname, base.port, context=trust, timeout=TIMEOUT_SECONDS)
        try:
            return [self._data(connection, base.path + term, dict(headers)) for term in terms]
        except OSError as error:
            raise AnsibleError(f"{api} does not answer: {error}") from error
        finally:
            connection.close()

    @staticmethod
    def _data(connection, path, headers):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise AnsibleError(f"GET {path}: {answer.status} {answer.reason}")
        return json.loads(body)["data"]
