"""`raw` for nodes without Python, with three additions: several commands in one task, over one multiplexed
connection; standard input; and `patient`, by which a lost connection is an exit code (255, as ssh's own), so that
`until` can try again while a node reboots.
"""

from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

NO_CONNECTION = 255


class ActionModule(ActionBase):
    _VALID_ARGS = frozenset(("commands", "stdin", "patient", "also_good"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        stdin = args.get("stdin")
        in_data = stdin.encode() if stdin is not None else None
        also_good = args.get("also_good", {})
        out, codes, wrong = {}, {}, []
        for name, command in args["commands"].items():
            try:
                code, stdout, stderr = self._connection.exec_command(command, in_data=in_data, sudoable=False)
            except AnsibleConnectionFailure as error:
                if not args.get("patient"):
                    raise
                # The multiplexed connection is gone with the node; the next attempt opens a new one.
                code, stdout, stderr = NO_CONNECTION, b"", str(error).encode()
            out[name] = stdout.decode(errors="replace")
            codes[name] = code
            if code != 0 and code not in also_good.get(name, []):
                wrong.append(f"{command}: exit code {code}: {stderr.decode(errors='replace').strip()[:300]}")
                break
        result.update(changed=False, out=out, codes=codes, failed=bool(wrong), msg="; ".join(wrong))
        return result
