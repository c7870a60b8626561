/* The MongoDB store is held to the contract, on the mongod that MEMORY_TRACKER_TEST_MONGODB names.
 */
#include "contract.h"
#include "mongod_explain.h"
#include "mongodb_fixture.h"

int main(void)
{
    const struct contract_kind kind = {
        .name = "mongod", .make_place = mongodb_make_place, .remove_place = mongodb_remove_place};
    int result = mongodb_use_mongod();

    if (result == 0) {
        result = mongod_explain_run(&kind) + contract_run(&kind);
        mongodb_finish();
    }
    return result;
}
