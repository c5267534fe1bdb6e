"""The durable workflow: measure -> harmonize -> check -> derive -> send -> confirm.

    worker     a process that takes jobs: its lock, its lease, its end
    memory     what a worker keeps between two series
    run        one job: the steps in their order, and what becomes of an error
    work       what the steps share: the job while it is this worker's, the volume, the plugin, the progress
    compute    measure, harmonize, check
    derived    derive
    deliver    send, confirm
    takeover   jobs of workers that died, and what the queue gave up, go back into the queue
    operate    what a person may ask: retry, start now, cancel

A step writes its results, its audit record and the series' move to the next state in one transaction. So the state says
what is done: a step that runs again after a kill finds the series moved on and has nothing to do.
"""

from node.workflow.operate import cancel, retry, start_now
from node.workflow.takeover import take_over
from node.workflow.work import Steps
from node.workflow.worker import run_worker

__all__ = ["Steps", "cancel", "retry", "run_worker", "start_now", "take_over"]
