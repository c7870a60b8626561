"""Three nodes and docker-compose-deploy.yml as it is shipped: the history is in MongoDB.

The tests follow each other on one swarm. Beside cron, a ledger takes samples on every node all the
time; what it has written down has to be in the history, once, whatever happened.
"""

from support.stack import API, MONGODB, NAME, SAMPLER, Load
from support.swarm import (
    assert_cron_samples, assert_history_outlives_the_stack, assert_one_history,
    assert_update_fails_nothing)

# which fixture `stack` deploys
FILE = MONGODB


def test_three_hosts_are_in_one_history(stack, ledger):
    assert_one_history(stack, ledger)


def test_a_node_that_was_lost_brings_all_its_records(stack, ledger):
    """Cut off it goes on sampling; then it crashes, with all of that in its outbox."""
    lost = stack.engines[2]
    lost.cut()
    stack.wait_node(lost, "Down")
    ledger.wait_for_more([lost], 2)
    waiting = [host for host, _ in ledger.missing(stack.export())]
    assert waiting.count(lost.name) >= 2
    lost.crash()
    lost.mend()
    lost.start()
    stack.wait_tasks(SAMPLER, stack.engines)
    ledger.wait_for_more([lost])
    assert ledger.doubled(ledger.wait_delivered()) == []


def test_an_update_of_the_api_fails_no_request(stack, ledger, capsys):
    assert_update_fails_nothing(stack, ledger, capsys)


def test_an_update_that_does_not_start_is_taken_back(stack, capsys):
    before = stack.inspect(API)["Spec"]["TaskTemplate"]["ContainerSpec"]
    with Load(stack) as load:
        load.wait_for_more(20)
        stack.docker("service", "update", "--detach", "--env-add",
                     "MEMORY_TRACKER_NO_SUCH_SETTING=1", f"{NAME}_{API}")
        stack.wait(lambda: stack.inspect(API)["UpdateStatus"]["State"].startswith("rollback"), 120,
                   "the update to be taken back")
        load.wait_for_more(50)
    with capsys.disabled():
        print(f"\nroll back: {load.result['sent']} requests sent, "
              f"{len(load.result['failed'])} failed")
    assert load.result["failed"] == []
    assert stack.inspect(API)["Spec"]["TaskTemplate"]["ContainerSpec"] == before
    stack.wait_running()


def test_cron_takes_a_record_each_minute(stack):
    assert_cron_samples(stack, [stack.engines[0], stack.engines[1]])


def test_a_stop_in_order_and_the_history_again(stack, ledger):
    assert_history_outlives_the_stack(stack, ledger)
