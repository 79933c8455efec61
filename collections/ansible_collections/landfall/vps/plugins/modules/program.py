#!/usr/bin/python
"""Runs a program of the engine where it cannot be sent to the standard input of a command."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: program
short_description: Run a program of the engine on the VPS. Not for playbooks
version_added: "0.2.0"
description:
  - The plugins of this collection send their program to the standard input of Python on the VPS. Where pipelining is
    off or impossible (C(become_method=su)), they send it as the argument of this module instead.
options:
  source:
    description: Python source.
    type: str
    required: true
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Say hello
  landfall.vps.program:
    source: print("hello")
"""

RETURN = r"""
ended:
  description: Exit status of the program.
  returned: always
  type: int
stdout:
  description: What it printed.
  returned: always
  type: str
stderr:
  description: What it complained about.
  returned: always
  type: str
"""

import subprocess
import sys

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Run the program and hand on what it said."""
    module = AnsibleModule(
        argument_spec={"source": {"type": "str", "required": True, "no_log": True}}, supports_check_mode=True
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-"],
        input=module.params["source"].encode(),
        capture_output=True,
        cwd="/",
        check=False,
    )
    stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    module.exit_json(changed=False, ended=done.returncode, stdout=stdout, stderr=stderr)


if __name__ == "__main__":
    main()
