"""What one trip to the VPS does: the entry points of the programs that change something."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.compose import CommandFailed, Refused
from ansible_collections.landfall.vps.plugins.module_utils.converge import Converger, Failed
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked
from ansible_collections.landfall.vps.plugins.module_utils.settling import Settling


def component(request: Mapping[str, Any], check_mode: bool, with_diff: bool) -> Dict[str, Any]:
    """Bring one component to what ``request`` says, or under check mode rehearse that; returns an Ansible result."""
    worker = Converger(request)
    result: Dict[str, Any] = {
        "changed": False,
        "action": planning.NONE,
        "reasons": [],
        "notes": worker.notes,
        "seconds": worker.seconds,
    }
    try:
        plan = planning.plan(worker.desired, worker.actual())
        result.update(changed=plan.changed, action=plan.action, reasons=list(plan.reasons))
        if with_diff:
            result["diff"] = worker.diff(plan)
        if plan.changed and check_mode:
            worker.rehearse(plan)
        elif plan.changed:
            worker.converge(plan)
    except Failed as error:
        result.update(action=planning.ROLLED_BACK, undone=error.undone, logs=error.logs)
        result.update(failed=True, msg="{0}: {1}".format(worker.desired.name, error.reason))
    except (Refused, Locked, CommandFailed, DockerError) as error:
        result.update(changed=False, action=planning.NONE)
        result.update(failed=True, msg="{0}: {1}".format(worker.desired.name, error))
    return result


def settle_all(root: str, network: Mapping[str, Any], run: str, who: str) -> Dict[str, Any]:
    """Start and prove what the run placed and free its lock; returns an Ansible result."""
    lock = Lock(root, run, who)
    try:
        lock.acquire("starting and proving what was placed")
        components = Settling(root, network, run=run).run()
    except (Locked, DockerError) as error:
        return {"changed": False, "failed": True, "msg": str(error), "components": {}}
    finally:
        lock.release()
    failed = {name: result for name, result in components.items() if "failed" in result}
    if not failed:
        return {"changed": False, "components": components}
    return {
        "changed": False,
        "failed": True,
        "msg": "; ".join("{0} ({1})".format(result["failed"], result["undone"]) for result in failed.values()),
        "components": components,
        "logs": "\n".join(result["logs"] for result in failed.values()),
    }
