/* The MongoDB store is held to the contract, on FerretDB. */
#include "contract.h"
#include "mongodb_fixture.h"

int main(void)
{
    const struct contract_kind kind = {.name = "mongodb",
                                       .make_place = mongodb_make_place,
                                       .remove_place = mongodb_remove_place,
                                       .small = true};
    int result = mongodb_use_ferretdb();

    if (result == 0) {
        result = contract_run(&kind);
        mongodb_finish();
    }
    return result;
}
