"""Three nodes and docker-compose-deploy-http.yml as it is shipped: samplers push to one API.

The tests follow each other on one swarm, as those of test_swarm_mongodb.py do. Here the API's node
is the one that goes away: it has the history.
"""

from support.stack import API, HTTP, SAMPLER
from support.swarm import (
    assert_cron_samples, assert_history_outlives_the_stack, assert_one_history,
    assert_update_fails_nothing)

# which fixture `stack` deploys
FILE = HTTP


def test_three_hosts_are_in_one_history(stack, ledger):
    assert_one_history(stack, ledger)


def test_samplers_wait_for_the_node_of_the_api(stack, ledger):
    lost = stack.store_node
    others = [node for node in stack.engines if node is not lost]
    lost.cut()
    stack.wait_node(lost, "Down")
    ledger.wait_for_more(others, 1)
    # what the lost node samples, it can deliver to itself
    missing = {host for host, _ in ledger.missing(stack.export())}
    assert missing >= {node.name for node in others}
    lost.mend()
    stack.wait_tasks(SAMPLER, stack.engines)
    stack.wait_tasks(API, [lost])
    ledger.wait_for_more(stack.engines)
    assert ledger.doubled(ledger.wait_delivered()) == []


def test_an_update_of_the_api_fails_no_request(stack, ledger, capsys):
    assert_update_fails_nothing(stack, ledger, capsys)


def test_cron_takes_a_record_each_minute(stack):
    assert_cron_samples(stack, [stack.engines[0], stack.engines[2]])


def test_a_stop_in_order_and_the_history_again(stack, ledger):
    assert_history_outlives_the_stack(stack, ledger)
